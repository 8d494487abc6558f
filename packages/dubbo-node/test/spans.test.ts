import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import { afterEach, expect, test } from "vitest";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { greeter } from "../../../apps/provider/greeter.ts";
import { RpcError } from "../src/error.ts";
import { DubboReference } from "../src/reference.ts";
import { referenceSettings } from "../src/settings.ts";
import { tracer } from "../src/spans.ts";
import { status } from "../src/status.ts";
import { application, eventually, provider, recorder } from "./support.ts";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
  for (const api of [trace, context, propagation]) api.disable();
});

/** Registers OpenTelemetry's SDK. Returns a function that returns the finished spans. */
function collecting(): () => ReadableSpan[] {
  const exporter = new InMemorySpanExporter();
  const sdk = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  sdk.register();
  ending.push(() => sdk.shutdown());
  return () => exporter.getFinishedSpans();
}

function reference(port: number): DubboReference<typeof Greeter> {
  const target = `127.0.0.1:${port}`;
  const made = new DubboReference(Greeter, {
    target,
    consumer: "test",
    timeout: 10_000,
    version: "1.0.0",
    log: recorder().log,
  });
  ending.push(() => {
    made.close();
  });
  return made;
}

const { SERVER, CLIENT } = SpanKind;
const SERVICE = "org.apache.dubbo.samples.Greeter";

/** Returns the properties of a span to compare. */
function said({ name, kind, attributes, status: { code } }: ReadableSpan) {
  return { name, kind, attributes, failed: code === SpanStatusCode.ERROR };
}

function attributes(method: string, code: number) {
  return {
    "rpc.system": "apache_dubbo",
    "rpc.service": SERVICE,
    "rpc.method": method,
    "dubbo.version": "1.0.0",
    "rpc.grpc.status_code": code,
  };
}

test("makes no span without an SDK", () => {
  expect(tracer()).toBeUndefined();
});

test("makes a span of each call, on both sides, in one trace", async () => {
  const spans = collecting();
  const inner = await provider({});
  const outer = application();
  const toNobody = referenceSettings({ services: [Greeter], providedBy: "nobody" }).parse({});
  // An application with a reference keeps the context of its calls.
  outer.reference(Greeter, toNobody);
  const next = reference(inner.port);
  outer.export(Greeter, {
    ...greeter({ application: "a", version: "v1", address: "", log: recorder().log }),
    upperCaseGreet: ({ name }) => next.call.upperCaseGreet({ name }),
  });
  await outer.start();
  ending.push(
    () => inner.drain(),
    () => outer.drain(),
  );
  expect((await reference(outer.port).call.upperCaseGreet({ name: "x" })).message).toBe("X");
  const seen = await eventually("four spans", () => (spans().length === 4 ? spans() : undefined));
  expect(seen.map(said)).toEqual(
    [SERVER, CLIENT, SERVER, CLIENT].map((kind) => ({
      name: `${SERVICE}/UpperCaseGreet`,
      kind,
      attributes: attributes("UpperCaseGreet", 0),
      failed: false,
    })),
  );
  // Each span is the child of the one that ends after it.
  const parents = seen.map(({ parentSpanContext }) => parentSpanContext?.spanId);
  expect(parents).toEqual([...seen.slice(1).map((span) => span.spanContext().spanId), undefined]);
  expect(new Set(seen.map((span) => span.spanContext().traceId)).size).toBe(1);
});

test("marks a failure on the side that is to blame", async () => {
  const spans = collecting();
  const started = await provider({
    greet: () => {
      throw new RpcError(status.NOT_FOUND, "no such name");
    },
    *greetServerStream() {
      throw new RpcError(status.UNAVAILABLE, "as asked for");
    },
  });
  ending.push(() => started.drain());
  const { call } = reference(started.port);
  await call.greet({}).catch(() => undefined);
  await call
    .greetServerStream({})
    [Symbol.asyncIterator]()
    .next()
    .catch(() => undefined);
  const seen = await eventually("four spans", () => (spans().length === 4 ? spans() : undefined));
  expect(
    seen
      .map(said)
      .map(({ kind, attributes: { "rpc.grpc.status_code": code }, failed }) => [kind, code, failed]),
  ).toEqual([
    [SERVER, status.NOT_FOUND, false],
    [CLIENT, status.NOT_FOUND, true],
    [SERVER, status.UNAVAILABLE, true],
    [CLIENT, status.UNAVAILABLE, true],
  ]);
});
