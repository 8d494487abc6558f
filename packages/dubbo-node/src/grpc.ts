import { constants, type ServerHttp2Stream } from "node:http2";
import type { DescMessage, Message, MessageInitShape } from "@bufbuild/protobuf";
import { Call } from "./call.ts";
import { deadlineOf } from "./deadline.ts";
import { RpcError } from "./error.ts";
import { ACCEPTED_ENCODINGS, encode, type Frame, gzipped, MessageReader } from "./frames.ts";
import type { HeaderFields } from "./headers.ts";
import type { Route } from "./router.ts";
import { ServedCall, type Serving } from "./served.ts";
import type { AnyHandler } from "./service.ts";
import { status } from "./status.ts";
import { closeLater, drained, ignored, type Incoming } from "./streams.ts";

type Reply = MessageInitShape<DescMessage>;

const REPLY_HEADERS = { ":status": 200, "content-type": "application/grpc+proto" } as const;
const OK_TRAILERS = { "grpc-status": "0" } as const;
const WITH_TRAILERS = { waitForTrailers: true } as const;

/** Most characters of a status message. Headers have room for four times as many, encoded. */
const MOST_DETAILS = 4000;

/**
 * Percent-encodes a status message for a header, including the plus: a Java consumer decodes the
 * header like a URL, where a plus is a space.
 */
function encodeMessage(details: string): string {
  // The conversion to UTF-8 and back replaces lone surrogates, at which encodeURIComponent throws.
  return Buffer.from(details.slice(0, MOST_DETAILS))
    .toString()
    .replace(/[^ -$&-*,-~]+/g, encodeURIComponent);
}

/** Returns the trailers of a failure. */
function failure({ code, details }: RpcError, attachments: HeaderFields = {}): HeaderFields {
  return { ...attachments, "grpc-status": String(code), "grpc-message": encodeMessage(details) };
}

/** True if the caller has reset the stream, or disconnected. Sending an answer would throw. */
function isClosed({ destroyed, closed }: ServerHttp2Stream): boolean {
  return destroyed || closed;
}

/** One gRPC call on an HTTP/2 stream. */
class GrpcCall {
  readonly #stream: ServerHttp2Stream;
  readonly #served: ServedCall;
  readonly #reader: MessageReader;
  readonly #limit: number;
  #trailers: HeaderFields = OK_TRAILERS;

  constructor(
    stream: ServerHttp2Stream,
    route: Route,
    call: Call,
    encoding: string | undefined,
    server: Serving,
  ) {
    this.#stream = stream;
    this.#limit = server.payload;
    this.#reader = new MessageReader({ encoding, limit: server.payload });
    this.#served = new ServedCall(route, call, server, (error, attachments) => {
      this.#sendFailure(error, attachments);
    });
    stream.on("close", () => {
      this.#served.cancel();
      // Node.js keeps a closed stream until the next major garbage collection, with everything its
      // listeners refer to. Without this line, copying all of that takes a tenth of the CPU time of
      // a short call.
      stream.removeAllListeners().on("error", ignored);
    });
    stream.on("wantTrailers", () => {
      stream.sendTrailers(this.#trailers);
      if (!stream.readableEnded) closeLater(stream);
    });
  }

  /** Serves the call. No error of a handler may end the process. */
  start(): void {
    try {
      const handler = this.#served.begin();
      const { methodKind } = this.#served.route.method;
      if (methodKind === "unary" || methodKind === "server_streaming") this.#readOne(handler);
      else void this.#run(handler, this.#requests());
    } catch (error) {
      this.#served.fail(error);
    }
  }

  /** Runs the handler when the caller has sent its only request. */
  #readOne(handler: AnyHandler): void {
    let only: Frame | undefined;
    this.#stream.on("data", (chunk: Buffer) => {
      if (this.#over) return;
      try {
        for (const frame of this.#reader.push(chunk)) {
          // Apache's SDK for Python ends a request with an empty message, which Java ignores.
          if (only !== undefined && frame.bytes.length > 0)
            throw new RpcError(status.UNIMPLEMENTED, "the call has a second request message");
          only ??= frame;
        }
      } catch (error) {
        this.#served.fail(error);
      }
    });
    this.#stream.on("end", () => {
      // The end also comes after a failure or a reset.
      if (this.#over) return;
      if (only === undefined)
        this.#served.fail(new RpcError(status.UNIMPLEMENTED, "the call has no request message"));
      else void this.#run(handler, only);
    });
  }

  /** Yields the requests of a stream. A handler that stops reading can still send replies. */
  async *#requests(): AsyncGenerator<Message> {
    const { route, call } = this.#served;
    try {
      for await (const chunk of this.#stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        for (const frame of this.#reader.push(chunk))
          yield await this.#reader.decode(route.method.input, frame);
      }
    } catch (error) {
      // The stream ends early when the caller cancels. The handler must see the cancellation.
      call.signal.throwIfAborted();
      throw error;
    }
    call.signal.throwIfAborted();
    if (this.#reader.incomplete) throw new RpcError(status.INTERNAL, "the request ends within a message");
  }

  async #run(handler: AnyHandler, given: Frame | AsyncIterable<Message>): Promise<void> {
    const { route, call } = this.#served;
    const { input, methodKind } = route.method;
    const repliesOnce = methodKind === "unary" || methodKind === "client_streaming";
    try {
      const request = "bytes" in given ? await this.#reader.decode(input, given) : given;
      await this.#served.run(() => {
        const answer = handler(request, call);
        return repliesOnce ? this.#reply(answer as Reply) : this.#replies(answer as AsyncIterable<Reply>);
      });
      if (this.#over) return;
      this.#served.succeed();
      this.#stream.end();
      // Discards further requests.
      this.#stream.resume();
    } catch (error) {
      this.#served.fail(error);
    }
  }

  async #reply(reply: Reply | Promise<Reply>): Promise<void> {
    const bytes = await this.#frame(await reply);
    if (this.#over) return;
    // Attachments that cannot be sent fail the call before its reply is sent.
    this.#trailers = this.#success();
    this.#respond();
    this.#stream.write(bytes);
  }

  /** Sends the replies as fast as the caller reads them. */
  async #replies(replies: AsyncIterable<Reply>): Promise<void> {
    for await (const reply of replies) {
      const bytes = await this.#frame(reply);
      if (this.#over) return;
      this.#respond();
      if (!this.#stream.write(bytes)) await drained(this.#stream);
    }
    if (this.#over) return;
    this.#trailers = this.#success();
    this.#respond();
  }

  #success(): HeaderFields {
    const { call } = this.#served;
    if (!call.hasReplyAttachments) return OK_TRAILERS;
    return { ...this.#served.headersOf(call.replyAttachments), ...OK_TRAILERS };
  }

  #frame(reply: Reply): Buffer | Promise<Buffer> {
    const frame = encode(this.#served.route.method.output, reply, this.#limit);
    return this.#served.call.compressed ? gzipped(frame) : frame;
  }

  #respond(): void {
    if (this.#stream.headersSent) return;
    const { compressed } = this.#served.call;
    this.#stream.respond(
      compressed ? { ...REPLY_HEADERS, "grpc-encoding": "gzip" } : REPLY_HEADERS,
      WITH_TRAILERS,
    );
  }

  /** True if nothing more can be sent: the call has ended, or its stream has closed. */
  get #over(): boolean {
    return this.#served.call.finished || isClosed(this.#stream);
  }

  #sendFailure(error: RpcError, attachments: HeaderFields): void {
    const stream = this.#stream;
    if (isClosed(stream)) return;
    this.#trailers = failure(error, attachments);
    if (stream.headersSent) stream.end();
    else respondWithStatus(stream, this.#trailers);
    stream.resume();
    // A caller that does not read may not hold a call after its deadline.
    if (error.code === status.DEADLINE_EXCEEDED) closeLater(stream, constants.NGHTTP2_CANCEL);
  }
}

/** Answers with headers only. */
function respondWithStatus(stream: ServerHttp2Stream, fields: HeaderFields): void {
  stream.respond(
    { ...REPLY_HEADERS, "grpc-accept-encoding": ACCEPTED_ENCODINGS, ...fields },
    { endStream: true },
  );
  if (!stream.readableEnded) closeLater(stream);
}

/** Answers a gRPC call. */
export function answerGrpc({ stream, fields, headers, remoteAddress }: Incoming, server: Serving): void {
  const path = fields[":path"] ?? "";
  const route = server.router.find(path);
  if (route === undefined) {
    if (isClosed(stream)) return;
    const error = new RpcError(status.UNIMPLEMENTED, `the server does not implement the method ${path}`);
    respondWithStatus(stream, failure(error));
    stream.resume();
    return;
  }
  const deadline = deadlineOf(fields["grpc-timeout"] as string | undefined);
  const call = new Call({ headers, remoteAddress, deadline });
  new GrpcCall(stream, route, call, fields["grpc-encoding"] as string | undefined, server).start();
}
