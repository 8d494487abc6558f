import { AsyncLocalStorage } from "node:async_hooks";
import { attachmentsOf, CONSUMER_HEADER } from "./attachments.ts";
import { type Attachment, type Attachments, RpcError } from "./error.ts";
import type { HeaderFields, Headers } from "./headers.ts";
import { status } from "./status.ts";

/** Data of a call that the transport knows at its start. */
export interface CallStart {
  readonly headers: Headers;
  /** IP address of the caller. */
  readonly remoteAddress: string;
  /** Deadline, ms since 1970; Infinity without a deadline. */
  readonly deadline: number;
}

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
  /** Headers of the call. */
  readonly headers: Headers;
  /** IP address of the caller; behind a sidecar, the address of the sidecar. */
  readonly remoteAddress: string;
  /** Deadline of the caller, ms since 1970; Infinity without a deadline. */
  readonly deadline: number;
  #replyAttachments: ReplyAttachments | undefined;
  #attachments: Attachments | undefined;
  #abort: AbortController | undefined;
  #cancelled: RpcError | undefined;
  #finished = false;
  #compressed = false;

  constructor({ headers, remoteAddress, deadline }: CallStart) {
    this.headers = headers;
    this.remoteAddress = remoteAddress;
    this.deadline = deadline;
  }

  /** Attachments of the reply; bytes are sent unchanged. */
  get replyAttachments(): ReplyAttachments {
    this.#replyAttachments ??= new Map();
    return this.#replyAttachments;
  }

  /**
   * True once the handler has used {@link replyAttachments}. Saves the work for replies without
   * attachments.
   */
  get hasReplyAttachments(): boolean {
    return this.#replyAttachments !== undefined;
  }

  /** Attachments of the request. */
  get attachments(): Attachments {
    this.#attachments ??= attachmentsOf(this.headers);
    return this.#attachments;
  }

  /** Dubbo application name of the caller; undefined if the caller sends none. */
  get remoteApplication(): string | undefined {
    return this.headers.get(CONSUMER_HEADER);
  }

  /** Signal that aborts when the caller cancels, disconnects or reaches its deadline. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#cancelled !== undefined) this.#abort.abort(this.#cancelled);
    }
    return this.#abort.signal;
  }

  /** True if the replies are compressed. */
  get compressed(): boolean {
    return this.#compressed;
  }

  /** Compresses the replies with gzip. Call it before the first reply. */
  compress(): void {
    this.#compressed = true;
  }

  /** True once the call has been answered or cancelled. */
  get finished(): boolean {
    return this.#finished;
  }

  /** Marks the call as answered. Later events on the connection no longer cancel it. */
  finish(): void {
    this.#finished = true;
  }

  /** Cancels the call, unless it is finished. */
  cancel(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#cancelled = new RpcError(status.CANCELLED, "the call was cancelled, disconnected or timed out");
    this.#abort?.abort(this.#cancelled);
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
export function forwardHeaders(from: Headers, to: HeaderFields): void {
  for (const name of FORWARDED_HEADERS) {
    const value = from.get(name);
    if (value !== undefined) to[name] = value;
  }
}
