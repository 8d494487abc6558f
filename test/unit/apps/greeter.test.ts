import { once } from "node:events";
import { type ClientHttp2Stream, connect } from "node:http2";
import { isIPv4 } from "node:net";
import { Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DubboApplication } from "dubbo-node";
import { Greeter, type GreeterReply } from "../../../apps/gen/greeter_pb.ts";
import { hostAddress } from "../../../apps/provider/greeter.ts";
import {
  client,
  failure,
  provider,
  rawMethod,
  recorder,
  unary,
} from "../../../packages/dubbo-node/test/support.ts";

const { log, lines } = recorder();
let v1: DubboApplication;
let v2: DubboApplication;

beforeAll(async () => {
  v1 = await provider({}, "v1", log);
  v2 = await provider({}, "v2");
});

afterAll(async () => {
  await Promise.all([v1.drain(), v2.drain()]);
});

const request = { name: "service mesh" };

async function greet(
  port: number,
  headers: Record<string, string> = {},
  name = "service mesh",
): Promise<string> {
  const { message } = await unary(port, Greeter.method.greet, { name }, headers);
  return message;
}

async function messages(call: AsyncIterable<GreeterReply>): Promise<string[]> {
  const seen: string[] = [];
  for await (const { message } of call) seen.push(message);
  return seen;
}

async function replies(port: number, headers: Record<string, string> = {}): Promise<string[]> {
  const { path, requestSerialize, responseDeserialize, frame } = rawMethod(Greeter.method.greetServerStream);
  const connection = client(port);
  const metadata = Metadata.fromHttp2Headers(headers);
  try {
    const call = connection.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      frame(request),
      metadata,
    );
    return await messages(call);
  } finally {
    connection.close();
  }
}

test("replies like the sample's provider v1", async () => {
  expect(await greet(v1.port, { "tri-consumer-appname": "my-consumer" })).toBe(
    "hello,service mesh, response from provider: 10.0.0.7:50052, client: 127.0.0.1, local: provider-under-test, remote: my-consumer, isProviderSide: true",
  );
});

test("names v2 in its replies, and null for a caller without a name", async () => {
  expect(await greet(v2.port, {}, "ü")).toBe(
    "hello,ü, response from provider-v2: 10.0.0.7:50052, client: 127.0.0.1, local: provider-under-test, remote: null, isProviderSide: true",
  );
});

test("logs a call as the sample does", async () => {
  lines.length = 0;
  await greet(v1.port, {}, 'a "b"\n');
  expect(lines).toEqual([
    'main  INFO test: Server test dubbo tri k8s received greet request name: "a \\"b\\"\\n"',
  ]);
});

test("reports an address that a peer can reach", () => {
  expect(isIPv4(hostAddress())).toBe(true);
});

test("sends ten replies on a server stream", async () => {
  expect(await replies(v1.port)).toEqual(Array.from({ length: 10 }, (_, index) => `service mesh--${index}`));
});

test("counts the requests of a bidirectional stream, even beyond its buffers", async () => {
  const { path, requestSerialize, responseDeserialize, frame } = rawMethod(Greeter.method.greetStream);
  const connection = client(v1.port);
  const call = connection.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  for (let count = 0; count < 200; count += 1) call.write(frame(request));
  call.end();
  const answers = await messages(call);
  connection.close();
  expect(answers).toEqual(Array.from({ length: 200 }, (_, index) => `service mesh ${index + 1}`));
});

test.each(["1.0.0", ""])("accepts interface version %j", async (version) => {
  expect(await greet(v1.port, { "tri-service-version": version })).toMatch(/^hello,service mesh, /);
});

test("serves another interface version as Dubbo does, or rejects it", async () => {
  const headers = { "tri-service-version": "2.0.0" };
  expect(await greet(v1.port, headers)).toMatch(/^hello,service mesh, /);
  expect(await replies(v1.port, headers)).toHaveLength(10);
  const strict = await provider({}, "v1", log, { "dubbo.rpc.tri.resolve-fallback-to-default": false });
  const refusal =
    "12 UNIMPLEMENTED: Invoker for gRPC not found: no provider for org.apache.dubbo.samples.Greeter:2.0.0";
  expect(await failure(greet(strict.port, headers))).toBe(refusal);
  expect(await failure(replies(strict.port, headers))).toBe(refusal);
  await strict.drain();
});

async function raw(path: string, contentType: string): Promise<Record<string, unknown>> {
  const session = connect(`http://127.0.0.1:${v1.port}`);
  const stream: ClientHttp2Stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": contentType,
    te: "trailers",
    "tri-service-version": "1.0.0",
    "grpc-timeout": "3000m",
  });
  // An empty message: no compression, length 0.
  stream.end(Buffer.alloc(5));
  const seen: Record<string, unknown> = {};
  const collect = (headers: object): void => {
    Object.assign(seen, headers);
  };
  stream.on("response", collect).on("trailers", collect).resume();
  await once(stream, "close");
  session.close();
  return seen;
}

test("answers Dubbo's content type with plain gRPC and trailers", async () => {
  expect(await raw("/org.apache.dubbo.samples.Greeter/greet", "application/grpc+proto")).toMatchObject({
    ":status": 200,
    "content-type": "application/grpc+proto",
    "grpc-status": "0",
  });
});

test("rejects an unknown method and a wrong content type", async () => {
  expect(await raw("/org.apache.dubbo.samples.Greeter/nothing", "application/grpc")).toMatchObject({
    ":status": 200,
    "grpc-status": "12",
    "grpc-message": "the server does not implement the method /org.apache.dubbo.samples.Greeter/nothing",
  });
  expect(await raw("/org.apache.dubbo.samples.Greeter/greet", "application/xml")).toMatchObject({
    ":status": 415,
  });
});
