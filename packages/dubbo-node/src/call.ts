import { AsyncLocalStorage } from "node:async_hooks";
import { type Metadata, type ServerUnaryCall, status } from "@grpc/grpc-js";
import { attachmentsOf, CONSUMER_HEADER, header } from "./attachments.ts";
import { type Attachment, type Attachments, RpcError } from "./error.ts";

/** Members that all kinds of grpc-js server calls share. */
export type RawCall = Pick<
  ServerUnaryCall<unknown, unknown>,
  "metadata" | "getPeer" | "getDeadline" | "cancelled" | "sendMetadata"
> & { once(event: "cancelled", listener: () => void): unknown };

/**
 * Headers that a handler's own calls inherit from the served call, so that traces stay connected:
 * W3C trace context, Envoy's request id, B3.
 * Source: https://istio.io/latest/docs/tasks/observability/distributed-tracing/overview/
 */
const FORWARDED_HEADERS = [
  "traceparent",
  "tracestate",
  "baggage",
  "x-request-id",
  "b3",
  "x-b3-traceid",
  "x-b3-spanid",
  "x-b3-parentspanid",
  "x-b3-sampled",
  "x-b3-flags",
] as const;

/** Attachments that a reply carries beside its message. */
export type ReplyAttachments = Map<string, Attachment | number | boolean>;

/** A call on the server side, as its handler sees it. */
export class Call {
  readonly #raw: RawCall;
  #replyAttachments: ReplyAttachments | undefined;
  #attachments: Attachments | undefined;
  #abort: AbortController | undefined;
  #finished = false;
  #compressed = false;

  constructor(raw: RawCall) {
    this.#raw = raw;
  }

  /** Attachments of the reply; bytes are sent unchanged. */
  get replyAttachments(): ReplyAttachments {
    this.#replyAttachments ??= new Map();
    return this.#replyAttachments;
  }

  /** True once the handler has read {@link replyAttachments}. Most replies carry no attachments. */
  get hasReplyAttachments(): boolean {
    return this.#replyAttachments !== undefined;
  }

  /** Attachments of the request. */
  get attachments(): Attachments {
    this.#attachments ??= attachmentsOf(this.#raw.metadata);
    return this.#attachments;
  }

  /** IP address of the caller; behind a sidecar, the address of the sidecar. */
  get remoteAddress(): string {
    return this.#raw.getPeer().replace(/:\d+$/, "");
  }

  /** Dubbo application name of the caller; undefined if the caller sends none. */
  get remoteApplication(): string | undefined {
    return header(this.metadata, CONSUMER_HEADER);
  }

  /** Deadline of the caller, ms since 1970; Infinity without a deadline. */
  get deadline(): number {
    return Number(this.#raw.getDeadline());
  }

  /** Signal that aborts when the caller cancels, disconnects or reaches its deadline. */
  get signal(): AbortSignal {
    if (this.#abort !== undefined) return this.#abort.signal;
    const abort = new AbortController();
    this.#abort = abort;
    const cancel = (): void => {
      if (!this.#finished)
        abort.abort(new RpcError(status.CANCELLED, "the call was cancelled, disconnected or timed out"));
    };
    if (this.#raw.cancelled) cancel();
    else this.#raw.once("cancelled", cancel);
    return abort.signal;
  }

  /** True if the replies are compressed. */
  get compressed(): boolean {
    return this.#compressed;
  }

  /** Headers of the call as grpc-js gives them. */
  get metadata(): Metadata {
    return this.#raw.metadata;
  }

  /** Compresses the replies with gzip. Call it before the first reply. */
  compress(): void {
    this.#compressed = true;
  }

  /** Marks the handler as done. Later events on the connection cancel nothing. */
  finish(): void {
    this.#finished = true;
  }
}

const served = new AsyncLocalStorage<Call>();

/** Runs a handler in the context of its call. */
export function serving<T>(call: Call, handler: () => T): T {
  return served.run(call, handler);
}

/** Returns the call that is served in this context; undefined outside a handler. */
export function currentCall(): Call | undefined {
  return served.getStore();
}

/** Copies the {@link FORWARDED_HEADERS} of a served call. */
export function forwardHeaders(from: Metadata, to: Metadata): void {
  for (const name of FORWARDED_HEADERS) {
    const value = header(from, name);
    if (value !== undefined) to.set(name, value);
  }
}
