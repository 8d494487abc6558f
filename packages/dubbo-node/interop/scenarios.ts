import { setTimeout as sleep } from "node:timers/promises";
import type { DescService } from "@bufbuild/protobuf";
import { Metadata, status } from "@grpc/grpc-js";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "../src/gen/health_pb.ts";
import type { Attachments } from "../src/error.ts";
import { asRpcError, RpcError } from "../src/error.ts";
import { type CallOptions, DubboReference } from "../src/reference.ts";
import type { ServiceIdentity } from "../src/service.ts";
import { client, eventually, recorder } from "../test/support.ts";
import { type Report, summary } from "./report.ts";

const NAME = "service mesh";
const SERVICE = "org.apache.dubbo.samples.Greeter";
const NOWHERE = "org.apache.dubbo.samples.Nowhere";
const MEBIBYTE = 1 << 20;
const REQUESTS = [0, 1, 2].map((index) => ({ name: `request ${index}` }));

function nameOf(serving: ServingStatus): string | undefined {
  return Object.entries(ServingStatus).find(([, value]) => value === serving)?.[0];
}

/** A scenario. It returns the reply, and passes the attachments of the reply to `options`. */
type Scenario = (options: CallOptions) => Promise<unknown>;

type GreeterReference = DubboReference<typeof Greeter>;
type Echo = "cancelBiStream" | "cancelBiStream2";

async function texts(replies: AsyncIterable<{ message: string }>): Promise<string[]> {
  const seen: string[] = [];
  for await (const { message } of replies) seen.push(message);
  return seen;
}

async function first(replies: AsyncIterable<{ message: string }>, count: number): Promise<string[]> {
  const seen: string[] = [];
  for await (const { message } of replies) {
    seen.push(message);
    // Leaving the loop cancels the call.
    if (seen.length === count) break;
  }
  return seen;
}

/** Calls a method that the provider lacks. A reference cannot make such a call. */
async function callMissing(
  port: number,
  path: string,
  { version = "", group = "" }: ServiceIdentity,
): Promise<never> {
  const connection = client(port);
  const metadata = Metadata.fromHttp2Headers({ "tri-service-version": version, "tri-service-group": group });
  const same = (bytes: Buffer): Buffer => bytes;
  try {
    return await new Promise<never>((_resolve, reject) => {
      connection.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata, (error) => {
        reject(new RpcError(error?.code ?? status.OK, error?.details ?? "answered"));
      });
    });
  } finally {
    connection.close();
  }
}

/**
 * Waits for a stream reset to arrive. Dubbo 3.3.6 loses one in thirty calls that arrive together
 * with a reset.
 */
async function resetArrived(): Promise<void> {
  await sleep(100);
}

/** Runs the scenarios of our consumer, under the names of the Java consumer. */
export class Scenarios {
  readonly #port: number;
  readonly #identity: ServiceIdentity;
  readonly #open: { close(): void }[] = [];
  readonly #health: DubboReference<typeof Health>["call"];

  constructor(port: number, group: string | undefined) {
    this.#port = port;
    this.#identity = { version: "1.0.0", group };
    this.#health = this.#reference(Health, {}).call;
  }

  /** Runs all scenarios, one after the other. */
  async run(): Promise<Report[]> {
    const reports: Report[] = [];
    for (const [name, scenario] of Object.entries(this.#all()))
      reports.push(await this.#report(name, scenario));
    for (const reference of this.#open) reference.close();
    return reports;
  }

  async #report(scenario: string, run: Scenario): Promise<Report> {
    let received: Attachments = new Map();
    const onAttachments = (attachments: Attachments): void => {
      received = attachments;
    };
    const plain = (attachments: Attachments): Record<string, unknown> =>
      Object.fromEntries(
        [...attachments].map(([key, value]) => [
          key,
          typeof value === "string" ? summary(value) : [...value],
        ]),
      );
    try {
      const reply = await run({ onAttachments });
      return { scenario, outcome: "ok", reply, attachments: plain(received) };
    } catch (thrown) {
      const { code, details, attachments } = asRpcError(thrown);
      return {
        scenario,
        outcome: "error",
        reply: undefined,
        code: status[code],
        message: details,
        attachments: plain(attachments),
      };
    }
  }

  #reference<S extends DescService>(service: S, identity: ServiceIdentity): DubboReference<S> {
    const reference = new DubboReference(service, {
      ...identity,
      target: `127.0.0.1:${this.#port}`,
      consumer: "the-consumer",
      timeout: 3000,
      log: recorder().log,
    });
    this.#open.push(reference);
    return reference;
  }

  async #firstWatched(): Promise<string | undefined> {
    for await (const { status: found } of this.#health.watch({ service: SERVICE })) return nameOf(found);
    throw new Error("the watch ended");
  }

  async #cancelled({ call }: GreeterReference, name: string, use: () => Promise<string[]>): Promise<object> {
    const asked = async (): Promise<string> => (await call.queryCancelResult({ name })).message;
    const before = await asked();
    const replies = await use();
    await resetArrived();
    await eventually("the cancellation", async () => (await asked()) === "true");
    return { after: "true", before, replies };
  }

  #all(): Record<string, Scenario> {
    const greeter = this.#reference(Greeter, this.#identity);
    const { call } = greeter;
    const { group } = this.#identity;
    const greet = async (identity: ServiceIdentity, options: CallOptions): Promise<string> =>
      (await this.#reference(Greeter, identity).call.greet({ name: NAME }, options)).message;
    const upperCase = async (length: number): Promise<unknown> =>
      summary((await call.upperCaseGreet({ name: "x".repeat(length) })).message);
    const greeting =
      (name: string): Scenario =>
      async (options) =>
        (await call.greet({ name }, options)).message;
    const echoed =
      (attachments: Exclude<CallOptions["attachments"], undefined>): Scenario =>
      async (options) =>
        (await call.greetWithAttachment({ name: NAME }, { ...options, attachments })).message;
    const health =
      (service: string): Scenario =>
      async () =>
        nameOf((await this.#health.check({ service })).status);
    const cancelBi =
      (method: Echo): Scenario =>
      () =>
        this.#cancelled(greeter, method, () => first(call[method](REQUESTS), 3));
    return {
      greet: greeting(NAME),
      greetUnicode: greeting("grüß dich, 世界 🚀"),
      greetEmpty: greeting(""),
      UpperCaseGreet: async () => (await call.upperCaseGreet({ name: NAME })).message,
      queryCancelResult: async () => (await call.queryCancelResult({ name: "nothing" })).message,
      greetWithAttachment: echoed({
        "user-attachment": "me",
        "Mixed-Case": "Value",
        raw: Uint8Array.of(1, 2, 3, 4, 255),
      }),
      attachmentInLatin1: echoed({ "user-attachment": "  café " }),
      attachmentWithUpperCaseKey: echoed({ "User-Attachment": "upper" }),
      attachmentAbsent: echoed({}),
      greetReturnBigAttachment: async (options) =>
        (await call.greetReturnBigAttachment({ name: NAME }, options)).message,
      greetStream: (options) => texts(call.greetStream(REQUESTS, options)),
      greetServerStream: (options) => texts(call.greetServerStream({ name: NAME }, options)),
      compressorBiStream: (options) =>
        texts(call.compressorBiStream(REQUESTS, { ...options, compress: true })),
      clientCompressorBiStream: (options) =>
        texts(call.clientCompressorBiStream(REQUESTS, { ...options, compress: true })),
      serverCompressorBiStream: (options) => texts(call.serverCompressorBiStream(REQUESTS, options)),
      cancelBiStream: cancelBi("cancelBiStream"),
      cancelBiStream2: cancelBi("cancelBiStream2"),
      cancelServerStream: () =>
        this.#cancelled(greeter, "cancelServerStream", () =>
          first(call.cancelServerStream({ name: NAME }), 10),
        ),
      greetException: async () => (await call.greetException({ name: NAME })).message,
      deadline: () => texts(call.cancelServerStream({ name: NAME }, { timeout: 500 })),
      unknownMethod: () => callMissing(this.#port, `/${SERVICE}/noSuchMethod`, this.#identity),
      unknownService: () => callMissing(this.#port, `/${NOWHERE}/greet`, this.#identity),
      noVersion: (options) => greet({ group }, options),
      wrongVersion: (options) => greet({ version: "2.0.0", group }, options),
      noGroup: (options) => greet({ version: "1.0.0" }, options),
      wrongGroup: (options) => greet({ version: "1.0.0", group: "no-such-group" }, options),
      wrongVersionWithoutGroup: (options) => greet({ version: "2.0.0" }, options),
      bigMessage: () => upperCase(4 * MEBIBYTE),
      tooBigMessage: () => upperCase(9 * MEBIBYTE),
      greetAfterTooBig: async (options) => {
        await resetArrived();
        return greeting(NAME)(options);
      },
      healthOfServer: health(""),
      healthOfService: health(SERVICE),
      healthOfServiceAndVersion: health(`${SERVICE}:1.0.0`),
      healthOfUnknown: health(NOWHERE),
      healthWatch: () => this.#firstWatched(),
    };
  }
}
