import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  Message,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import {
  type CallOptions as RawOptions,
  Client,
  type ClientDuplexStream,
  compressionAlgorithms,
  credentials,
  Metadata,
  type ServiceError,
  status,
  type StatusObject,
} from "@grpc/grpc-js";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "./gen/health_pb.ts";
import {
  type AttachmentsInit,
  attachmentsOf,
  CONSUMER_HEADER,
  GROUP_HEADER,
  putAttachments,
  VERSION_HEADER,
} from "./attachments.ts";
import { currentCall, forwardHeaders } from "./call.ts";
import { asRpcError, type Attachments, RpcError } from "./error.ts";
import type { Logger } from "./logger.ts";
import { type ClientMethod, clientMethod, encode, type Frame } from "./method.ts";
import type { End } from "./metrics.ts";
import { type ServiceIdentity, serviceKey } from "./service.ts";

/** Deadline of one health check of the provider, ms. */
const CHECK_TIMEOUT_MS = 2000;
/** First and longest wait between health checks of the provider, ms. The wait doubles each time. */
const BACKOFF_MS = { first: 100, most: 500 };

/** Method that checks the health of the provider. */
const CHECK = clientMethod(Health.method.check);

/**
 * The mesh retries, routes and balances the calls. The channel only carries them to the sidecar,
 * and reconnects quickly.
 */
const CHANNEL_OPTIONS = {
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0,
  "grpc.initial_reconnect_backoff_ms": BACKOFF_MS.first,
  "grpc.max_reconnect_backoff_ms": BACKOFF_MS.most,
  "grpc.dns_min_time_between_resolutions_ms": BACKOFF_MS.most,
};

/** Options of one call. */
export interface CallOptions {
  /**
   * Timeout, ms (default: that of the reference for a unary call, none for a stream). A call made
   * by a handler also ends at the deadline of the incoming call.
   */
  readonly timeout?: number;
  /** Attachments of the request (default: none). */
  readonly attachments?: AttachmentsInit;
  /** Compresses the requests with gzip (default: false). */
  readonly compress?: boolean;
  /** Cancels the call. A call made by a handler is also cancelled with the served call. */
  readonly signal?: AbortSignal;
  /** Receives the attachments of the reply. */
  readonly onAttachments?: (attachments: Attachments) => void;
}

type Init = MessageInitShape<DescMessage>;
type Inits = Iterable<Init> | AsyncIterable<Init>;
type Requests<I extends DescMessage> = Iterable<MessageInitShape<I>> | AsyncIterable<MessageInitShape<I>>;

/** Function that calls a method. It fails with an RpcError. */
export type Caller<M> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? (requests: Requests<I>, options?: CallOptions) => Promise<MessageShape<O>>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? (requests: Requests<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
          : never;

/** Callable methods of a generated service. Leaving a stream before its end cancels the call. */
export type Callers<S extends DescService> = { readonly [M in keyof S["method"]]: Caller<S["method"][M]> };

/** Options of a {@link DubboReference}. */
export interface ReferenceOptions extends ServiceIdentity {
  /** Address of the provider, `host:port`. */
  readonly target: string;
  /** Dubbo application name of the caller. */
  readonly consumer: string;
  /** Deadline of a unary call, ms. */
  readonly timeout: number;
  /** Most bytes of one message (default: 8 MiB, as in Dubbo). */
  readonly payload?: number;
  /** Runs at the start of a call; the returned function runs at its end (default: none). */
  readonly begin?: (method: DescMethod, identity: ServiceIdentity) => End;
  /** Logger of the reference. */
  readonly log: Logger;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error && "metadata" in error;
}

/** Time limit of one call. */
interface Limit {
  /** Deadline, ms since 1970; Infinity without a deadline. */
  readonly deadline: number;
  /** Signal with which the caller cancels the call. */
  readonly signal: AbortSignal | undefined;
}

/**
 * Returns the status of a failure. A provider may end a late call before this process does, with
 * any status: grpc-go's RST_STREAM becomes CANCELLED.
 */
function statusOf(code: status, { deadline, signal }: Limit): status {
  if (code === status.OK || signal?.aborted === true || Date.now() < deadline) return code;
  return status.DEADLINE_EXCEEDED;
}

/**
 * Converts the failure of a call to an RpcError.
 * @param code status of the call (default: that of the error)
 */
function rpcError(error: unknown, code?: status): RpcError {
  if (!isServiceError(error)) return asRpcError(error);
  // grpc-js decodes only characters that it encodes. Providers of this package also encode the
  // plus.
  const details = error.details.replaceAll("%2B", "+");
  const attachments = attachmentsOf(error.metadata);
  return new RpcError(code ?? error.code, details, { attachments, cause: error });
}

/** Member that all kinds of grpc-js client calls share. */
interface Cancellable {
  cancel(): void;
}

/** Cancels a call when one of the signals aborts. The returned function removes the listeners. */
function cancelOn(signals: readonly (AbortSignal | undefined)[], call: Cancellable): () => void {
  const cancel = (): void => {
    call.cancel();
  };
  for (const signal of signals) {
    if (signal?.aborted === true) cancel();
    else signal?.addEventListener("abort", cancel, { once: true });
  }
  return () => {
    for (const signal of signals) signal?.removeEventListener("abort", cancel);
  };
}

/** Sends the requests as fast as the provider accepts them. */
async function sendAll(
  call: ClientDuplexStream<Frame, Message>,
  { input }: DescMethod,
  requests: Inits,
  over: AbortSignal,
): Promise<void> {
  for await (const request of requests) {
    if (over.aborted) return;
    if (!call.write(encode(input, request))) await once(call, "drain", { signal: over });
  }
  call.end();
}

async function onlyOne(replies: AsyncIterable<Message>, path: string): Promise<Message> {
  for await (const reply of replies) return reply;
  throw new RpcError(status.INTERNAL, `${path} answered nothing`);
}

function rawOptions({ deadline }: Limit): RawOptions {
  return deadline === Infinity ? {} : { deadline };
}

/** A Dubbo reference: calls the methods of a provider's service over one channel. */
export class DubboReference<S extends DescService> {
  /** Callable methods of the service. */
  readonly call: Callers<S>;
  /** Dubbo's key of the called service, `group/name:version`. */
  readonly key: string;
  readonly #service: S;
  readonly #options: ReferenceOptions;
  readonly #plain: Client;
  #compressing: Client | undefined;

  /**
   * @param service the generated service
   * @param options address of the provider, and identity of the caller
   */
  constructor(service: S, options: ReferenceOptions) {
    this.#service = service;
    this.#options = options;
    this.key = serviceKey(service.typeName, options);
    this.#plain = this.#client({});
    const callers = service.methods.map((method) => [method.localName, this.#caller(method)]);
    this.call = Object.fromEntries(callers) as Callers<S>;
  }

  /**
   * Waits until the provider reports the service as SERVING.
   * Envoy does not retry a call that has no healthy endpoint, and a consumer often starts before
   * its provider.
   * @param signal ends the wait without an error
   */
  async waitUntilServing(signal: AbortSignal): Promise<void> {
    const { target, log } = this.#options;
    const { typeName } = this.#service;
    const start = performance.now();
    let backoff = BACKOFF_MS.first;
    while (!signal.aborted) {
      const answer = await this.#health();
      const waited = Math.round(performance.now() - start);
      if (answer === "SERVING") {
        log.info(`${typeName} at ${target} is SERVING, waited ${waited} ms`);
        return;
      }
      log.info(`waits for ${typeName} at ${target}: ${answer} (${waited} ms so far)`);
      await sleep(backoff, undefined, { signal }).catch(() => undefined);
      backoff = Math.min(backoff * 2, BACKOFF_MS.most);
    }
  }

  /** Closes the channel. Calls in flight still finish. */
  close(): void {
    this.#plain.close();
    this.#compressing?.close();
  }

  #client(options: object): Client {
    const { target, payload = 8 * 1024 * 1024 } = this.#options;
    return new Client(target, credentials.createInsecure(), {
      ...CHANNEL_OPTIONS,
      "grpc.max_receive_message_length": payload,
      "grpc.max_send_message_length": payload,
      ...options,
    });
  }

  /**
   * Returns the client for a call.
   * grpc-js sets compression per channel, so compressed calls have a second client.
   */
  #clientFor(compress = false): Client {
    if (!compress) return this.#plain;
    this.#compressing ??= this.#client({ "grpc.default_compression_algorithm": compressionAlgorithms.gzip });
    return this.#compressing;
  }

  #caller(method: DescMethod): unknown {
    const called = clientMethod(method);
    switch (method.methodKind) {
      case "unary":
        return (request: Init, options: CallOptions = {}) => this.#unary(called, request, options);
      case "server_streaming":
        return (request: Init, options: CallOptions = {}) => this.#stream(called, [request], options);
      case "client_streaming":
        return (requests: Inits, options: CallOptions = {}) =>
          onlyOne(this.#stream(called, requests, options), called.path);
      case "bidi_streaming":
        return (requests: Inits, options: CallOptions = {}) => this.#stream(called, requests, options);
    }
  }

  async #unary(called: ClientMethod, request: Init, options: CallOptions): Promise<Message> {
    const { method, path, requestSerialize, responseDeserialize } = called;
    const frame = encode(method.input, request);
    const metadata = this.#metadata(method, options);
    const limit = this.#limit(options, this.#options.timeout);
    const end = this.#begin(method);
    return new Promise((resolve, reject) => {
      const client = this.#clientFor(options.compress);
      const call = client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        frame,
        metadata,
        rawOptions(limit),
        (error, reply) => {
          stopWatching();
          const code = statusOf(error?.code ?? status.OK, limit);
          end(code);
          if (error !== null) reject(rpcError(error, code));
          else if (reply === undefined) reject(new RpcError(status.INTERNAL, `${path} answered nothing`));
          else resolve(reply);
        },
      );
      call.on("status", (ended: StatusObject) => options.onAttachments?.(attachmentsOf(ended.metadata)));
      const stopWatching = cancelOn([options.signal, currentCall()?.signal], call);
    });
  }

  async *#stream(called: ClientMethod, requests: Inits, options: CallOptions): AsyncGenerator<Message> {
    const { method, path, requestSerialize, responseDeserialize } = called;
    const metadata = this.#metadata(method, options);
    const limit = this.#limit(options);
    const end = this.#begin(method);
    const call = this.#clientFor(options.compress).makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
      rawOptions(limit),
    );
    let code: status | undefined;
    call.on("status", (ended: StatusObject) => {
      // A slow reader sees the end later, perhaps after the deadline.
      code = statusOf(ended.code, limit);
      options.onAttachments?.(attachmentsOf(ended.metadata));
    });
    const stopWatching = cancelOn([options.signal, currentCall()?.signal], call);
    const over = new AbortController();
    let unsent: unknown;
    sendAll(call, method, requests, over.signal).catch((error: unknown) => {
      unsent = error;
      call.cancel();
    });
    try {
      yield* call as AsyncIterable<Message>;
    } catch (error) {
      throw unsent === undefined ? rpcError(error, code) : rpcError(unsent);
    } finally {
      over.abort();
      stopWatching();
      // The caller has left the stream, so the rest of the call is useless.
      call.cancel();
      end(code ?? status.CANCELLED);
    }
  }

  #metadata(method: DescMethod, { attachments = {} }: CallOptions): Metadata {
    const { consumer, version, group } = this.#options;
    const metadata = new Metadata();
    const served = currentCall();
    if (served !== undefined) forwardHeaders(served.metadata, metadata);
    // Set after the forwarded headers, so that a handler can start its own span.
    putAttachments(metadata, attachments);
    metadata.set(CONSUMER_HEADER, consumer);
    // Version and group belong to the interface of the reference; the health service has neither.
    const own = method.parent.typeName === this.#service.typeName;
    if (own && version !== undefined) metadata.set(VERSION_HEADER, version);
    if (own && group !== undefined) metadata.set(GROUP_HEADER, group);
    return metadata;
  }

  /** Returns the limit of a call. Its deadline is never after that of the served call. */
  #limit({ timeout, signal }: CallOptions, usual = Infinity): Limit {
    const own = Date.now() + (timeout ?? usual);
    return { deadline: Math.min(own, currentCall()?.deadline ?? Infinity), signal };
  }

  #begin(method: DescMethod): End {
    return this.#options.begin?.(method, this.#options) ?? ((): void => undefined);
  }

  async #health(): Promise<string> {
    try {
      const request = { service: this.#service.typeName };
      const reply = await this.#unary(CHECK, request, { timeout: CHECK_TIMEOUT_MS });
      const { status: found } = reply as MessageShape<typeof Health.method.check.output>;
      return found === ServingStatus.SERVING ? "SERVING" : "NOT_SERVING";
    } catch (error) {
      return asRpcError(error).message;
    }
  }
}
