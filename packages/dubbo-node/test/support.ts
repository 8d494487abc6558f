import { setTimeout as sleep } from "node:timers/promises";
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  Client,
  credentials,
  logVerbosity,
  Metadata,
  type ServiceError,
  setLogVerbosity,
} from "@grpc/grpc-js";
import { vi } from "vitest";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { Health, HealthCheckRequestSchema } from "../src/gen/health_pb.ts";
import { greeter } from "../../../apps/provider/greeter.ts";
import { type ApplicationOptions, DubboApplication } from "../src/application.ts";
import { type Logger, logger } from "../src/logger.ts";
import type { Handlers } from "../src/service.ts";
import { type ApplicationSettings, applicationSettings } from "../src/settings.ts";

const PATIENCE_MS = 15_000;
// The tests start and stop processes, on machines that may be busy.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });
setLogVerbosity(logVerbosity.NONE);

/** Waits until `condition` returns a value, and returns it. */
export async function eventually<T>(
  what: string,
  condition: () => T | undefined | Promise<T | undefined>,
  patience = PATIENCE_MS,
): Promise<T> {
  const end = Date.now() + patience;
  for (;;) {
    const found = await condition();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`not seen within ${patience} ms: ${what}`);
    await sleep(10);
  }
}

/** Logger that keeps its lines, without their time. */
export function recorder(): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const write = (line: string): number => lines.push(line.trimEnd().replace(/^\[.*?\] /, ""));
  return { log: logger("test", "text", write), lines };
}

/** Settings for a test: free ports, and no wait at the end. */
export function settings(changed: Partial<ApplicationSettings> = {}): ApplicationSettings {
  const defaults = applicationSettings({ port: 1, version: "1.0.0" }).parse({
    "dubbo.application.name": "provider-under-test",
  });
  return {
    ...defaults,
    "dubbo.protocol.port": 0,
    "dubbo.application.qos-port": 0,
    "dubbo.service.shutdown.wait": 0,
    ...changed,
  };
}

/** Starts an application without services, on free ports by default. */
export function application(
  changed: Partial<ApplicationSettings> = {},
  options: Partial<ApplicationOptions> = {},
): DubboApplication {
  return new DubboApplication({ settings: settings(changed), log: recorder().log, ...options });
}

/** Starts a provider on free ports, with the sample's handlers by default. */
export async function provider(
  handlers: Partial<Handlers<typeof Greeter>> = {},
  version = "v1",
  log = recorder().log,
  changed: Partial<ApplicationSettings> = {},
) {
  const sample = greeter({ application: "provider-under-test", version, address: "10.0.0.7:50052", log });
  const started = application(changed, { log });
  started.export(Greeter, { ...sample, ...handlers });
  await started.start();
  return started;
}

/** Returns a client of grpc-js, without the SDK. */
export function client(port: number): Client {
  return new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.enable_retries": 0,
    "grpc.use_local_subchannel_pool": 1,
  });
}

/** A method in the form of grpc-js, and the bytes of its requests. */
export function rawMethod<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { input: I; output: O },
) {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer): MessageShape<O> => fromBinary(method.output, bytes),
    frame: (request: MessageInitShape<I>): Buffer =>
      Buffer.from(toBinary(method.input, create(method.input, request))),
  };
}

/** Calls a unary method once. */
export async function unary<I extends DescMessage, O extends DescMessage>(
  port: number,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  headers: Record<string, string> = {},
): Promise<MessageShape<O>> {
  const { path, requestSerialize, responseDeserialize, frame } = rawMethod(method);
  const connection = client(port);
  try {
    return await new Promise<MessageShape<O>>((resolve, reject) => {
      const metadata = Metadata.fromHttp2Headers(headers);
      const deadline = Date.now() + PATIENCE_MS;
      connection.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        frame(request),
        metadata,
        { deadline },
        (error, reply) => {
          if (reply === undefined) reject(error ?? new Error("no reply"));
          else resolve(reply);
        },
      );
    });
  } finally {
    connection.close();
  }
}

/** Returns the gRPC status of a failed call, as `CODE: details`. */
export async function failure(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => new Error("the call was answered"),
    (thrown: unknown) => thrown as ServiceError,
  );
  return error.message;
}

/** Returns the health of a service as a number of grpc.health.v1, or the error. */
export async function health(
  port: number,
  service = "org.apache.dubbo.samples.Greeter",
): Promise<number | string> {
  const check = unary(port, Health.method.check, create(HealthCheckRequestSchema, { service }));
  return check.then(
    ({ status }) => status,
    (error: unknown) => (error as Error).message,
  );
}

/** Returns the status and body of a probe. */
export async function probe(qosPort: number, path: string, method = "GET"): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${qosPort}${path}`, {
    method,
    headers: { connection: "close" },
  });
  return `${response.status} ${await response.text()}`;
}
