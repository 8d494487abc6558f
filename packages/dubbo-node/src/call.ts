import { AsyncLocalStorage } from "node:async_hooks";
import { type Metadata, type ServerUnaryCall, status } from "@grpc/grpc-js";
import { attachmentsOf, CONSUMER_HEADER, header } from "./attachments.ts";
import { type Attachment, type Attachments, RpcError } from "./error.ts";

/** What every kind of call of grpc-js has in common. */
export type RawCall = Pick<
  ServerUnaryCall<unknown, unknown>,
  "metadata" | "getPeer" | "getDeadline" | "cancelled" | "sendMetadata"
> & { once(event: "cancelled", listener: () => void): unknown };

/**
 * Headers that are passed on from the call that is served to the calls that are made meanwhile, so that the mesh's traces stay whole: W3C
 * trace context, Envoy's request id, B3. Source: https://istio.io/latest/docs/tasks/observability/distributed-tracing/overview/
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

/** What a reply carries beside its message. */
export type ReplyAttachments = Map<string, Attachment | number | boolean>;

/** A call that is served: what a handler gets beside the request. */
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

  /** What the reply carries beside its message; bytes travel as they are. */
  get replyAttachments(): ReplyAttachments {
    this.#replyAttachments ??= new Map();
    return this.#replyAttachments;
  }

  /** Whether the handler has asked for {@link replyAttachments}: most replies carry none. */
  get hasReplyAttachments(): boolean {
    return this.#replyAttachments !== undefined;
  }

  /** What the caller has sent beside its message. */
  get attachments(): Attachments {
    this.#attachments ??= attachmentsOf(this.#raw.metadata);
    return this.#attachments;
  }

  /** The caller's IP address; in a mesh, that of the sidecar. */
  get remoteAddress(): string {
    return this.#raw.getPeer().replace(/:\d+$/, "");
  }

  /** The caller's Dubbo application name; undefined where it names none. */
  get remoteApplication(): string | undefined {
    return header(this.metadata, CONSUMER_HEADER);
  }

  /** When the caller stops waiting, ms since 1970; Infinity where it does not say. */
  get deadline(): number {
    return Number(this.#raw.getDeadline());
  }

  /** Aborted when the caller has cancelled the call, has gone, or has stopped waiting. */
  get signal(): AbortSignal {
    if (this.#abort !== undefined) return this.#abort.signal;
    const abort = new AbortController();
    this.#abort = abort;
    const cancel = (): void => {
      if (!this.#finished) abort.abort(new RpcError(status.CANCELLED, "the caller has cancelled the call"));
    };
    if (this.#raw.cancelled) cancel();
    else this.#raw.once("cancelled", cancel);
    return abort.signal;
  }

  /** Whether the replies are compressed. */
  get compressed(): boolean {
    return this.#compressed;
  }

  /** The headers as grpc-js has them. */
  get metadata(): Metadata {
    return this.#raw.metadata;
  }

  /** Compresses the replies with gzip; to be called before the first one. */
  compress(): void {
    this.#compressed = true;
  }

  /** The handler is done: what happens to the connection afterwards does not cancel anything. */
  finish(): void {
    this.#finished = true;
  }
}

const served = new AsyncLocalStorage<Call>();

/** Runs a handler as part of its call. */
export function serving<T>(call: Call, handler: () => T): T {
  return served.run(call, handler);
}

/** The call that is being served here; undefined outside of handlers. */
export function currentCall(): Call | undefined {
  return served.getStore();
}

/** Adds what is passed on of the call that is being served. */
export function forwardHeaders(from: Metadata, to: Metadata): void {
  for (const name of FORWARDED_HEADERS) {
    const value = header(from, name);
    if (value !== undefined) to.set(name, value);
  }
}
