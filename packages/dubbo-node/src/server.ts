import type { DescMessage, DescMethod, Message, MessageInitShape } from "@bufbuild/protobuf";
import {
  Metadata,
  type sendUnaryData,
  type Server,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { GROUP_HEADER, header, putAttachments, VERSION_HEADER } from "./attachments.ts";
import { Call, type RawCall, serving } from "./call.ts";
import { asRpcError, RpcError } from "./error.ts";
import { encode, type Frame, gzipped, serverMethod } from "./method.ts";
import type { End } from "./metrics.ts";
import { type AnyHandler, type DubboService, serviceKey } from "./service.ts";

/** Interface version that Dubbo falls back to. Source: Dubbo 3.3, TripleConstants. */
const DEFAULT_VERSION = "1.0.0";
/**
 * Size in bytes. The server sends a larger reply before it asks the handler for the next one. A
 * slow reader then holds at most one large reply.
 */
const LARGE = 16_384;

/** Callbacks for the calls of a server. */
export interface CallObserver {
  /** Runs at the start of a call; the returned function runs at its end, with the status. */
  begin(service: DubboService, method: DescMethod): End;
  /** Runs when a handler throws an error other than an RpcError. */
  failed(method: DescMethod, error: unknown): void;
}

/** Options of {@link exportServices}. */
export interface ExportOptions {
  /**
   * Serves a call for a version or group that is not exported with one that is, as Dubbo does with
   * `dubbo.rpc.tri.resolve-fallback-to-default`. A call without version and group is then served
   * too.
   */
  readonly fallback: boolean;
  /** Observer of the calls. */
  readonly observer: CallObserver;
  /**
   * True if handlers make calls, which inherit trace headers and deadline of the incoming call.
   * Node.js then tracks every promise of a call, so other servers leave it out.
   */
  readonly propagatesContext: boolean;
}

interface Implementation {
  readonly service: DubboService;
  readonly handler: AnyHandler;
}

type Request = Message | AsyncIterable<Message>;
type Reply = MessageInitShape<DescMessage>;
type Source = ServerReadableStream<Message, Frame> | ServerDuplexStream<Message, Frame>;
type Sink = ServerWritableStream<Message, Frame> | ServerDuplexStream<Message, Frame>;
type Resolve = (metadata: Metadata) => Implementation;

/**
 * Returns a function that picks the implementation of a call, as Dubbo's TriplePathResolver does.
 */
function resolver(name: string, found: ReadonlyMap<string, Implementation>, fallback: boolean): Resolve {
  const [first] = found.values();
  // A single implementation serves every call, so the headers do not matter.
  if (fallback && found.size === 1 && first !== undefined) return () => first;
  return (metadata) => {
    const group = header(metadata, GROUP_HEADER);
    const version = header(metadata, VERSION_HEADER);
    const exact = found.get(serviceKey(name, { group, version }));
    const other = fallback
      ? (found.get(serviceKey(name, { group, version: DEFAULT_VERSION })) ?? first)
      : undefined;
    const implementation = exact ?? other;
    if (implementation !== undefined) return implementation;
    // The message of Dubbo, followed by the wanted key.
    const wanted = serviceKey(name, { group, version });
    throw new RpcError(status.UNIMPLEMENTED, `Invoker for gRPC not found: no provider for ${wanted}`);
  };
}

/** Returns trailers with the reply attachments; undefined if there are none. */
function trailers(call: Call): Metadata | undefined {
  if (!call.hasReplyAttachments) return undefined;
  const metadata = new Metadata();
  putAttachments(metadata, call.replyAttachments);
  return metadata;
}

/**
 * Percent-encodes a status message for a header, including the plus.
 * A Java consumer decodes the header like a URL, where a plus is a space. The conversion to UTF-8
 * and back replaces lone surrogates, at which encodeURI throws.
 */
function encodeMessage(details: string): string {
  return encodeURI(Buffer.from(details).toString()).replaceAll("+", "%2B");
}

/** Converts a failure to the form that grpc-js sends. */
function failure({ code, details, attachments }: RpcError): {
  code: status;
  details: string;
  metadata: Metadata;
} {
  let metadata = new Metadata();
  let message = details;
  try {
    putAttachments(metadata, attachments);
  } catch (error) {
    metadata = new Metadata();
    message = `${details} (${asRpcError(error).details})`;
  }
  metadata.set("grpc-message", encodeMessage(message));
  return { code, details: "", metadata };
}

function frameOf({ output }: DescMethod, reply: Reply, call: Call): Frame | Promise<Frame> {
  const frame = encode(output, reply);
  return call.compressed ? gzipped(frame) : frame;
}

function announceCompression(raw: RawCall, call: Call): void {
  if (!call.compressed) return;
  const headers = new Metadata();
  headers.set("grpc-encoding", "gzip");
  raw.sendMetadata(headers);
}

/** Yields the requests of a stream. A handler that stops reading can still send replies. */
async function* requestsOf(raw: Source, call: Call): AsyncIterable<Message> {
  const messages = raw.iterator({ destroyOnReturn: false }) as AsyncIterable<Message>;
  try {
    yield* messages;
  } catch (error) {
    // The stream ends early when the caller cancels. The handler must see the cancellation instead.
    call.signal.throwIfAborted();
    throw error;
  }
}

/** Writes a frame, and waits until the caller has taken it. */
function written(raw: Sink, frame: Frame, { signal }: Call): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", cancel, { once: true });
    raw.write(frame, () => {
      signal.removeEventListener("abort", cancel);
      resolve();
    });
  });
}

/** Writes the replies as fast as the caller reads them. */
async function send(raw: Sink, method: DescMethod, replies: AsyncIterable<Reply>, call: Call): Promise<void> {
  let first = true;
  for await (const reply of replies) {
    call.signal.throwIfAborted();
    if (first) announceCompression(raw, call);
    first = false;
    const frame = await frameOf(method, reply, call);
    const full = raw.writableLength + 1 >= raw.writableHighWaterMark;
    // At the deadline grpc-js ends the stream, but never while messages are queued.
    const mayEnd = Number.isFinite(call.deadline);
    if (full || mayEnd || frame.length > LARGE) await written(raw, frame, call);
    else raw.write(frame);
  }
}

/**
 * Serves one method: picks the implementation, runs its handler, and answers with its result or
 * error.
 */
class Method {
  readonly #method: DescMethod;
  readonly #resolve: Resolve;
  readonly #observer: CallObserver;
  readonly #serving: typeof serving;

  constructor(method: DescMethod, resolve: Resolve, { observer, propagatesContext }: ExportOptions) {
    this.#method = method;
    this.#resolve = resolve;
    this.#observer = observer;
    this.#serving = propagatesContext ? serving : (_call, work) => work();
  }

  /** Returns the handler for grpc-js. */
  handler(): UntypedServiceImplementation[string] {
    switch (this.#method.methodKind) {
      case "unary":
        return (raw: ServerUnaryCall<Message, Frame>, answer: sendUnaryData<Frame>) => {
          void this.#once(raw, () => raw.request, answer);
        };
      case "client_streaming":
        return (raw: ServerReadableStream<Message, Frame>, answer: sendUnaryData<Frame>) => {
          void this.#once(raw, (call) => requestsOf(raw, call), answer);
        };
      case "server_streaming":
        return (raw: ServerWritableStream<Message, Frame>) => {
          void this.#stream(raw, () => raw.request);
        };
      case "bidi_streaming":
        return (raw: ServerDuplexStream<Message, Frame>) => {
          void this.#stream(raw, (call) => requestsOf(raw, call));
        };
    }
  }

  async #once(raw: RawCall, request: (call: Call) => Request, answer: sendUnaryData<Frame>): Promise<void> {
    await this.#run(
      raw,
      async (call, handler) => {
        const reply = (await this.#serving(call, () => handler(request(call), call))) as Reply;
        const frame = await frameOf(this.#method, reply, call);
        announceCompression(raw, call);
        const metadata = trailers(call);
        return () => {
          answer(null, frame, metadata);
        };
      },
      answer,
    );
  }

  async #stream(raw: Sink, request: (call: Call) => Request): Promise<void> {
    await this.#run(
      raw,
      async (call, handler) => {
        const replies = (): AsyncIterable<Reply> => handler(request(call), call) as AsyncIterable<Reply>;
        await this.#serving(call, () => send(raw, this.#method, replies(), call));
        const metadata = trailers(call);
        return () => {
          raw.end(metadata);
        };
      },
      (error) => {
        raw.emit("error", error);
      },
    );
  }

  /**
   * Runs `work`, which returns a function that sends the result. No error of a handler may end the
   * process.
   */
  async #run(
    raw: RawCall,
    work: (call: Call, handler: AnyHandler) => Promise<() => void>,
    fail: (error: ReturnType<typeof failure>) => void,
  ): Promise<void> {
    const call = new Call(raw);
    let ended: End = () => undefined;
    try {
      const { service, handler } = this.#resolve(raw.metadata);
      ended = this.#observer.begin(service, this.#method);
      const answer = await work(call, handler);
      call.finish();
      ended(raw.cancelled ? status.CANCELLED : status.OK);
      answer();
    } catch (thrown) {
      call.finish();
      const error = asRpcError(thrown);
      ended(raw.cancelled ? status.CANCELLED : error.code);
      if (raw.cancelled) return;
      if (error !== thrown) this.#observer.failed(this.#method, thrown);
      fail(failure(error));
    }
  }
}

/** Returns a method's path with a capital first letter: `/package.Service/Greet`. */
function capitalized(path: string): string {
  return path.replace(/\/\w(?=\w*$)/, (first) => first.toUpperCase());
}

/**
 * Exports services on a server. Versions and groups of one interface share its methods. Like
 * Dubbo's Java provider, it also serves a method by its name with a capital first letter, which a
 * caller with another .proto file may use.
 * Source: Dubbo 3.3, DescriptorUtils.findMethodDescriptor.
 * @throws Error if two services have the same key
 */
export function exportServices(
  server: Server,
  services: readonly DubboService[],
  options: ExportOptions,
): void {
  const definition: Record<string, ServiceDefinition[string]> = {};
  const implementation: Record<string, UntypedServiceImplementation[string]> = {};
  const found = new Map<DescMethod, Map<string, Implementation>>();
  for (const service of services) {
    for (const { method, handler } of service.methods) {
      const versions = found.get(method) ?? new Map<string, Implementation>();
      if (versions.has(service.key)) throw new Error(`${service.key} is exported twice`);
      found.set(method, versions.set(service.key, { service, handler }));
    }
  }
  const handlers = [...found].map(([method, versions]) => {
    const resolve = resolver(method.parent.typeName, versions, options.fallback);
    return { served: serverMethod(method), handler: new Method(method, resolve, options).handler() };
  });
  // An exact name comes before the other spelling of another method.
  const paths = new Set(handlers.map(({ served }) => served.path));
  for (const { served, handler } of handlers) {
    const other = capitalized(served.path);
    for (const path of paths.has(other) ? [served.path] : [served.path, other]) {
      definition[path] = { ...served, path };
      implementation[path] = handler;
    }
  }
  server.addService(definition, implementation);
}
