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

/** The version that Dubbo falls back to. Source: Dubbo 3.3, TripleConstants. */
const DEFAULT_VERSION = "1.0.0";
/** From this size on a message is written before the next one is made, so that a slow reader holds at most one back, bytes. */
const LARGE = 16_384;

/** What a server tells of its calls. */
export interface CallObserver {
  /** A call has begun; what is returned is called with its status when it has ended. */
  begin(service: DubboService, method: DescMethod): End;
  /** A handler has thrown something that is no RpcError. */
  failed(method: DescMethod, error: unknown): void;
}

/** How services are exported. */
export interface ExportOptions {
  /**
   * Whether a call for a version or a group that is not there gets the one that is, as Dubbo's
   * `dubbo.rpc.tri.resolve-fallback-to-default` has it; a call that names none is then served too.
   */
  readonly fallback: boolean;
  /** Who is told of the calls. */
  readonly observer: CallObserver;
  /**
   * Whether handlers make calls, to which the trace and the deadline of the one that they serve are passed on. Node then follows each promise
   * of a call, which those that make none need not pay for.
   */
  readonly carriesOn: boolean;
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

/** Picks the implementation that a call wants, as Dubbo's TriplePathResolver does. */
function resolver(name: string, found: ReadonlyMap<string, Implementation>, fallback: boolean): Resolve {
  const [first] = found.values();
  // What every call gets needs no look at its headers.
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
    // Dubbo's own words, and what was looked for.
    const wanted = serviceKey(name, { group, version });
    throw new RpcError(status.UNIMPLEMENTED, `Invoker for gRPC not found: no provider for ${wanted}`);
  };
}

/** Trailers with the attachments of a call's reply; undefined where there are none. */
function trailers(call: Call): Metadata | undefined {
  if (!call.hasReplyAttachments) return undefined;
  const metadata = new Metadata();
  putAttachments(metadata, call.replyAttachments);
  return metadata;
}

/**
 * A status message as a header: percent-encoded, and a plus too, since a Java consumer takes the header for a part of a URL, where a plus is
 * a space. A header carries no lone surrogate, at which encodeURI throws.
 */
function encodeMessage(details: string): string {
  return encodeURI(Buffer.from(details).toString()).replaceAll("+", "%2B");
}

/** What grpc-js answers a failed call with. */
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

/** The requests of a stream. A handler that stops reading leaves the replies open. */
async function* requestsOf(raw: Source, call: Call): AsyncIterable<Message> {
  const messages = raw.iterator({ destroyOnReturn: false }) as AsyncIterable<Message>;
  try {
    yield* messages;
  } catch (error) {
    // The stream ends early when the caller has cancelled: that is what the handler is to see.
    call.signal.throwIfAborted();
    throw error;
  }
}

/** Writes a frame and waits until the caller has taken it. */
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
    // When the deadline passes, grpc-js ends the stream, and never does where messages are queued still.
    const mayEnd = Number.isFinite(call.deadline);
    if (full || mayEnd || frame.length > LARGE) await written(raw, frame, call);
    else raw.write(frame);
  }
}

/** Serves one method: picks the implementation, runs its handler as part of the call, and answers with what it gives or throws. */
class Method {
  readonly #method: DescMethod;
  readonly #resolve: Resolve;
  readonly #observer: CallObserver;
  readonly #serving: typeof serving;

  constructor(method: DescMethod, resolve: Resolve, { observer, carriesOn }: ExportOptions) {
    this.#method = method;
    this.#resolve = resolve;
    this.#observer = observer;
    this.#serving = carriesOn ? serving : (_call, work) => work();
  }

  /** The method as grpc-js calls it. */
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

  /** Runs `work`, which returns how its result is sent. Nothing that a handler does may end the process. */
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

/**
 * Exports services on a server. Several implementations of one interface, of other versions or groups, share its methods.
 * @throws Error where two of them have the same key
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
  for (const [method, versions] of found) {
    const definitionOfMethod = serverMethod(method);
    const resolve = resolver(method.parent.typeName, versions, options.fallback);
    definition[definitionOfMethod.path] = definitionOfMethod;
    implementation[definitionOfMethod.path] = new Method(method, resolve, options).handler();
  }
  server.addService(definition, implementation);
}
