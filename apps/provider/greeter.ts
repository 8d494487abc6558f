import { networkInterfaces } from "node:os";
import { type Attachment, type Call, type Handlers, type Logger, RpcError, status } from "dubbo-node";
import type { Greeter, GreeterRequest } from "../gen/greeter_pb.ts";

/** Number of replies of a server stream. Source: the sample. */
const STREAMED_REPLIES = 10;
/** Key of the echoed attachment, and of the big one. Source: the sample. */
const ATTACHMENT = "user-attachment";
/** The numbers 0 to 7999 without separators, 30,890 characters. Source: the sample. */
const BIG_ATTACHMENT = Array.from({ length: 8000 }, (_, index) => index).join("");

/** Options of the greeter. */
export interface GreeterOptions {
  /** Dubbo application name. */
  readonly application: string;
  /**
   * Version of the provider. The greeting of v1 has no suffix, like that of the sample's only
   * provider.
   */
  readonly version: string;
  /** Address of the provider, `ip:port`. */
  readonly address: string;
  /** Logger of the greeter. */
  readonly log: Logger;
}

interface Reply {
  readonly message: string;
}

/**
 * Returns the address of this host as Dubbo reports it: the first IPv4 address that is not
 * internal.
 */
export function hostAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  return addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
}

function* numbered({ name }: GreeterRequest): Generator<Reply> {
  for (let index = 0; index < STREAMED_REPLIES; index += 1) yield { message: `${name}--${index}` };
}

async function* echo(requests: AsyncIterable<GreeterRequest>): AsyncGenerator<Reply> {
  for await (const { name } of requests) yield { message: name };
}

/** Works like {@link echo}, with compressed replies. */
function compressedEcho(requests: AsyncIterable<GreeterRequest>, call: Call): AsyncGenerator<Reply> {
  call.compress();
  return echo(requests);
}

function untilCancelled({ signal }: Call): Promise<never> {
  return new Promise((_resolve, reject) => {
    const cancel = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) cancel();
    else signal.addEventListener("abort", cancel, { once: true });
  });
}

/** Returns the methods that wait for their cancellation, and the one that reports it. */
function cancellations(log: Logger) {
  const cancelled = new Set<string>();
  const remember = (method: string, { signal }: Call): void => {
    const note = (): void => {
      log.info(`cancel--${method}`);
      cancelled.add(method);
    };
    signal.addEventListener("abort", note, { once: true });
  };
  const openEcho = (method: string) =>
    async function* (requests: AsyncIterable<GreeterRequest>, call: Call): AsyncGenerator<Reply> {
      remember(method, call);
      yield* echo(requests);
      await untilCancelled(call);
    };
  return {
    cancelBiStream: openEcho("cancelBiStream"),
    cancelBiStream2: openEcho("cancelBiStream2"),
    async *cancelServerStream(request: GreeterRequest, call: Call): AsyncGenerator<Reply> {
      remember("cancelServerStream", call);
      yield* numbered(request);
      await untilCancelled(call);
    },
    queryCancelResult: ({ name }: GreeterRequest): Reply => ({ message: String(cancelled.has(name)) }),
  };
}

/** Returns the handlers of the sample's greeter, with the texts of the sample. */
export function greeter(options: GreeterOptions): Handlers<typeof Greeter> {
  const { application, version, address, log } = options;
  const suffix = version === "v1" ? "" : `-${version}`;
  return {
    greet({ name }, { remoteAddress, remoteApplication = "null" }) {
      log.info(`Server test dubbo tri k8s received greet request name: ${JSON.stringify(name)}`);
      const from = `provider${suffix}: ${address}, client: ${remoteAddress}, local: ${application}, remote: ${remoteApplication}`;
      return { message: `hello,${name}, response from ${from}, isProviderSide: true` };
    },
    async *greetStream(requests) {
      let count = 0;
      for await (const { name } of requests) {
        count += 1;
        log.info(`${name} ${count}`);
        yield { message: `${name} ${count}` };
      }
      log.info("[greetStream] onCompleted");
    },
    greetServerStream: numbered,
    upperCaseGreet: ({ name }) => ({ message: name.toUpperCase() }),
    greetWithAttachment({ name }, { attachments, replyAttachments }) {
      replyAttachments.set(ATTACHMENT, `hello,${String(attachments.get(ATTACHMENT) ?? null)}`);
      return { message: `hello,${name}` };
    },
    greetReturnBigAttachment({ name }, { replyAttachments }) {
      replyAttachments.set(ATTACHMENT, BIG_ATTACHMENT);
      return { message: `hello,${name}` };
    },
    greetException() {
      const attachments = new Map<string, Attachment>([
        ["str", "str"],
        ["integer", "1"],
        ["raw", Uint8Array.of(1, 2, 3, 4)],
      ]);
      throw new RpcError(status.UNKNOWN, "Biz Exception", { attachments });
    },
    compressorBiStream: compressedEcho,
    serverCompressorBiStream: compressedEcho,
    clientCompressorBiStream: echo,
    ...cancellations(log),
  };
}
