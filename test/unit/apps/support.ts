import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
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
import { bundleApplication } from "../../../apps/bundle.ts";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { Health, HealthCheckRequestSchema } from "../../../apps/gen/health_pb.ts";
import { greeter } from "../../../apps/provider/greeter.ts";
import { type ApplicationOptions, DubboApplication } from "../../../apps/sdk/application.ts";
import { freePort } from "../../../bench/apps/process.ts";
import { type Logger, logger } from "../../../apps/sdk/logger.ts";
import { clientMethod, encode, type Frame } from "../../../apps/sdk/method.ts";
import type { Handlers } from "../../../apps/sdk/service.ts";
import { type ApplicationSettings, applicationSettings } from "../../../apps/sdk/settings.ts";

const PROJECT = join(import.meta.dirname, "../../..");
const PATIENCE_MS = 15_000;
// Processes start and stop here, on machines that may be busy.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });
setLogVerbosity(logVerbosity.NONE);

/** Waits until `condition` gives something, and returns that. */
export async function eventually<T>(
  what: string,
  condition: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await condition();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`not seen within ${PATIENCE_MS} ms: ${what}`);
    await sleep(10);
  }
}

/** A logger that keeps its lines, without their time. */
export function recorder(): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const write = (line: string): number => lines.push(line.trimEnd().replace(/^\[.*?\] /, ""));
  return { log: logger("test", "text", write), lines };
}

/** Settings for a test: free ports, no wait when the application ends. */
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

/** An application without services, on free ports unless the test says otherwise. */
export function application(
  changed: Partial<ApplicationSettings> = {},
  options: Partial<ApplicationOptions> = {},
): DubboApplication {
  return new DubboApplication({ settings: settings(changed), log: recorder().log, ...options });
}

/** A provider on free ports, with the handlers of the sample unless the test brings its own. */
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

/** A client of grpc-js, without anything of the SDK. */
export function client(port: number): Client {
  return new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.enable_retries": 0,
    "grpc.use_local_subchannel_pool": 1,
  });
}

/** A method as grpc-js wants it, and the bytes of its requests. */
export function rawMethod<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { input: I; output: O },
) {
  const { path, requestSerialize, responseDeserialize } = clientMethod(method);
  return {
    path,
    requestSerialize,
    responseDeserialize: responseDeserialize as unknown as (bytes: Buffer) => MessageShape<O>,
    frame: (request: MessageInitShape<I>): Frame => encode(method.input, request),
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

/** The gRPC status of a call that fails, as `CODE: details`. */
export async function failure(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => new Error("the call was answered"),
    (thrown: unknown) => thrown as ServiceError,
  );
  return error.message;
}

/** The health of a service as a number of grpc.health.v1, or the failure. */
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

/** Status and body of a probe. */
export async function probe(qosPort: number, path: string, method = "GET"): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${qosPort}${path}`, {
    method,
    headers: { connection: "close" },
  });
  return `${response.status} ${await response.text()}`;
}

// The applications dial names of a cluster's DNS: to them every name is this machine.
const LOOPBACK_DNS = `data:text/javascript,${encodeURIComponent(
  `import { promises } from "node:dns"; promises.lookup = async () => [{ address: "127.0.0.1", family: 4 }];`,
)}`;

const bundles = new Map<string, string>();

/** The main module of an application, bundled once a test file. */
async function bundled(name: string): Promise<string> {
  const known = bundles.get(name);
  if (known !== undefined) return known;
  const { context } = await bundleApplication(name, { baseImage: "none", platform: "linux/amd64" });
  const main = join(PROJECT, context, "main.mjs");
  bundles.set(name, main);
  return main;
}

/** An application's bundle as a process of its own. */
export class AppProcess {
  readonly port: number;
  readonly qosPort: number;
  /** What it wrote on standard output and standard error. */
  output = "";
  readonly #process: ChildProcess;
  readonly #exit: Promise<number | null>;

  private constructor(main: string, ports: readonly [number, number], environment: Record<string, string>) {
    [this.port, this.qosPort] = ports;
    const env = {
      PATH: process.env["PATH"],
      DUBBO_PROTOCOL_PORT: String(this.port),
      DUBBO_APPLICATION_QOS_PORT: String(this.qosPort),
      DUBBO_SERVICE_SHUTDOWN_WAIT: "0",
      ...environment,
    };
    this.#process = spawn(process.execPath, ["--import", LOOPBACK_DNS, main], { env });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.on("data", (chunk: Buffer) => (this.output += chunk.toString()));
    }
    this.#exit = once(this.#process, "close").then(([code]) => code as number | null);
  }

  /** Starts an application on free ports. */
  static async start(name: string, environment: Record<string, string>): Promise<AppProcess> {
    const ports = [await freePort(), await freePort()] as const;
    return new AppProcess(await bundled(name), ports, environment);
  }

  /** The lines so far, without their time. */
  get lines(): string[] {
    return this.output
      .split("\n")
      .slice(0, -1)
      .map((line) => line.replace(/^\[.*?\] /, ""));
  }

  /** Waits for a line. */
  line(pattern: RegExp): Promise<string> {
    return eventually(`${String(pattern)} in ${this.output}`, () =>
      this.lines.find((line) => pattern.test(line)),
    );
  }

  /** Closes the pipes that it writes its log to. */
  closeLog(): void {
    this.#process.stdout?.destroy();
    this.#process.stderr?.destroy();
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Waits for its end; the exit code. */
  exit(): Promise<number | null> {
    return this.#exit;
  }
}
