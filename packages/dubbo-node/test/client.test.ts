import { once } from "node:events";
import {
  constants,
  createServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { Greeter, GreeterReplySchema } from "../../../apps/gen/greeter_pb.ts";
import { asRpcError } from "../src/error.ts";
import { encode, framed } from "../src/frames.ts";
import { DubboReference } from "../src/reference.ts";
import { statusName } from "../src/status.ts";
import { recorder } from "./support.ts";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
});

/** Answers a call; `drop` resets its connection. */
type Behaviour = (stream: ServerHttp2Stream, call: number, drop: () => void) => void;

/** Starts a provider without the SDK. Returns its methods, and counts its connections. */
async function calling(behaviour: Behaviour, options: ServerOptions = {}) {
  const sessions: ServerHttp2Session[] = [];
  const sockets: Socket[] = [];
  let calls = 0;
  const server = createServer(options)
    .on("connection", (socket: Socket) => sockets.push(socket))
    .on("session", (session) => sessions.push(session))
    .on("stream", (stream) => {
      stream.on("error", () => undefined).resume();
      calls += 1;
      behaviour(stream, calls, () => {
        for (const socket of sockets) socket.resetAndDestroy();
      });
    });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const reference = new DubboReference(Greeter, {
    target,
    consumer: "test",
    timeout: 5000,
    log: recorder().log,
  });
  ending.push(() => {
    reference.close();
    for (const session of sessions) session.destroy();
    server.close();
  });
  const close = (): void => {
    reference.close();
  };
  return { call: reference.call, close, connections: () => sessions.length };
}

const REPLY = encode(GreeterReplySchema, { message: "hello" });

function answer(stream: ServerHttp2Stream, body: Buffer, trailers = { "grpc-status": "0" }): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => {
    stream.sendTrailers(trailers);
  });
  stream.end(body);
}

/** Returns how a unary call and a stream end: their replies, or their status and its message. */
async function outcomes(behaviour: Behaviour): Promise<string[]> {
  const { call } = await calling(behaviour);
  const failure = (thrown: unknown): string => {
    const { code, details } = asRpcError(thrown);
    return `${statusName(code)}: ${details}`;
  };
  const all = async (): Promise<string> => {
    const seen: string[] = [];
    for await (const { message } of call.greetServerStream({})) seen.push(message);
    return seen.join();
  };
  return [await call.greet({}).then(({ message }) => message, failure), await all().catch(failure)];
}

test.each<[string, Behaviour, string | RegExp]>([
  [
    "an answer",
    (stream) => {
      answer(stream, REPLY);
    },
    "hello",
  ],
  [
    "a reply that is no message",
    (stream) => {
      answer(stream, framed(Buffer.from("0affffffff", "hex")));
    },
    /^INTERNAL: error deserializing/,
  ],
  [
    "half a reply",
    (stream) => {
      answer(stream, REPLY.subarray(0, 8));
    },
    "INTERNAL: a reply is cut off",
  ],
  [
    "a proxy's page",
    (stream) => {
      stream.respond({ ":status": 503, "content-type": "text/html" });
      stream.end("<h1>no healthy upstream</h1>");
    },
    "UNAVAILABLE: HTTP status 503 without a gRPC status",
  ],
  [
    "a page without an error",
    (stream) => {
      stream.respond({ ":status": 200, "content-type": "text/html" });
      stream.end("<h1>welcome</h1>");
    },
    'UNKNOWN: the answer has the content type "text/html"',
  ],
  [
    "a status in an HTTP error, as Dubbo for Java sends it",
    (stream) => {
      stream.respond({ ":status": 404, "grpc-status": "12", "grpc-message": "100%25" }, { endStream: true });
    },
    "UNIMPLEMENTED: 100%",
  ],
  [
    "no status",
    (stream) => {
      stream.respond({ ":status": 200, "content-type": "application/grpc" });
      stream.end();
    },
    "UNKNOWN: the provider sent no status",
  ],
  [
    "an unknown status and a message that is not encoded",
    (stream) => {
      answer(stream, Buffer.alloc(0), { "grpc-status": "99", ...{ "grpc-message": "a % b" } });
    },
    "UNKNOWN: a % b",
  ],
  [
    "a reset",
    (stream) => {
      stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    },
    "RESOURCE_EXHAUSTED: the provider reset the call: ENHANCE_YOUR_CALM",
  ],
  [
    "a lost connection",
    (_stream, _call, drop) => {
      drop();
    },
    "UNAVAILABLE: read ECONNRESET",
  ],
])("reports %s", async (_what, behaviour, wanted) => {
  for (const seen of await outcomes(behaviour)) {
    if (typeof wanted === "string") expect(seen).toBe(wanted);
    else expect(seen).toMatch(wanted);
  }
});

test("reports a provider that cannot be reached, in errors and metrics", async () => {
  const counted: string[] = [];
  const reference = new DubboReference(Greeter, {
    target: "127.0.0.1:1",
    consumer: "test",
    timeout: 5000,
    begin: () => (code) => counted.push(statusName(code)),
    log: recorder().log,
  });
  await expect(reference.call.greet({})).rejects.toThrow("UNAVAILABLE: connect ECONNREFUSED 127.0.0.1:1");
  reference.close();
  await expect(reference.call.greet({})).rejects.toThrow("UNAVAILABLE: the reference is closed");
  expect(counted).toEqual(["UNAVAILABLE", "UNAVAILABLE"]);
});

test("makes a call again that the provider has refused, once", async () => {
  const { call } = await calling((stream, number) => {
    if (number === 1 || number > 2) stream.close(constants.NGHTTP2_REFUSED_STREAM);
    else answer(stream, REPLY);
  });
  expect((await call.greet({})).message).toBe("hello");
  await expect(call.greet({})).rejects.toThrow("UNAVAILABLE: the provider reset the call: REFUSED_STREAM");
});

test("opens another connection when the provider ends one, while its calls go on", async () => {
  const { call, connections } = await calling((stream, number) => {
    if (number === 1) {
      stream.session?.close();
      setTimeout(() => {
        answer(stream, REPLY);
      }, 200);
    } else answer(stream, REPLY);
  });
  const first = call.greet({});
  await sleep(100);
  expect((await call.greet({})).message).toBe("hello");
  expect(connections()).toBe(2);
  expect((await first).message).toBe("hello");
});

test("leaves a slow reader all replies of a call that ended before its deadline", async () => {
  const { call } = await calling((stream) => {
    answer(stream, Buffer.concat([REPLY, REPLY, REPLY]));
  });
  const replies = call.greetServerStream({}, { timeout: 200 });
  const seen: string[] = [];
  for await (const { message } of replies) {
    seen.push(message);
    await sleep(150);
  }
  expect(seen).toEqual(["hello", "hello", "hello"]);
});

test("reports a connection that is lost before all replies are read, although the call has succeeded", async () => {
  let lose: (() => void) | undefined;
  const large = encode(GreeterReplySchema, { message: "x".repeat(14_000) });
  const { call } = await calling((stream, _call, drop) => {
    lose = drop;
    answer(stream, Buffer.concat([large, large, large, large, large]));
  });
  const read = async (): Promise<void> => {
    for await (const { message } of call.greetServerStream({})) {
      expect(message).toHaveLength(14_000);
      await sleep(200);
      lose?.();
      await sleep(200);
    }
  };
  await expect(read()).rejects.toThrow("UNAVAILABLE: the connection was lost before all replies were read");
});

test("ends a call at its deadline that waits for a free stream", async () => {
  const { call } = await calling(() => undefined, { settings: { maxConcurrentStreams: 1 } });
  const first = call.greet({}, { timeout: 1000 }).catch(() => undefined);
  await sleep(100);
  const start = performance.now();
  await expect(call.greet({}, { timeout: 200 })).rejects.toThrow("DEADLINE_EXCEEDED");
  expect(performance.now() - start).toBeLessThan(600);
  await first;
});

test("does not make a call that is cancelled before it begins", async () => {
  let calls = 0;
  const { call } = await calling((stream) => {
    calls += 1;
    answer(stream, REPLY);
  });
  await expect(call.greet({}, { signal: AbortSignal.abort() })).rejects.toThrow("CANCELLED");
  expect((await call.greet({})).message).toBe("hello");
  expect(calls).toBe(1);
});

test("ends the source of the requests with the call", async () => {
  let ended = false;
  const { call } = await calling((stream) => {
    answer(stream, REPLY);
  });
  const requests = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise<IteratorResult<{ name: string }>>(() => undefined),
      return() {
        ended = true;
        return Promise.reject(new Error("the source does not want to end"));
      },
    }),
  };
  const seen: string[] = [];
  for await (const { message } of call.greetStream(requests)) seen.push(message);
  expect([seen, ended]).toEqual([["hello"], true]);
});

test("finishes a call that waits for its connection when the reference is closed", async () => {
  const { call, close } = await calling((stream) => {
    answer(stream, REPLY);
  });
  const waiting = call.greet({});
  await sleep(0);
  close();
  expect((await waiting).message).toBe("hello");
});
