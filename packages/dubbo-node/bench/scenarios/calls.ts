import { randomBytes } from "node:crypto";
import type { OutgoingHttpHeaders } from "node:http2";
import { gzipSync } from "node:zlib";
import { type Status, status } from "../../src/status.ts";
import { type Answer, Connection, framed } from "../connection.ts";
import { path, request } from "../greeter.ts";
import type { Scenario } from "../target.ts";

/** An invalid gRPC call, and the answer of a correct server. */
interface Case {
  readonly name: string;
  readonly method?: string;
  readonly body?: Buffer;
  readonly headers?: OutgoingHttpHeaders;
  /** gRPC status; undefined if the answer is not a gRPC one. */
  readonly status: Status | undefined;
  /** HTTP status (default: 200). */
  readonly http?: number;
  /** Pattern that the status message must match. */
  readonly details?: RegExp;
}

const RIGHT = framed(request("x"));
const GZIP = { "grpc-encoding": "gzip" };
const { DEADLINE_EXCEEDED, INTERNAL, OK, RESOURCE_EXHAUSTED, UNIMPLEMENTED } = status;
/** 100 MB that gzip compresses to 100 kB. */
const BOMB = gzipSync(Buffer.alloc(100_000_000));
/** Timeouts that expire before or during the answer. */
const TIMEOUTS = ["0n", "1n", "1u", "500u", "1m", "2m", "3m"];
/** One method of each kind that the scenario calls. */
const METHODS = ["greet", "greetStream", "greetServerStream"];

/** Invalid calls for every kind of method. */
const ANY: readonly Case[] = [
  {
    name: "a length of 4 GiB",
    body: framed(request("x"), 0, 0xff_ff_ff_ff),
    status: RESOURCE_EXHAUSTED,
    details: /max/,
  },
  {
    name: "a length that is too short",
    body: framed(request("xyz"), 0, 2),
    status: INTERNAL,
    details: /deserializing/,
  },
  {
    name: "invalid protobuf",
    body: framed(Buffer.from("0affffffff", "hex")),
    status: INTERNAL,
    details: /deserializing/,
  },
  {
    name: "invalid UTF-8",
    body: framed(Buffer.from("0a02c328", "hex")),
    status: INTERNAL,
    details: /deserializing/,
  },
  { name: "gzip", body: framed(gzipSync(request("x")), 1), headers: GZIP, status: OK },
  {
    name: "broken gzip",
    body: framed(randomBytes(100), 1),
    headers: GZIP,
    status: INTERNAL,
    details: /decompress/,
  },
  {
    name: "a gzip bomb",
    body: framed(BOMB, 1),
    headers: GZIP,
    status: RESOURCE_EXHAUSTED,
    details: /decompresses/,
  },
  {
    name: "an unknown encoding",
    body: framed(request("x"), 1),
    headers: { "grpc-encoding": "zstd" },
    status: UNIMPLEMENTED,
    details: /zstd/,
  },
  {
    name: "a bad grpc-timeout",
    headers: { "grpc-timeout": "soon" },
    status: OK,
  },
  { name: "a binary header that is not base64", headers: { "x-bin": "%%%" }, status: OK },
  { name: "key spellings that are no JSON", headers: { "tri-header-convert": "%7B%" }, status: OK },
  {
    name: "another content type",
    headers: { "content-type": "application/xml" },
    status: undefined,
    http: 415,
  },
];

/** Invalid calls for methods with one request. */
const ONE_REQUEST: readonly Case[] = [
  { name: "no message", body: Buffer.alloc(0), status: UNIMPLEMENTED, details: /no request/i },
  { name: "half a prefix", body: Buffer.alloc(3), status: UNIMPLEMENTED, details: /no request/i },
  {
    name: "half a message",
    body: framed(request("x"), 0, 100),
    status: UNIMPLEMENTED,
    details: /no request/i,
  },
  {
    name: "two messages",
    body: Buffer.concat([RIGHT, RIGHT]),
    status: UNIMPLEMENTED,
    details: /second request/i,
  },
  { name: "GET", headers: { ":method": "GET" }, status: UNIMPLEMENTED, details: /no request/i },
];

const PATHS: readonly Case[] = [
  { name: "an unknown method", method: path("nothing"), status: UNIMPLEMENTED, details: /implement/ },
  { name: "another case", method: path("GREET"), status: UNIMPLEMENTED, details: /implement/ },
  { name: "the path /", method: "/", status: UNIMPLEMENTED, details: /implement/ },
  { name: "a path of 10 kB", method: `/${"x".repeat(10_000)}`, status: UNIMPLEMENTED, details: /implement/ },
];

function isRight(wanted: Case, answer: Answer): boolean {
  return (
    answer.http === (wanted.http ?? 200) &&
    answer.status === wanted.status &&
    (wanted.details ?? /(?:)/).test(answer.details)
  );
}

async function send(connection: Connection, wanted: Case): Promise<void> {
  const { name, method = path("greet"), body = RIGHT, headers = {} } = wanted;
  const answer = await connection.call(method, body, headers);
  if (!isRight(wanted, answer)) {
    const { http, status: code, details, reset } = answer;
    throw new Error(
      `${name} to ${method}: HTTP ${String(http)}, status ${String(code)} ${details}, reset ${reset}`,
    );
  }
}

function cases(): Case[] {
  const ofMethods = METHODS.flatMap((name) => {
    const wrong = name === "greetStream" ? ANY : [...ANY, ...ONE_REQUEST];
    return wrong.map((one) => ({ ...one, method: path(name) }));
  });
  return [...ofMethods, ...PATHS];
}

/** Checks that calls whose timeout expires during the answer end soon. */
async function outOfTime(connection: Connection): Promise<void> {
  for (const [method, timeout] of METHODS.flatMap((name) =>
    TIMEOUTS.map((time) => [path(name), time] as const),
  )) {
    const answer = await connection.call(method, RIGHT, { "grpc-timeout": timeout });
    if (answer.status !== OK && answer.status !== DEADLINE_EXCEEDED) {
      throw new Error(
        `a timeout of ${timeout} to ${method}: status ${String(answer.status)}, reset ${answer.reset}`,
      );
    }
  }
}

/**
 * Makes invalid calls. Each must get the right status, and the next call on the connection must
 * succeed.
 */
export const calls: Scenario = {
  title: "wrong calls",
  async run({ port }, size) {
    const connection = await Connection.open(port);
    const all = cases();
    try {
      for (let time = 0; time < size.garbage; time += 1) {
        for (const one of all) {
          await send(connection, one);
          await connection.greet("after a wrong call");
        }
        await outOfTime(connection);
      }
    } finally {
      connection.close();
    }
    return `${all.length} kinds, ${size.garbage} times each on one connection, each with the status that is due`;
  },
};
