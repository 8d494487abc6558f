import { once } from "node:events";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Metadata } from "@grpc/grpc-js";
import { afterEach, expect, test } from "vitest";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { greeter } from "../../../apps/provider/greeter.ts";
import type { Attachments } from "../src/error.ts";
import type { Call } from "../src/call.ts";
import { RpcError } from "../src/error.ts";
import type { Headers } from "../src/headers.ts";
import { type CallOptions, DubboReference, type ReferenceOptions } from "../src/reference.ts";
import type { Handlers } from "../src/service.ts";
import { referenceSettings } from "../src/settings.ts";
import { type Status, status } from "../src/status.ts";
import { application, client, eventually, provider, rawMethod, recorder, unary } from "./support.ts";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
});

type Changed = Partial<ReferenceOptions>;

function reference(port: number, changed: Changed = {}): DubboReference<typeof Greeter> {
  const made = new DubboReference(Greeter, {
    target: `127.0.0.1:${port}`,
    consumer: "consumer-under-test",
    timeout: 10_000,
    version: "1.0.0",
    log: recorder().log,
    ...changed,
  });
  ending.push(() => {
    made.close();
  });
  return made;
}

/** Returns the methods of a provider, with the sample's handlers or those of the test. */
async function calling(handlers: Partial<Handlers<typeof Greeter>> = {}, log = recorder().log) {
  const started = await provider(handlers, "v1", log);
  ending.push(() => started.drain());
  return { port: started.port, call: reference(started.port).call };
}

async function texts(replies: AsyncIterable<{ message: string }>): Promise<string[]> {
  const seen: string[] = [];
  for await (const { message } of replies) seen.push(message);
  return seen;
}

async function error(call: Promise<unknown>): Promise<RpcError> {
  const thrown = await call.then(
    () => new Error("the call was answered"),
    (reason: unknown) => reason,
  );
  if (!(thrown instanceof RpcError)) throw new Error(`not an RpcError: ${String(thrown)}`);
  return thrown;
}

/** Options of a call, and the attachments of its reply. */
function recording(options: CallOptions = {}): {
  options: CallOptions;
  received: () => Record<string, unknown>;
} {
  let seen: Attachments = new Map();
  const onAttachments = (attachments: Attachments): void => {
    seen = attachments;
  };
  return { options: { ...options, onAttachments }, received: () => Object.fromEntries(seen) };
}

const REQUESTS = ["a", "b", "c"].map((name) => ({ name }));

test("answers all kinds of methods like the sample", async () => {
  const { call } = await calling();
  expect((await call.upperCaseGreet({ name: "straße" })).message).toBe("STRASSE");
  expect(await texts(call.greetServerStream({ name: "n" }))).toEqual(
    Array.from({ length: 10 }, (_, index) => `n--${index}`),
  );
  expect(await texts(call.greetStream(REQUESTS))).toEqual(["a 1", "b 2", "c 3"]);
  for (const method of [
    "compressorBiStream",
    "clientCompressorBiStream",
    "serverCompressorBiStream",
  ] as const) {
    expect(await texts(call[method](REQUESTS))).toEqual(["a", "b", "c"]);
    expect(await texts(call[method](REQUESTS, { compress: true }))).toEqual(["a", "b", "c"]);
  }
});

test("sends text and binary attachments both ways without changes", async () => {
  let seen: Attachments = new Map();
  const { call } = await calling({
    greetWithAttachment(_request, { attachments, replyAttachments }) {
      seen = attachments;
      replyAttachments.set("userCount", 3).set("raw", Uint8Array.of(0, 255));
      return { message: "" };
    },
  });
  const sent = { "User-Attachment": "x", flag: true, raw: Uint8Array.of(1, 2) };
  const { options, received } = recording({ attachments: sent });
  await call.greetWithAttachment({}, options);
  expect(Object.fromEntries(seen)).toEqual({ "User-Attachment": "x", flag: "true", raw: Buffer.of(1, 2) });
  expect(received()).toEqual({ userCount: "3", raw: Buffer.of(0, 255) });
});

test("handles the sample's attachments: an echo, a large one, and those of an error", async () => {
  const { call } = await calling();
  const echo = recording({ attachments: { "user-attachment": "attachment" } });
  expect((await call.greetWithAttachment({ name: "n" }, echo.options)).message).toBe("hello,n");
  expect(echo.received()).toEqual({ "user-attachment": "hello,attachment" });
  const big = recording();
  await call.greetReturnBigAttachment({ name: "n" }, big.options);
  expect(big.received()["user-attachment"]).toMatch(/^0123.*79987999$/);
  expect(big.received()["user-attachment"]).toHaveLength(30_890);
  const failure = await error(call.greetException({ name: "n" }));
  expect([failure.code, failure.details]).toEqual([status.UNKNOWN, "Biz Exception"]);
  expect(Object.fromEntries(failure.attachments)).toEqual({
    str: "str",
    integer: "1",
    raw: Buffer.of(1, 2, 3, 4),
  });
});

test("rejects an invalid attachment before the call, and names it", async () => {
  const { call } = await calling();
  expect((await error(call.greet({}, { attachments: { "a b": "x" } }))).message).toMatch(
    /^INTERNAL: attachment "a b" cannot be sent/,
  );
  expect((await error(call.greet({}, { attachments: { a: "€" } }))).message).toMatch(
    /^INTERNAL: attachment "a" cannot be sent/,
  );
  expect((await error(call.greet({}, { attachments: { "grpc-Timeout": "1" } }))).message).toBe(
    'INTERNAL: attachment "grpc-Timeout" cannot be sent: the name is reserved by gRPC, HTTP or Dubbo',
  );
});

test("restores a Java peer's spelling of keys, and ignores an invalid one", async () => {
  const seen: string[][] = [];
  const { port } = await calling({
    greet(_request, { attachments }) {
      seen.push([...attachments.keys()]);
      return {};
    },
  });
  const convert = encodeURIComponent(JSON.stringify({ userkey: "userKey", other: 1 }));
  await unary(port, Greeter.method.greet, {}, { userkey: "1", "tri-header-convert": convert });
  await unary(port, Greeter.method.greet, {}, { userkey: "1", "tri-header-convert": "%7B%" });
  expect(seen).toEqual([["userKey"], ["userkey"]]);
});

test("turns an error of a handler into the call's status, and logs an unexpected one", async () => {
  const { log, lines } = recorder();
  const { call } = await calling(
    {
      greet: () => {
        throw new TypeError("a bug");
      },
      upperCaseGreet: () => Promise.reject(new RpcError(status.NOT_FOUND, "no \ud800 %41+\nü")),
      // eslint requires a yield in a generator, but this one throws before it.
      greetServerStream: async function* ({ name }) {
        yield { message: name };
        await Promise.reject(
          new RpcError(status.ABORTED, "half way", { attachments: new Map([["at", "1"]]) }),
        );
      },
    },
    log,
  );
  expect((await error(call.greet({}))).message).toBe("UNKNOWN: a bug");
  expect((await error(call.upperCaseGreet({}))).message).toBe("NOT_FOUND: no \ufffd %41+\nü");
  const seen: string[] = [];
  const failure = await error(
    (async () => {
      for await (const { message } of call.greetServerStream({ name: "one" })) seen.push(message);
    })(),
  );
  expect(seen).toEqual(["one"]);
  expect([failure.message, failure.attachments.get("at")]).toEqual(["ABORTED: half way", "1"]);
  expect(lines).toEqual([
    expect.stringMatching(
      /^main ERROR test: org\.apache\.dubbo\.samples\.Greeter\/greet threw TypeError: a bug\\u000a/,
    ) as string,
  ]);
});

test("keeps the status of an error with invalid attachments, and logs them by name", async () => {
  const { log, lines } = recorder();
  const { call } = await calling(
    {
      greet: () => {
        throw new RpcError(status.ABORTED, "first", { attachments: new Map([["a", "€"]]) });
      },
      *greetServerStream(_request, { replyAttachments }) {
        replyAttachments.set("b c", "1");
        yield { message: "one" };
      },
    },
    log,
  );
  expect((await error(texts(call.greetServerStream({})))).message).toMatch(
    /^INTERNAL: attachment "b c" cannot be sent: /,
  );
  expect((await error(call.greet({}))).message).toMatch(
    /^ABORTED: first \(attachment "a" cannot be sent: .*\)$/,
  );
  expect(lines).toEqual([
    expect.stringMatching(/greetServerStream threw .*attachment "b c" cannot be sent/) as string,
    expect.stringMatching(/greet threw .*attachment "a" cannot be sent/) as string,
  ]);
});

test("tells the handler that its caller cancelled or disconnected", async () => {
  const { call, port } = await calling();
  const result = async (name: string): Promise<string> => (await call.queryCancelResult({ name })).message;
  expect(await result("cancelServerStream")).toBe("false");
  for await (const { message } of call.cancelServerStream({ name: "n" })) {
    if (message === "n--9") break;
  }
  await eventually("the cancellation", async () => (await result("cancelServerStream")) === "true");

  const abort = new AbortController();
  const replies = call.cancelBiStream(REQUESTS, { signal: abort.signal });
  const cancelled = (async () => {
    for await (const { message } of replies) if (message === "c") abort.abort();
  })();
  expect((await error(cancelled)).message).toBe("CANCELLED: the caller has cancelled the call");
  await eventually("the cancellation", async () => (await result("cancelBiStream")) === "true");

  const { path, requestSerialize, responseDeserialize, frame } = rawMethod(Greeter.method.cancelBiStream2);
  const gone = client(port);
  const stream = gone.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  stream.on("error", () => undefined);
  stream.write(frame({ name: "x" }));
  await once(stream, "data");
  expect(await result("cancelBiStream2")).toBe("false");
  stream.cancel();
  gone.close();
  await eventually("the cancellation", async () => (await result("cancelBiStream2")) === "true");
});

test("ends a call on both sides at its deadline", async () => {
  const aborted: unknown[] = [];
  let deadline = 0;
  const { call } = await calling({
    greet(_request, served) {
      deadline = served.deadline;
      served.signal.addEventListener("abort", () => {
        aborted.push(served.signal.reason);
      });
      return new Promise(() => undefined);
    },
  });
  const start = Date.now();
  expect((await error(call.greet({}, { timeout: 200 }))).code).toBe(status.DEADLINE_EXCEEDED);
  expect(deadline - start).toBeGreaterThan(100);
  expect(deadline - start).toBeLessThan(400);
  expect(await eventually("the abort", () => aborted[0])).toMatchObject({ code: status.CANCELLED });
});

/** Returns the trailers' status of a server stream, from a client without a deadline. */
async function statusOf(session: ClientHttp2Session, timeout: string): Promise<unknown> {
  const stream = session.request({
    ":method": "POST",
    ":path": "/org.apache.dubbo.samples.Greeter/greetServerStream",
    "content-type": "application/grpc",
    te: "trailers",
    "grpc-timeout": timeout,
  });
  let seen: unknown;
  const note = (headers: IncomingHttpHeaders): void => {
    seen = headers["grpc-status"] ?? seen;
  };
  stream.on("response", note).on("trailers", note).resume();
  stream.end(Buffer.alloc(5));
  await once(stream, "close", { signal: AbortSignal.timeout(5000) });
  return seen;
}

test("ends a stream with DEADLINE_EXCEEDED if the deadline passes during a write", async () => {
  const { port } = await calling({
    *greetServerStream() {
      for (;;) yield { message: "x".repeat(10_000) };
    },
  });
  const session = connect(`http://127.0.0.1:${port}`);
  ending.push(() => {
    session.close();
  });
  const seen: unknown[] = [];
  for (let time = 0; time < 20; time += 1) seen.push(await statusOf(session, `${time}m`));
  expect(seen).toEqual(Array.from({ length: 20 }, () => "4"));
});

test("sets no deadline for a stream by default", async () => {
  const { port } = await calling({
    async *greetServerStream() {
      await sleep(300);
      yield { message: "late" };
    },
  });
  const { call } = reference(port, { timeout: 100 });
  expect(await texts(call.greetServerStream({}))).toEqual(["late"]);
  expect((await error(texts(call.greetServerStream({}, { timeout: 100 })))).code).toBe(
    status.DEADLINE_EXCEEDED,
  );
});

test("blocks the handler while the reader is slow", async () => {
  let made = 0;
  const { call } = await calling({
    *greetServerStream() {
      for (; made < 1000; made += 1) yield { message: "x".repeat(100_000) };
    },
  });
  const replies = call.greetServerStream({})[Symbol.asyncIterator]();
  await replies.next();
  await sleep(300);
  expect(made).toBeLessThan(50);
  await replies.return?.();
});

test("cancels the call if its requests throw, with their error", async () => {
  const { call } = await calling();
  function* broken() {
    yield { name: "a" };
    throw new RpcError(status.DATA_LOSS, "no more");
  }
  expect((await error(texts(call.greetStream(broken())))).message).toBe("DATA_LOSS: no more");
});

test("rejects a message over the limit in both directions, and serves the next one", async () => {
  const started = application({ "dubbo.protocol.payload": 1000 });
  const big = "x".repeat(2000);
  started.export(Greeter, {
    ...({} as Handlers<typeof Greeter>),
    ...Object.fromEntries(Greeter.methods.map(({ localName }) => [localName, () => ({ message: big })])),
    upperCaseGreet: () => ({ message: "small" }),
  });
  await started.start();
  ending.push(() => started.drain());
  const { call } = reference(started.port);
  expect((await error(call.upperCaseGreet({ name: big }))).code).toBe(status.RESOURCE_EXHAUSTED);
  expect((await error(call.greet({}))).code).toBe(status.RESOURCE_EXHAUSTED);
  expect((await call.upperCaseGreet({})).message).toBe("small");
});

async function exporting(fallback: boolean): Promise<number> {
  const started = application({ "dubbo.rpc.tri.resolve-fallback-to-default": fallback });
  const named = (message: string): Handlers<typeof Greeter> =>
    Object.fromEntries(
      Greeter.methods.map(({ localName }) => [localName, () => ({ message })]),
    ) as unknown as Handlers<typeof Greeter>;
  started.export(Greeter, named("1.0.0"), { version: "1.0.0" });
  started.export(Greeter, named("2.0.0"), { version: "2.0.0" });
  started.export(Greeter, named("g"), { version: "1.0.0", group: "g" });
  await started.start();
  ending.push(() => started.drain());
  return started.port;
}

test.each([
  [{ version: "1.0.0" }, "1.0.0", "1.0.0"],
  [{ version: "2.0.0" }, "2.0.0", "2.0.0"],
  [{ version: "1.0.0", group: "g" }, "g", "g"],
  [{ version: "3.0.0", group: "g" }, "g", "g/org.apache.dubbo.samples.Greeter:3.0.0"],
  [{ version: "3.0.0" }, "1.0.0", "org.apache.dubbo.samples.Greeter:3.0.0"],
  [{ version: "1.0.0", group: "h" }, "1.0.0", "h/org.apache.dubbo.samples.Greeter:1.0.0"],
  [{ version: undefined }, "1.0.0", "org.apache.dubbo.samples.Greeter"],
] as const)("serves %j by the version of Dubbo's choice", async (identity, picked, strict) => {
  const falling = reference(await exporting(true), identity);
  expect((await falling.call.greet({})).message).toBe(picked);
  const { call } = reference(await exporting(false), identity);
  if (strict.includes("Greeter")) {
    expect((await error(call.greet({}))).code).toBe(status.UNIMPLEMENTED);
    expect((await error(call.greet({}))).details).toContain(strict);
  } else {
    expect((await call.greet({})).message).toBe(strict);
  }
});

test("rejects an implementation that is exported twice or lacks a handler", async () => {
  const started = application();
  ending.push(() => started.drain());
  const sample = greeter({ application: "a", version: "v1", address: "", log: recorder().log });
  started.export(Greeter, sample);
  started.export(Greeter, sample, { version: "1.0.0" });
  await expect(started.start()).rejects.toThrow("org.apache.dubbo.samples.Greeter:1.0.0 is exported twice");
  expect(() => {
    started.export(Greeter, { greet: sample.greet } as Handlers<typeof Greeter>);
  }).toThrow("org.apache.dubbo.samples.Greeter/greetStream has no handler");
});

/** Like {@link calling}, for an application that calls others. */
async function relaying(handlers: Partial<Handlers<typeof Greeter>>) {
  const log = recorder().log;
  const started = application({}, { log });
  started.reference(Greeter, referenceSettings({ services: [Greeter], providedBy: "nobody" }).parse({}));
  started.export(Greeter, {
    ...greeter({ application: "a", version: "v1", address: "", log }),
    ...handlers,
  });
  await started.start();
  ending.push(() => started.drain());
  return { call: reference(started.port).call };
}

test("forwards trace, request id, deadline and cancellation to a handler's calls", async () => {
  const seen: Headers[] = [];
  const deadlines: number[] = [];
  let gone = false;
  const inner = await calling({
    greet(_request, call: Call) {
      seen.push(call.headers);
      deadlines.push(call.deadline);
      return { message: "inner" };
    },
    upperCaseGreet(_request, { signal }) {
      signal.addEventListener("abort", () => {
        gone = true;
      });
      return new Promise(() => undefined);
    },
  });
  const outer = await relaying({
    greet: async () => {
      await sleep(1);
      return inner.call.greet({});
    },
    upperCaseGreet: () => inner.call.upperCaseGreet({}),
    greetWithAttachment: () => inner.call.greet({}, { attachments: { traceparent: "00-own" } }),
    async *greetServerStream() {
      yield await inner.call.greet({});
      await sleep(1);
      yield await inner.call.greet({});
    },
  });
  const trace = {
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tracestate: "a=b",
    baggage: "k=v",
    "x-request-id": "6b8a5a03",
    b3: "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
    "x-b3-traceid": "80f198ee56343ba864fe8b2a57d3eff7",
    "x-b3-spanid": "e457b5a2e4d86bd1",
    "x-b3-parentspanid": "05e3ac9a4f6e3b90",
    "x-b3-sampled": "1",
    "x-b3-flags": "0",
  };
  const before = Date.now();
  await outer.call.greet({}, { attachments: { ...trace, secret: "1" }, timeout: 2000 });
  expect(await texts(outer.call.greetServerStream({}, { attachments: trace }))).toEqual(["inner", "inner"]);
  expect(seen).toHaveLength(3);
  for (const headers of seen) expect(Object.fromEntries(headers.entries())).toMatchObject(trace);
  expect(seen[0]?.get("secret")).toBeUndefined();
  expect(deadlines[0]).toBeLessThan(before + 3000);
  expect(seen[0]?.get("tri-consumer-appname")).toBe("consumer-under-test");
  // A handler's own trace headers take precedence.
  await outer.call.greetWithAttachment({}, { attachments: trace });
  expect(seen[3]?.get("traceparent")).toBe("00-own");
  expect(seen[3]?.get("tracestate")).toBe("a=b");
  // A call outside a handler forwards nothing.
  await inner.call.greet({});
  expect(seen[4]?.get("x-request-id")).toBeUndefined();

  expect((await error(outer.call.upperCaseGreet({}, { timeout: 200 }))).code).toBe(status.DEADLINE_EXCEEDED);
  await eventually("the cancellation", () => gone);
});

/** Server in a thread that resets each stream at the deadline of its call, as grpc-go does. */
const RESETTING_SERVER = `
  const { parentPort } = require("node:worker_threads");
  const server = require("node:http2").createServer();
  const units = { m: 1, u: 1e-3, n: 1e-6 };
  server.on("stream", (stream, headers) => {
    const start = performance.now();
    const timeout = headers["grpc-timeout"];
    const wait = Number(timeout.slice(0, -1)) * units[timeout.at(-1)];
    stream.on("error", () => undefined).resume();
    while (performance.now() < start + wait);
    stream.close(8);
  });
  server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));
  parentPort.once("message", () => process.exit());`;

test("reports a late call as DEADLINE_EXCEEDED, also if the provider resets its stream first", async () => {
  const server = new Worker(RESETTING_SERVER, { eval: true });
  // Let the thread end itself: `terminate` during a callback of a connection can end the process.
  ending.push(async () => {
    server.postMessage("end");
    await once(server, "exit");
  });
  const [port] = (await once(server, "message")) as [number];
  const counted: Status[] = [];
  const { call } = reference(port, { timeout: 40, begin: () => (code) => counted.push(code) });
  const seen: Status[] = [];
  for (let turn = 0; turn < 20; turn += 1) seen.push((await error(call.greet({ name: "late" }))).code);
  expect(new Set(seen)).toEqual(new Set([status.DEADLINE_EXCEEDED]));
  expect(counted).toEqual(seen);
});

test("keeps CANCELLED for a call that its caller cancels", async () => {
  const { call } = await calling({ greet: (_request, { signal }) => once(signal, "abort") as never });
  const stop = new AbortController();
  const cancelled = call.greet({ name: "x" }, { signal: stop.signal, timeout: 10_000 });
  stop.abort();
  expect((await error(cancelled)).code).toBe(status.CANCELLED);
});

test("serves a method by its name with a capital first letter too, as Dubbo does", async () => {
  const { port } = await calling();
  const capital = { ...Greeter.method.greet, name: "Greet" };
  expect((await unary(port, capital, { name: "Go" })).message).toMatch(/^hello,Go, response from provider/);
  const stream = { ...Greeter.method.greetStream, name: "GreetStream" };
  const { path, requestSerialize, responseDeserialize, frame } = rawMethod(stream);
  expect(path).toBe("/org.apache.dubbo.samples.Greeter/GreetStream");
  const connection = client(port);
  ending.push(() => {
    connection.close();
  });
  const call = connection.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata());
  call.end(frame({ name: "Go" }));
  expect(await texts(call as AsyncIterable<{ message: string }>)).toHaveLength(1);
});

test("keeps the status of a stream that fails in time, for a reader that sees it after the deadline", async () => {
  const { call } = await calling({
    async *greetServerStream() {
      yield { message: "one" };
      await sleep(50);
      throw new RpcError(status.UNAVAILABLE, "in time");
    },
  });
  const replies = call.greetServerStream({ name: "slow" }, { timeout: 300 })[Symbol.asyncIterator]();
  expect((await replies.next()).value).toMatchObject({ message: "one" });
  await sleep(400);
  expect((await error(replies.next())).message).toBe("UNAVAILABLE: in time");
});

test("tells the provider that an upload was cancelled, late or broken, and never that it is complete", async () => {
  const seen: string[] = [];
  const { call } = await calling({
    async *greetStream(requests) {
      try {
        for await (const { name } of requests) yield { message: name };
        seen.push("complete");
      } catch (thrown) {
        seen.push((thrown as RpcError).message);
        throw thrown;
      }
    },
  });
  async function* upload(end: () => Promise<unknown>) {
    yield { name: "part" };
    await end();
  }
  const forever = (): Promise<never> => new Promise(() => undefined);
  const stop = new AbortController();
  const cancelled = texts(call.greetStream(upload(forever), { signal: stop.signal }));
  await sleep(100);
  stop.abort();
  expect((await error(cancelled)).code).toBe(status.CANCELLED);
  expect((await error(texts(call.greetStream(upload(forever), { timeout: 100 })))).code).toBe(
    status.DEADLINE_EXCEEDED,
  );
  const broken = upload(() => Promise.reject(new Error("source failed")));
  expect((await error(texts(call.greetStream(broken)))).message).toBe("UNKNOWN: source failed");
  await eventually("three ends", () => seen.length === 3 || undefined);
  expect(new Set(seen)).toEqual(new Set(["CANCELLED: the call was cancelled, disconnected or timed out"]));
});
