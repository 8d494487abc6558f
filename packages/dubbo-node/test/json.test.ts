import { once } from "node:events";
import { Agent, type IncomingMessage, request as httpRequest } from "node:http";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import type { Greeter } from "../../../apps/gen/greeter_pb.ts";
import type { Attachments } from "../src/error.ts";
import { RpcError } from "../src/error.ts";
import type { Handlers } from "../src/service.ts";
import { type ApplicationSettings } from "../src/settings.ts";
import { status } from "../src/status.ts";
import { eventually, provider, recorder } from "./support.ts";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
});

const GREETER = "/org.apache.dubbo.samples.Greeter";
const JSON_HEADERS = { "content-type": "application/json" };

interface Sent {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

interface Answer {
  readonly code: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

type Send = (port: number, sent: Sent) => Promise<Answer>;

async function overHttp1(
  port: number,
  { path = `${GREETER}/greet`, method = "POST", headers = JSON_HEADERS, body }: Sent,
) {
  const request = httpRequest({ host: "127.0.0.1", port, path, method, headers, agent: new Agent() });
  // With a text body, Node.js would encode the headers as UTF-8 too. They must be Latin-1.
  request.end(body === undefined ? undefined : Buffer.from(body));
  const [response] = (await once(request, "response")) as [IncomingMessage];
  const text = (await buffer(response)).toString();
  return { code: response.statusCode ?? 0, headers: response.headers, body: text };
}

async function overHttp2(
  port: number,
  { path = `${GREETER}/greet`, method = "POST", headers = JSON_HEADERS, body }: Sent,
) {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  try {
    const stream = session.request({ ":path": path, ":method": method, ...headers }, { endStream: false });
    const responded = once(stream, "response") as Promise<[IncomingHttpHeaders]>;
    stream.end(body);
    const [found] = await responded;
    return { code: Number(found[":status"]), headers: found, body: (await buffer(stream)).toString() };
  } finally {
    session.close();
  }
}

const PROTOCOLS: [string, Send][] = [
  ["HTTP/1.1", overHttp1],
  ["HTTP/2", overHttp2],
];

async function serving(
  handlers: Partial<Handlers<typeof Greeter>> = {},
  changed: Partial<ApplicationSettings> = {},
  log = recorder().log,
) {
  const started = await provider(handlers, "v1", log, changed);
  ending.push(() => started.drain());
  return started;
}

/** Body of a failure, in Dubbo's form. */
function failed(code: number, message: string): string {
  return JSON.stringify({ message, status: String(code) });
}

describe.each(PROTOCOLS)("JSON over %s", (_name, send) => {
  test("calls a unary method, also by a capital name or with a version in the path", async () => {
    const { port } = await serving();
    for (const path of ["UpperCaseGreet", "upperCaseGreet", "upperCaseGreet?a=b"]) {
      const { code, headers, body } = await send(port, {
        path: `${GREETER}/${path}`,
        body: '{"name":"é€","other":1}',
      });
      expect([code, headers["content-type"], body]).toEqual([200, "application/json", '{"message":"É€"}']);
    }
    const versioned = { path: `${GREETER}:1.0.0/UpperCaseGreet`, body: '{"name":"x"}' };
    expect((await send(port, versioned)).body).toBe('{"message":"X"}');
    // Java omits fields with their default value, too.
    expect((await send(port, { path: `${GREETER}/UpperCaseGreet`, body: "{}" })).body).toBe("{}");
  });

  test.each([
    ["an unknown method", { path: `${GREETER}/nothing`, body: "{}" }, 404, "Invoker not found"],
    ["an unknown service", { path: "/a.B/greet", body: "{}" }, 404, "Invoker not found"],
    ["the root", { path: "/", body: "{}" }, 404, "Invoker not found"],
    ["GET", { method: "GET" }, 405, "Request method 'GET' not supported"],
    ["DELETE", { method: "DELETE" }, 405, "Request method 'DELETE' not supported"],
    [
      "XML",
      { headers: { "content-type": "application/xml" } },
      415,
      "Unsupported Media Type 'application/xml'",
    ],
    ["no content type", { headers: {}, body: "{}" }, 415, "Unsupported Media Type ''"],
    [
      "another character set",
      { headers: { "content-type": "application/json; charset=utf-16" }, body: "{}" },
      415,
      "Unsupported Media Type 'application/json; charset=utf-16'",
    ],
    [
      "a compressed body",
      { headers: { ...JSON_HEADERS, "content-encoding": "gzip" }, body: "{}" },
      415,
      "Unsupported Media Type 'gzip'",
    ],
    ["a broken body", { body: "{" }, 500, /^Error decoding json: /],
    ["no body", {}, 500, /^Error decoding json: /],
    ["a field of another type", { body: '{"name":5}' }, 400, /name/],
    ["a list", { body: '[{"name":"x"}]' }, 400, /cannot decode message/],
    [
      "a stream",
      { path: `${GREETER}/greetServerStream`, body: "{}" },
      501,
      "greetServerStream is a stream: call it by gRPC",
    ],
  ] as [string, Sent, number, string | RegExp][])(
    "answers %s with a readable error",
    async (_what, sent, code, message) => {
      const { port } = await serving();
      const answer = await send(port, sent);
      expect([answer.code, answer.headers["content-type"]]).toEqual([code, "application/json"]);
      expect(JSON.parse(answer.body)).toEqual({
        message: typeof message === "string" ? message : (expect.stringMatching(message) as string),
        status: String(code),
      });
      if (code === 405) expect(answer.headers.allow).toBe("POST");
    },
  );

  test("answers HEAD without a body", async () => {
    const { port } = await serving();
    expect(await send(port, { method: "HEAD" })).toMatchObject({ code: 405, body: "" });
  });

  test("reads Dubbo's version header", async () => {
    const { port } = await serving({}, { "dubbo.rpc.tri.resolve-fallback-to-default": false });
    const body = '{"name":"x"}';
    const ofVersion = (version: string): Sent => ({
      path: `${GREETER}/UpperCaseGreet`,
      headers: { ...JSON_HEADERS, "rest-service-version": version },
      body,
    });
    expect((await send(port, ofVersion("1.0.0"))).body).toBe('{"message":"X"}');
    const wanted = "org.apache.dubbo.samples.Greeter:2.0.0";
    expect(await send(port, ofVersion("2.0.0"))).toMatchObject({
      code: 404,
      body: failed(404, `Invoker for gRPC not found: no provider for ${wanted}`),
    });
  });

  test("turns the error of a handler into its HTTP status, and logs an unexpected one", async () => {
    const { log, lines } = recorder();
    const { port } = await serving(
      {
        greet: () => {
          throw new TypeError("a bug");
        },
        upperCaseGreet: () => {
          throw new RpcError(status.NOT_FOUND, "no such name", { attachments: new Map([["why", "café"]]) });
        },
      },
      {},
      log,
    );
    expect(await send(port, { body: "{}" })).toMatchObject({ code: 500, body: failed(500, "a bug") });
    const answer = await send(port, { path: `${GREETER}/UpperCaseGreet`, body: "{}" });
    expect(answer).toMatchObject({ code: 404, body: failed(404, "no such name") });
    expect(answer.headers["why"]).toBe("café");
    expect(lines).toHaveLength(1);
  });

  test("carries attachments both ways, in Latin-1", async () => {
    let seen: Attachments = new Map();
    const { port } = await serving({
      greetWithAttachment(_request, { attachments, replyAttachments }) {
        seen = attachments;
        replyAttachments.set("Answer", "déjà vu").set("raw", Uint8Array.of(1, 2));
        return {};
      },
    });
    const headers = { ...JSON_HEADERS, "user-attachment": "café" };
    const answer = await send(port, { path: `${GREETER}/greetWithAttachment`, headers, body: "{}" });
    expect(Object.fromEntries(seen)).toEqual({ "user-attachment": "café" });
    expect([answer.headers["answer"], answer.headers["raw-bin"]]).toEqual(["déjà vu", "AQI="]);
  });

  test("ends a call at its deadline, and tells the handler", async () => {
    const aborted: unknown[] = [];
    const { port } = await serving({
      greet: (_request, { signal }) => {
        signal.addEventListener("abort", () => aborted.push(signal.reason));
        return new Promise(() => undefined);
      },
    });
    for (const timeout of [{ "tri-service-timeout": "50" }, { "grpc-timeout": "50m" }]) {
      const answer = await send(port, { headers: { ...JSON_HEADERS, ...timeout }, body: "{}" });
      expect(answer).toMatchObject({ code: 504, body: failed(504, "the deadline has passed") });
    }
    expect(aborted).toHaveLength(2);
  });

  test("refuses a request above the limit, and serves the next one", async () => {
    const { port } = await serving({}, { "dubbo.protocol.payload": 1000 });
    const big = JSON.stringify({ name: "x".repeat(2000) });
    expect(await send(port, { body: big })).toMatchObject({
      code: 413,
      body: failed(413, "the request is larger than 1000 bytes"),
    });
    expect((await send(port, { path: `${GREETER}/UpperCaseGreet`, body: '{"name":"x"}' })).code).toBe(200);
  });

  test("finishes a call in flight during the drain", async () => {
    const started = await serving({
      greet: async () => {
        await sleep(200);
        return { message: "done" };
      },
    });
    const answer = send(started.port, { body: "{}" });
    await sleep(100);
    await started.drain();
    expect(await answer).toMatchObject({ code: 200, body: '{"message":"done"}' });
    await expect(send(started.port, { body: "{}" })).rejects.toThrow(/ECONNREFUSED/);
  });
});

test("answers several calls on one connection of HTTP/1.1, and closes it at the drain", async () => {
  const started = await serving();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const call = async (): Promise<boolean> => {
    const request = httpRequest({
      host: "127.0.0.1",
      port: started.port,
      path: `${GREETER}/UpperCaseGreet`,
      method: "POST",
      headers: JSON_HEADERS,
      agent,
    });
    request.end('{"name":"x"}');
    const [response] = (await once(request, "response")) as [IncomingMessage];
    expect((await buffer(response)).toString()).toBe('{"message":"X"}');
    return request.reusedSocket;
  };
  expect([await call(), await call(), await call()]).toEqual([false, true, true]);
  await started.drain();
  await eventually("the close", () => Object.keys(agent.freeSockets).length === 0 || undefined);
});

test("answers a call in flight on a kept connection, and ends the drain with it", async () => {
  const started = await serving({
    greet: async () => {
      await sleep(200);
      return { message: "done" };
    },
  });
  const agent = new Agent({ keepAlive: true });
  ending.push(() => {
    agent.destroy();
  });
  const options = { host: "127.0.0.1", port: started.port, path: `${GREETER}/greet`, method: "POST" };
  const request = httpRequest({ ...options, headers: JSON_HEADERS, agent });
  const answered = once(request, "response") as Promise<[IncomingMessage]>;
  request.end("{}");
  await sleep(50);
  const drained = started.drain();
  const [response] = await answered;
  expect((await buffer(response)).toString()).toBe('{"message":"done"}');
  const start = performance.now();
  await drained;
  expect(performance.now() - start).toBeLessThan(1000);
});

test("cancels a call whose caller disconnects", async () => {
  let aborted = false;
  const { port } = await serving({
    greet: (_request, { signal }) => {
      signal.addEventListener("abort", () => (aborted = true));
      return new Promise(() => undefined);
    },
  });
  const request = httpRequest({
    host: "127.0.0.1",
    port,
    path: `${GREETER}/greet`,
    method: "POST",
    headers: JSON_HEADERS,
  });
  request.on("error", () => undefined).end("{}");
  await sleep(100);
  request.destroy();
  expect(await eventually("the cancellation", () => aborted || undefined)).toBe(true);
});

test("refuses gRPC over HTTP/1.1, which cannot carry its trailers", async () => {
  const { port } = await serving();
  expect(await overHttp1(port, { headers: { "content-type": "application/grpc" }, body: "" })).toMatchObject({
    code: 415,
    body: failed(415, "Unsupported Media Type 'application/grpc'"),
  });
});

test("logs a connection that sends something else", async () => {
  const { log, lines } = recorder();
  const { port } = await serving({}, {}, log);
  const answered = fetch(`http://127.0.0.1:${port}/`, {
    method: "POST",
    body: "x",
    headers: { "x-long": "y".repeat(70_000) },
  });
  expect((await answered).status).toBe(400);
  await eventually("the warning", () => lines.find((line) => line.includes("connection of 127.0.0.1: ")));
});
