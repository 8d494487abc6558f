import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";
import { createConnection, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { type Greeter, GreeterReplySchema, GreeterRequestSchema } from "../../../apps/gen/greeter_pb.ts";
import { RpcError } from "../src/error.ts";
import { encode, MessageReader } from "../src/frames.ts";
import type { Handlers } from "../src/service.ts";
import { status } from "../src/status.ts";
import { eventually, provider } from "./support.ts";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
});

const GREETER = "/org.apache.dubbo.samples.Greeter";
const REQUEST = encode(GreeterRequestSchema, { name: "x" });
/**
 * Longest time for a drain without a call in flight, ms: a second for the end of a peer, and more.
 */
const SOON_MS = 3000;

async function serving(handlers: Partial<Handlers<typeof Greeter>> = {}) {
  const started = await provider(handlers);
  ending.push(() => started.drain());
  return started;
}

/** Opens a stream on a connection without the SDK. */
function open(port: number, method: string, headers: Record<string, string> = {}): ClientHttp2Stream {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  ending.push(() => {
    session.destroy();
  });
  const fields = { ":method": "POST", "content-type": "application/grpc", te: "trailers", ...headers };
  const stream = session.request({ ":path": `${GREETER}/${method}`, ...fields }, { endStream: false });
  return stream.on("error", () => undefined);
}

/** Returns the status and the message of a call, and the code of its reset. */
async function ended(stream: ClientHttp2Stream): Promise<{ grpc: string; message: string; reset: number }> {
  const seen: IncomingHttpHeaders = {};
  const note = (headers: IncomingHttpHeaders): unknown => Object.assign(seen, headers);
  stream.on("response", note).on("trailers", note).resume();
  await once(stream, "close");
  return {
    grpc: String(seen["grpc-status"]),
    message: decodeURIComponent(String(seen["grpc-message"] ?? "")),
    reset: stream.rstCode,
  };
}

/** Opens a TCP connection that never ends its side. */
async function socketTo(port: number, bytes: string): Promise<Socket> {
  const socket = createConnection({ host: "127.0.0.1", port, allowHalfOpen: true });
  socket.on("error", () => undefined);
  ending.push(() => {
    socket.destroy();
  });
  await once(socket, "connect");
  socket.write(Buffer.from(bytes, "latin1"));
  return socket;
}

async function drainTime(started: { drain: () => Promise<void> }): Promise<number> {
  const start = performance.now();
  await started.drain();
  return performance.now() - start;
}

test("sends the status of a finished call to a caller that stops reading for some time", async () => {
  const { port } = await serving({
    async *greetStream(requests) {
      for await (const _ of requests) break;
      for (let count = 0; count < 10; count += 1) yield { message: "x".repeat(14_000) };
    },
  });
  const stream = open(port, "greetStream");
  stream.write(REQUEST);
  await once(stream, "response");
  await sleep(1500);
  expect(await ended(stream)).toEqual({ grpc: "0", message: "", reset: 0 });
});

test("ends a call at its deadline although its caller does not read", async () => {
  let finished = false;
  const { port } = await serving({
    *greetServerStream() {
      try {
        for (;;) yield { message: "x".repeat(100_000) };
      } finally {
        finished = true;
      }
    },
  });
  const stream = open(port, "greetServerStream", { "grpc-timeout": "100m" });
  stream.end(REQUEST);
  await eventually("the end of the handler", () => finished || undefined, SOON_MS);
});

test("accepts many cancelled calls on one connection", async () => {
  const { port } = await serving();
  const first = open(port, "greet");
  const session = first.session as ClientHttp2Session;
  for (let wave = 0; wave < 20; wave += 1) {
    for (let count = 0; count < 100; count += 1) {
      const fields = { ":method": "POST", ":path": `${GREETER}/greet`, "content-type": "application/grpc" };
      session
        .request(fields, { endStream: false })
        .on("error", () => undefined)
        .close(constants.NGHTTP2_CANCEL);
    }
    await sleep(10);
  }
  first.end(REQUEST);
  expect(await ended(first)).toMatchObject({ grpc: "0", reset: 0 });
});

test("cuts what is too large for headers, so that the status arrives", async () => {
  const { port } = await serving({
    greet() {
      throw new RpcError(status.ABORTED, "é%".repeat(50_000));
    },
    greetWithAttachment(_request, { replyAttachments }) {
      replyAttachments.set("large", "x".repeat(70_000));
      return {};
    },
  });
  const outcome = (method: string): Promise<{ grpc: string; message: string; reset: number }> => {
    const stream = open(port, method);
    stream.end(REQUEST);
    return ended(stream);
  };
  expect(await outcome("greet")).toEqual({ grpc: "10", message: "é%".repeat(2000), reset: 0 });
  expect(await outcome("greetWithAttachment")).toEqual({
    grpc: "13",
    message: 'attachment "large" cannot be sent: all attachments together may have 60000 bytes',
    reset: 0,
  });
  expect(await outcome("%".repeat(40_000))).toMatchObject({ grpc: "12", reset: 0 });
});

test.each([
  ["constructor", "12"],
  ["identity", "13"],
])("rejects a message that is compressed with %s", async (encoding, grpc) => {
  const { port } = await serving();
  const stream = open(port, "greet", { "grpc-encoding": encoding });
  stream.end(Buffer.concat([Buffer.of(1), REQUEST.subarray(1)]));
  expect((await ended(stream)).grpc).toBe(grpc);
});

test("rejects a message with an unknown flag", async () => {
  const { port } = await serving();
  const stream = open(port, "greet");
  stream.end(Buffer.concat([Buffer.of(3), REQUEST.subarray(1)]));
  expect(await ended(stream)).toMatchObject({ grpc: "13", message: "the message has the unknown flag 3" });
});

test.each([1, 2, 7, 4096])("reads messages in pieces of %i bytes", (size) => {
  const reader = new MessageReader({ encoding: undefined, limit: 100_000 });
  const names = ["", "a", "b".repeat(50_000), "c"];
  const bytes = Buffer.concat(names.map((message) => encode(GreeterReplySchema, { message })));
  const seen: unknown[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    for (const frame of reader.push(bytes.subarray(at, at + size)))
      seen.push(reader.decode(GreeterReplySchema, frame));
  }
  expect(seen).toMatchObject(names.map((message) => ({ message })));
  expect(reader.incomplete).toBe(false);
});

test.each([
  ["garbage", "\x00\x01\x02\x03\x04\x05\x06\x07"],
  ["half a request", "POST /x HTTP/1.1\r\nHo"],
  ["nothing", ""],
  ["a peer of HTTP/2 that ignores GOAWAY", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"],
])("ends the drain soon after %s", async (_what, bytes) => {
  const started = await serving();
  await socketTo(started.port, bytes);
  await sleep(100);
  expect(await drainTime(started)).toBeLessThan(SOON_MS);
});

test.each([
  ["an unknown method", "nothing", {}],
  ["an unknown method in JSON", "nothing", { "content-type": "application/json" }],
  ["a GET in JSON", "greet", { "content-type": "application/json", ":method": "GET" }],
])("ends the drain soon after %s whose request stays open", async (_what, method, headers) => {
  const started = await serving();
  const stream = open(started.port, method, headers);
  await once(stream, "response");
  expect(await drainTime(started)).toBeLessThan(SOON_MS);
});

test("ends a connection that sends garbage, although the peer keeps its side open", async () => {
  const { port } = await serving();
  const socket = await socketTo(port, "FOO / HTTP/1.1\r\n\r\n");
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toBe("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
  // A write to a connection that the server has given up fails.
  await eventually("the end of the connection", () => {
    socket.write("x");
    return socket.destroyed || undefined;
  });
});

const JSON_CALL = `POST ${GREETER}/greet HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`;

test("sends a large answer over HTTP/1.1 completely, although the drain begins", async () => {
  const message = "x".repeat(7_500_000);
  const started = await serving({ greet: () => ({ message }) });
  const socket = await socketTo(started.port, JSON_CALL);
  socket.pause();
  await sleep(300);
  const drained = started.drain();
  await sleep(100);
  expect((await buffer(socket)).toString()).toContain(`${message}"}`);
  socket.end();
  await drained;
});

test("answers all calls that wait on one connection of HTTP/1.1, although the drain begins", async () => {
  const started = await serving({
    async greet() {
      await sleep(200);
      return { message: "done" };
    },
  });
  const socket = await socketTo(started.port, JSON_CALL + JSON_CALL);
  await sleep(100);
  const drained = started.drain();
  expect((await buffer(socket)).toString().match(/\{"message":"done"\}/g)).toHaveLength(2);
  socket.end();
  await drained;
});

test("refuses a request over HTTP/1.1 that goes on, and ends its connection after some time", async () => {
  const { port } = await serving();
  const head = `POST ${GREETER}/greet HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n`;
  const socket = await socketTo(port, head + "x".repeat(9_000_000));
  const start = performance.now();
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toMatch(/^HTTP\/1.1 413 Payload Too Large\r\n[^]*the request is larger/);
  await once(socket, "end");
  expect(performance.now() - start).toBeGreaterThan(900);
});

test("answers over HTTP/1.1 although an attachment has the name of one of its headers", async () => {
  const { port } = await serving({
    greet(_request, { replyAttachments }) {
      replyAttachments.set("Trailer", "x");
      return {};
    },
  });
  const answer = await fetch(`http://127.0.0.1:${port}${GREETER}/greet`, {
    method: "POST",
    body: "{}",
    headers: { "content-type": "application/json", connection: "close" },
  });
  expect([answer.status, await answer.text()]).toEqual([
    500,
    expect.stringContaining('attachment \\"Trailer\\" cannot be sent') as string,
  ]);
});
