import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { GreeterClient, path } from "../greeter.ts";
import { inParallel, type Scenario, type Target } from "../target.ts";
import {
  callHeaders,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  frameTypes,
  OPENING,
  PREFACE,
  RawSocket,
} from "../wire.ts";

/** Reaction of the server: it refuses the connection, or keeps it because nothing is wrong yet. */
type Outcome = "refused" | "kept";

interface Kind {
  readonly outcome: Outcome;
  readonly bytes: () => Buffer;
  /** Set if Node.js 20 sends GOAWAY and then keeps the socket forever. Node.js 22 closes it. */
  readonly leaksOnNode20?: boolean;
}

const HEADERS = callHeaders(path("greetStream"));
const EMPTY = Buffer.alloc(0);
const CANCEL = Buffer.of(0, 0, 0, 8);
/** Number of frames in a flood, above the limit of nghttp2. */
const FLOOD = 20_000;
/** Number of calls that are started and cancelled at once on one connection. */
const RESETS = 500;
/** Time in which the server must refuse a connection, ms. */
const PATIENCE_MS = 10_000;
/** Time for which a kept connection is watched, ms. */
const KEPT_MS = 200;
const CONCURRENCY = 20;

function afterOpening(...frames: readonly Buffer[]): () => Buffer {
  return () => Buffer.concat([OPENING, ...frames]);
}

function flood(unit: Buffer): Buffer {
  return Buffer.concat(Array.from({ length: FLOOD }, () => unit));
}

function rapidResets(): Buffer[] {
  return Array.from({ length: RESETS }, (_, index) => {
    const stream = 2 * index + 1;
    return Buffer.concat([
      frame(FRAME.headers, END_HEADERS, stream, HEADERS),
      frame(FRAME.reset, 0, stream, CANCEL),
    ]);
  });
}

const TLS_HELLO = Buffer.from("16030100f1010000ed0303", "hex");

const KINDS: Readonly<Record<string, Kind>> = {
  "random bytes": { outcome: "refused", bytes: () => randomBytes(4096) },
  "a GET of HTTP/1.1": {
    outcome: "kept",
    bytes: () => Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
  },
  "half a request of HTTP/1.1": { outcome: "kept", bytes: () => Buffer.from("POST /x HTTP/1.1\r\nHo") },
  "a wrong method of HTTP/1.1": {
    outcome: "refused",
    bytes: () => Buffer.from("FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
  },
  "two lengths in HTTP/1.1": {
    outcome: "refused",
    bytes: () =>
      Buffer.from(
        "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      ),
  },
  "headers of 100 kB in HTTP/1.1": {
    outcome: "refused",
    bytes: () => Buffer.from(`GET / HTTP/1.1\r\nHost: localhost\r\nx: ${"y".repeat(100_000)}\r\n\r\n`),
  },
  "a TLS hello": { outcome: "refused", bytes: () => Buffer.concat([TLS_HELLO, randomBytes(232)]) },
  "a wrong preface": { outcome: "refused", bytes: () => Buffer.from("PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n") },
  "half a preface": { outcome: "kept", bytes: () => PREFACE.subarray(0, 10) },
  "a preface and half a frame": { outcome: "kept", bytes: () => OPENING.subarray(0, OPENING.length - 4) },
  "an unknown frame": { outcome: "kept", bytes: afterOpening(frame(0xfa, 0, 0, Buffer.alloc(3))) },
  "DATA on stream 0": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.data, 0, 0, Buffer.from("x"))),
    leaksOnNode20: true,
  },
  "DATA on an idle stream": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.data, 0, 5, Buffer.from("x"))),
    leaksOnNode20: true,
  },
  "a frame of 16 MB": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.data, 0, 1, Buffer.alloc(100), 0xff_ff_ff)),
    leaksOnNode20: true,
  },
  "SETTINGS of 5 bytes": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.settings, 0, 0, Buffer.alloc(5))),
    leaksOnNode20: true,
  },
  "bad HPACK": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.alloc(10, 0xff))),
    leaksOnNode20: true,
  },
  "CONTINUATION alone": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.continuation, END_HEADERS, 1, Buffer.alloc(3))),
    leaksOnNode20: true,
  },
  "WINDOW_UPDATE by 0": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.windowUpdate, 0, 0, Buffer.alloc(4))),
  },
  "a stream of the server's": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.headers, END_HEADERS | END_STREAM, 2, HEADERS)),
  },
  PUSH_PROMISE: {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.pushPromise, END_HEADERS, 1, Buffer.alloc(8))),
  },
  "a flood of PING": {
    outcome: "refused",
    bytes: afterOpening(flood(frame(FRAME.ping, 0, 0, Buffer.alloc(8)))),
  },
  "a flood of SETTINGS": {
    outcome: "refused",
    bytes: afterOpening(flood(frame(FRAME.settings, 0, 0, EMPTY))),
  },
  "a flood of CONTINUATION": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.headers, 0, 1, HEADERS), flood(frame(FRAME.continuation, 0, 1, EMPTY))),
  },
  "a flood of empty DATA": {
    outcome: "refused",
    bytes: afterOpening(frame(FRAME.headers, END_HEADERS, 1, HEADERS), flood(frame(FRAME.data, 0, 1, EMPTY))),
  },
  "calls that are cancelled at once": { outcome: "kept", bytes: afterOpening(...rapidResets()) },
};

/** Tells if the server has closed the connection or announced its end. */
function refused(socket: RawSocket): boolean {
  return socket.closed || frameTypes(socket.received).includes(FRAME.goAway);
}

async function until(condition: () => boolean, patience: number): Promise<boolean> {
  const end = performance.now() + patience;
  while (!condition() && performance.now() < end) await sleep(10);
  return condition();
}

async function send(port: number, name: string, { outcome, bytes }: Kind): Promise<void> {
  const socket = await RawSocket.open(port);
  try {
    void socket.send(bytes());
    const wasRefused = await until(() => refused(socket), outcome === "refused" ? PATIENCE_MS : KEPT_MS);
    if (wasRefused !== (outcome === "refused"))
      throw new Error(`${name}: the server should have ${outcome} the connection`);
  } finally {
    await socket.drop(false);
  }
}

/** Returns the kinds after which this version of Node.js closes the socket. */
function kindsFor({ nodeMajor }: Target): [string, Kind][] {
  return Object.entries(KINDS).filter(([, { leaksOnNode20 = false }]) => !leaksOnNode20 || nodeMajor >= 22);
}

/**
 * Sends invalid HTTP/2, HTTP/1.1 requests that are not calls, and other bytes. Another client must
 * still be able to greet.
 */
export const garbage: Scenario = {
  title: "garbage on the port",
  async run(target, size) {
    const kinds = kindsFor(target);
    const client = new GreeterClient(target.port);
    let greeted = 0;
    try {
      for (const [name, kind] of kinds) {
        const sent = inParallel(size.garbage, CONCURRENCY, () => send(target.port, name, kind));
        await Promise.all([sent, client.greet(`while ${name} arrives`)]);
        greeted += 1;
      }
    } finally {
      client.close();
    }
    const left = Object.keys(KINDS).length - kinds.length;
    const leftOut =
      left === 0 ? "" : `; ${left} kinds left out, after which node ${target.nodeMajor} keeps sockets`;
    return `${kinds.length} kinds, ${size.garbage} times each, all refused or ignored, ${greeted} greetings meanwhile${leftOut}`;
  },
};
