import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from "node:http2";
import type { DescMethod, Message } from "@bufbuild/protobuf";
import { attachmentsOf } from "./attachments.ts";
import type { Channel } from "./channel.ts";
import { atDeadline, timeoutOf } from "./deadline.ts";
import { asRpcError, type Attachments, RpcError } from "./error.ts";
import { ACCEPTED_ENCODINGS, MessageReader } from "./frames.ts";
import { type HeaderFields, Headers } from "./headers.ts";
import { parseStatus, type Status, status } from "./status.ts";
import { drained } from "./streams.ts";

/** A call to make. */
export interface Outgoing {
  readonly method: DescMethod;
  /** The only request, or all of them, encoded. */
  readonly requests: Buffer | AsyncIterable<Buffer>;
  /** Headers besides those of gRPC. */
  readonly headers: HeaderFields;
  /** Deadline, ms since 1970; Infinity without a deadline. */
  readonly deadline: number;
  /** Signals that cancel the call. */
  readonly signals: readonly AbortSignal[];
  /** Most bytes of a reply. */
  readonly limit: number;
  /** Runs at the end of the call, with its status and attachments. */
  readonly onEnd: (code: Status, attachments: Attachments) => void;
}

/** End of a call. */
interface Ended {
  /** Failure of the call; undefined after a success. */
  readonly error: RpcError | undefined;
  readonly attachments: Attachments;
}

/**
 * Status of an answer that is not gRPC, by its HTTP status; any other is UNKNOWN.
 * Source: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
 */
const OF_HTTP: Readonly<Record<number, Status>> = {
  400: status.INTERNAL,
  401: status.UNAUTHENTICATED,
  403: status.PERMISSION_DENIED,
  404: status.UNIMPLEMENTED,
  429: status.UNAVAILABLE,
  502: status.UNAVAILABLE,
  503: status.UNAVAILABLE,
  504: status.UNAVAILABLE,
};

/**
 * Status of a stream that the peer reset, by the code; any other is INTERNAL. Source: gRPC over
 * HTTP/2.
 */
const OF_RESET: Readonly<Record<number, Status>> = {
  [constants.NGHTTP2_REFUSED_STREAM]: status.UNAVAILABLE,
  [constants.NGHTTP2_CANCEL]: status.CANCELLED,
  [constants.NGHTTP2_ENHANCE_YOUR_CALM]: status.RESOURCE_EXHAUSTED,
  [constants.NGHTTP2_INADEQUATE_SECURITY]: status.PERMISSION_DENIED,
};

const NO_ATTACHMENTS: Attachments = new Map();

const CANCELLED = "the caller has cancelled the call";

/** Decodes a status message. A malformed one stays as it is. */
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Error codes of HTTP/2, by number. Source: RFC 9113, 7. */
const RESETS = [
  ...["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"],
  ...["STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR"],
  ...["CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"],
];

/**
 * Returns the reason why a connection failed. Node.js wraps it for calls that were waiting for the
 * connection.
 */
function reasonOf({ message, cause }: Error): string {
  return cause instanceof Error ? cause.message : message;
}

/** One attempt of a call, on one stream. */
class Attempt {
  readonly #stream: ClientHttp2Stream;
  readonly #outgoing: Outgoing;
  /**
   * Cancels the stream. Its own `close` would end the requests first, as if they were complete, and
   * wait for a connection that is stalled.
   */
  readonly #left = new AbortController();
  #response: IncomingHttpHeaders | undefined;
  #error: NodeJS.ErrnoException | undefined;
  #ended: Ended | undefined;
  #requests: AsyncIterator<Buffer> | undefined;

  constructor(channel: Channel, outgoing: Outgoing) {
    this.#outgoing = outgoing;
    const { method, headers, deadline } = outgoing;
    const fields = {
      ":method": "POST",
      ":path": `/${method.parent.typeName}/${method.name}`,
      "content-type": "application/grpc+proto",
      te: "trailers",
      "grpc-accept-encoding": ACCEPTED_ENCODINGS,
      ...(deadline !== Infinity && { "grpc-timeout": timeoutOf(deadline) }),
      ...headers,
    };
    const stream = channel.open(fields, this.#left.signal);
    this.#stream = stream;
    const { session } = stream;
    const note = (fields: IncomingHttpHeaders, _flags: number, raw: string[]): void => {
      this.#response ??= fields;
      if (fields["grpc-status"] !== undefined) this.#endByTrailers(fields, new Headers(raw));
      else if (fields[":status"] !== undefined) this.#rejectForeign(fields);
    };
    stream.on("response", note).on("trailers", note);
    stream.on("error", (error: NodeJS.ErrnoException) => {
      this.#error = error;
    });
    stream.on("close", () => {
      this.#endByClose(session?.destroyed === true);
    });
    void this.#send();
  }

  /** End of the call; undefined before it. */
  get ended(): Ended | undefined {
    return this.#ended;
  }

  /**
   * True if the provider refused the call unprocessed (REFUSED_STREAM), and its only request can be
   * sent again.
   */
  get refused(): boolean {
    const { requests } = this.#outgoing;
    const { rstCode } = this.#stream;
    return (
      rstCode === constants.NGHTTP2_REFUSED_STREAM &&
      this.#response === undefined &&
      !(Symbol.asyncIterator in requests)
    );
  }

  /** Ends the call on this side, unless it has ended. */
  stop(error: RpcError): void {
    if (this.#ended !== undefined) return;
    this.#end(error);
    this.leave();
  }

  /** Cancels the stream, unless both sides have ended it. */
  leave(): void {
    const { readableEnded, writableFinished } = this.#stream;
    if (!readableEnded || !writableFinished) this.#left.abort();
    // An error at the end of the source does not change how the call has ended.
    this.#requests?.return?.().catch(() => undefined);
  }

  /** Yields the replies until the call ends, successfully or not. */
  async *replies(): AsyncGenerator<Message> {
    const { limit, method } = this.#outgoing;
    let reader: MessageReader | undefined;
    try {
      for await (const chunk of this.#stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        const encoding = this.#response?.["grpc-encoding"] as string | undefined;
        reader ??= new MessageReader({ encoding, limit });
        for (const frame of reader.push(chunk)) yield await reader.decode(method.output, frame);
      }
      if (reader?.incomplete === true) throw new RpcError(status.INTERNAL, "a reply is cut off");
    } catch (error) {
      // Errors of the stream are ignored: its "close" event ends the call.
      if (error instanceof RpcError) this.#unreadable(error);
      else if (this.#stream.readableLength > 0 || reader?.incomplete === true) {
        const details = "the connection was lost before all replies were read";
        this.#unreadable(new RpcError(status.UNAVAILABLE, details, { cause: error }));
      }
    }
    // If the provider has ended its side without a status, the stream closes only after this side
    // ends too.
    if (this.#ended === undefined) this.#stream.end();
    while (this.#ended === undefined) await drained(this.#stream);
  }

  async #send(): Promise<void> {
    const { requests } = this.#outgoing;
    if (!(Symbol.asyncIterator in requests)) {
      this.#stream.end(requests);
      return;
    }
    try {
      const source = requests[Symbol.asyncIterator]();
      this.#requests = source;
      for (let next = await source.next(); next.done !== true; next = await source.next()) {
        if (this.#ended !== undefined || this.#stream.writableEnded) return;
        if (!this.#stream.write(next.value)) await drained(this.#stream);
      }
      if (this.#ended === undefined) this.#stream.end();
    } catch (error) {
      this.stop(asRpcError(error));
    }
  }

  /** Ends the call if the answer is not gRPC, but for example a page of a proxy. */
  #rejectForeign(fields: IncomingHttpHeaders): void {
    const http = Number(fields[":status"]);
    const type = fields["content-type"] ?? "";
    if (http !== 200) {
      const details = `HTTP status ${http} without a gRPC status`;
      this.stop(new RpcError(OF_HTTP[http] ?? status.UNKNOWN, details));
    } else if (!type.startsWith("application/grpc")) {
      this.stop(new RpcError(status.UNKNOWN, `the answer has the content type ${JSON.stringify(type)}`));
    }
  }

  /** Fails the call, although the provider may have reported a success. */
  #unreadable(error: RpcError): void {
    if (this.#ended?.error === undefined) this.#ended = { error, attachments: NO_ATTACHMENTS };
    this.leave();
  }

  #endByTrailers(fields: IncomingHttpHeaders, trailers: Headers): void {
    const code = parseStatus(String(fields["grpc-status"]));
    const details = decodeMessage((fields["grpc-message"] as string | undefined) ?? "");
    const attachments = attachmentsOf(trailers);
    this.#end(code === status.OK ? undefined : new RpcError(code, details, { attachments }), attachments);
  }

  #endByClose(connectionLost: boolean): void {
    const reset = this.#error?.code === "ERR_HTTP2_STREAM_ERROR";
    const { rstCode } = this.#stream;
    const fail = (code: Status, details: string): void => {
      this.#end(new RpcError(code, details, { cause: this.#error }));
    };
    if (this.#error !== undefined && !reset) fail(status.UNAVAILABLE, reasonOf(this.#error));
    else if (connectionLost) fail(status.UNAVAILABLE, "the connection was lost");
    else if (rstCode === constants.NGHTTP2_NO_ERROR) fail(status.UNKNOWN, "the provider sent no status");
    else
      fail(
        OF_RESET[rstCode] ?? status.INTERNAL,
        `the provider reset the call: ${RESETS[rstCode] ?? rstCode}`,
      );
  }

  /**
   * Records the end of the call. A failure after the deadline becomes DEADLINE_EXCEEDED. The
   * provider may end a late call first, with another status: grpc-go resets it, which reads as
   * CANCELLED.
   */
  #end(error: RpcError | undefined, attachments = NO_ATTACHMENTS): void {
    if (this.#ended !== undefined) return;
    const late = error !== undefined && Date.now() >= this.#outgoing.deadline;
    this.#ended = { error: late ? lateError(error) : error, attachments };
  }
}

function lateError(error: RpcError): RpcError {
  if (error.code === status.DEADLINE_EXCEEDED) return error;
  return new RpcError(status.DEADLINE_EXCEEDED, `the deadline has passed (${error.message})`, {
    cause: error,
  });
}

/**
 * Makes a call, and yields its replies. Stopping the iteration early cancels the call.
 * @throws RpcError if the call fails
 */
export async function* call(channel: Channel, outgoing: Outgoing): AsyncGenerator<Message> {
  const { deadline, signals, onEnd } = outgoing;
  let attempt: Attempt | undefined;
  const stop = (code: Status, details: string): void => {
    attempt?.stop(new RpcError(code, details));
  };
  const cancel = (): void => {
    stop(status.CANCELLED, CANCELLED);
  };
  const timer = atDeadline(deadline, () => {
    stop(status.DEADLINE_EXCEEDED, "the deadline has passed");
  });
  // The status of a call without an attempt: it is cancelled, or the reference is closed.
  let code: Status = status.UNAVAILABLE;
  try {
    if (signals.some(({ aborted }) => aborted)) {
      code = status.CANCELLED;
      throw new RpcError(code, CANCELLED);
    }
    attempt = new Attempt(channel, outgoing);
    for (const signal of signals) signal.addEventListener("abort", cancel, { once: true });
    yield* attempt.replies();
    if (attempt.refused && Date.now() < deadline && !signals.some(({ aborted }) => aborted)) {
      attempt = new Attempt(channel, outgoing);
      yield* attempt.replies();
    }
    if (attempt.ended?.error !== undefined) throw attempt.ended.error;
  } finally {
    clearTimeout(timer);
    for (const signal of signals) signal.removeEventListener("abort", cancel);
    // A reader that has left its replies early cancels the call.
    cancel();
    attempt?.leave();
    if (attempt !== undefined) code = attempt.ended?.error?.code ?? status.OK;
    onEnd(code, attempt?.ended?.attachments ?? NO_ATTACHMENTS);
  }
}
