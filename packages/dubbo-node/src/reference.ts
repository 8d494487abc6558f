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
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "./gen/health_pb.ts";
import {
  type AttachmentsInit,
  CONSUMER_HEADER,
  GROUP_HEADER,
  putAttachments,
  VERSION_HEADER,
} from "./attachments.ts";
import { currentCall, forwardHeaders } from "./call.ts";
import { Channel } from "./channel.ts";
import { call } from "./client.ts";
import { asRpcError, type Attachments, RpcError } from "./error.ts";
import { encode, gzipped, PAYLOAD } from "./frames.ts";
import type { HeaderFields } from "./headers.ts";
import type { Logger } from "./logger.ts";
import type { End } from "./metrics.ts";
import { type ServiceIdentity, serviceKey } from "./service.ts";
import { CallSpan, tracer } from "./spans.ts";
import { status } from "./status.ts";

/** Deadline of one health check of the provider, ms. */
const CHECK_TIMEOUT_MS = 2000;
/** First and longest wait between health checks of the provider, ms. The wait doubles each time. */
const BACKOFF_MS = { first: 100, most: 500 };

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

/** Function that calls a method. A failed call throws an RpcError. */
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

/** Encodes requests as they are asked for. Its end also ends a source that waits. */
function frames(requests: Inits, frame: (request: Init) => Buffer | Promise<Buffer>): AsyncIterable<Buffer> {
  return {
    [Symbol.asyncIterator]() {
      const source: Iterator<Init> | AsyncIterator<Init> =
        Symbol.asyncIterator in requests ? requests[Symbol.asyncIterator]() : requests[Symbol.iterator]();
      return {
        async next() {
          const next: IteratorResult<Init, unknown> = await source.next();
          if (next.done === true) return { done: true, value: undefined };
          return { done: false, value: await frame(next.value) };
        },
        async return() {
          await source.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

async function onlyOne(replies: AsyncIterable<Message>, { name }: DescMethod): Promise<Message> {
  let only: Message | undefined;
  for await (const reply of replies) {
    if (only !== undefined) throw new RpcError(status.INTERNAL, `${name} answered more than once`);
    only = reply;
  }
  if (only === undefined) throw new RpcError(status.INTERNAL, `${name} answered nothing`);
  return only;
}

/** A Dubbo reference: calls the methods of a provider's service over one channel. */
export class DubboReference<S extends DescService> {
  /** Callable methods of the service. */
  readonly call: Callers<S>;
  /** Dubbo's key of the called service, `group/name:version`. */
  readonly key: string;
  readonly #service: S;
  readonly #options: ReferenceOptions;
  readonly #channel: Channel;
  readonly #tracer = tracer();

  /**
   * @param service the generated service
   * @param options address of the provider, wanted version and group, and name of the caller
   */
  constructor(service: S, options: ReferenceOptions) {
    this.#service = service;
    this.#options = options;
    this.key = serviceKey(service.typeName, options);
    this.#channel = new Channel(options.target);
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
    this.#channel.close();
  }

  #caller(method: DescMethod): unknown {
    const { timeout } = this.#options;
    switch (method.methodKind) {
      case "unary":
        return (request: Init, options: CallOptions = {}) =>
          onlyOne(this.#call(method, [request], { timeout, ...options }), method);
      case "server_streaming":
        return (request: Init, options: CallOptions = {}) => this.#call(method, [request], options);
      case "client_streaming":
        return (requests: Inits, options: CallOptions = {}) =>
          onlyOne(this.#call(method, requests, options), method);
      case "bidi_streaming":
        return (requests: Inits, options: CallOptions = {}) => this.#call(method, requests, options);
    }
  }

  async *#call(method: DescMethod, requests: Inits, options: CallOptions): AsyncGenerator<Message> {
    const { compress = false, signal, timeout = Infinity, onAttachments } = options;
    const { payload = PAYLOAD, begin } = this.#options;
    const frame = (request: Init): Buffer | Promise<Buffer> => {
      const encoded = encode(method.input, request, payload);
      return compress ? gzipped(encoded) : encoded;
    };
    const only = Array.isArray(requests) && requests.length === 1 ? (requests as [Init])[0] : undefined;
    const headers = this.#headers(method, options);
    const first = only === undefined ? undefined : await frame(only);
    const served = currentCall();
    const end = begin?.(method, this.#options);
    const span = this.#tracer && CallSpan.made(this.#tracer, headers, method, this.#options);
    yield* call(this.#channel, {
      method,
      requests: first ?? frames(requests, frame),
      headers,
      // Never after the deadline of the served call.
      deadline: Math.min(Date.now() + timeout, served?.deadline ?? Infinity),
      signals: [signal, served?.signal].filter((each) => each !== undefined),
      limit: payload,
      onEnd: (code, attachments) => {
        end?.(code);
        span?.end(code);
        onAttachments?.(attachments);
      },
    });
  }

  #headers(method: DescMethod, { attachments = {}, compress = false }: CallOptions): HeaderFields {
    const { consumer, version, group } = this.#options;
    const headers: HeaderFields = {};
    const served = currentCall();
    if (served !== undefined) forwardHeaders(served.headers, headers);
    // Attachments overwrite forwarded headers, so that a handler can set its own trace headers.
    putAttachments(headers, attachments);
    headers[CONSUMER_HEADER] = consumer;
    if (compress) headers["grpc-encoding"] = "gzip";
    // Version and group belong to the interface of the reference; the health service has neither.
    const own = method.parent.typeName === this.#service.typeName;
    if (own && version !== undefined) headers[VERSION_HEADER] = version;
    if (own && group !== undefined) headers[GROUP_HEADER] = group;
    return headers;
  }

  async #health(): Promise<string> {
    try {
      const request = { service: this.#service.typeName };
      const { check } = Health.method;
      const reply = await onlyOne(this.#call(check, [request], { timeout: CHECK_TIMEOUT_MS }), check);
      const { status: found } = reply as MessageShape<typeof Health.method.check.output>;
      return found === ServingStatus.SERVING ? "SERVING" : "NOT_SERVING";
    } catch (error) {
      return asRpcError(error).message;
    }
  }
}
