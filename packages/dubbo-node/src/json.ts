import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import {
  create,
  type DescMessage,
  fromJson,
  type JsonValue,
  type Message,
  type MessageInitShape,
  toJson,
} from "@bufbuild/protobuf";
import { TIMEOUT_HEADER } from "./attachments.ts";
import { Bytes } from "./bytes.ts";
import { Call } from "./call.ts";
import { deadlineOf } from "./deadline.ts";
import { asRpcError, RpcError } from "./error.ts";
import { type HeaderFields, Headers } from "./headers.ts";
import { ServedCall, type Serving } from "./served.ts";
import { closeLater, endLater, type Incoming } from "./streams.ts";
import { type Status, status } from "./status.ts";

/** A request and its answer, over HTTP/1.1 or HTTP/2. */
interface Exchange {
  readonly verb: string;
  readonly path: string;
  readonly headers: Headers;
  readonly remoteAddress: string;
  /** Body of the request. */
  readonly body: Readable;
  /** Registers a listener for the end of the exchange, with or without an answer. */
  onClose(listener: () => void): void;
  /**
   * Sends the answer. The body is no text, with which Node.js would encode the headers of HTTP/1.1
   * as UTF-8 too. They must be Latin-1.
   */
  answer(code: number, fields: HeaderFields, body: Buffer): void;
}

/** HTTP status of a gRPC status. Source: Dubbo 3.3, TriRpcStatus.grpcCodeToHttpStatus. */
const HTTP_STATUS: Readonly<Record<Status, number>> = {
  [status.OK]: 200,
  [status.CANCELLED]: 499,
  [status.UNKNOWN]: 500,
  [status.INVALID_ARGUMENT]: 400,
  [status.DEADLINE_EXCEEDED]: 504,
  [status.NOT_FOUND]: 404,
  [status.ALREADY_EXISTS]: 409,
  [status.PERMISSION_DENIED]: 403,
  [status.RESOURCE_EXHAUSTED]: 429,
  [status.FAILED_PRECONDITION]: 400,
  [status.ABORTED]: 409,
  [status.OUT_OF_RANGE]: 400,
  [status.UNIMPLEMENTED]: 501,
  [status.INTERNAL]: 500,
  [status.UNAVAILABLE]: 503,
  [status.DATA_LOSS]: 500,
  [status.UNAUTHENTICATED]: 401,
};

/**
 * Content types that are read as JSON. Unlike Java, a request without one is refused: a web page
 * can send such a request to another site without asking it first.
 */
const JSON_TYPE = /^(application|text)\/json(\s*;\s*charset="?utf-8"?)?\s*$/i;

/** A failure whose HTTP status does not follow from its gRPC status. */
class HttpError extends RpcError {
  /** HTTP status of the answer. */
  readonly http: number;
  /** Headers of the answer. */
  readonly fields: HeaderFields;

  constructor(http: number, code: Status, details: string, fields: HeaderFields = {}) {
    super(code, details);
    this.http = http;
    this.fields = fields;
  }
}

/** Answers with a failure, in the form of Dubbo's ErrorResponse. */
function answerFailure(exchange: Exchange, error: RpcError, attachments: HeaderFields = {}): void {
  const code = error instanceof HttpError ? error.http : HTTP_STATUS[error.code];
  const fields = error instanceof HttpError ? error.fields : {};
  const body = Buffer.from(JSON.stringify({ message: error.details, status: String(code) }));
  exchange.answer(code, { ...fields, ...attachments }, body);
}

/** Reads a body up to `limit` bytes. */
async function bodyOf({ body }: Exchange, limit: number): Promise<string> {
  const bytes = new Bytes();
  for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    if (bytes.length + chunk.length > limit) {
      const details = `the request is larger than ${limit} bytes`;
      throw new HttpError(413, status.RESOURCE_EXHAUSTED, details);
    }
    bytes.append(chunk);
  }
  return bytes.view.toString();
}

function requestOf(schema: DescMessage, body: string): Message {
  let json: JsonValue;
  try {
    json = JSON.parse(body) as JsonValue;
  } catch (error) {
    throw new HttpError(500, status.INTERNAL, `Error decoding json: ${(error as Error).message}`);
  }
  try {
    return fromJson(schema, json, { ignoreUnknownFields: true });
  } catch (error) {
    throw new HttpError(400, status.INVALID_ARGUMENT, (error as Error).message);
  }
}

/** Rejects a request that is not a POST with an uncompressed JSON body. */
function check({ verb, headers }: Exchange): void {
  if (verb !== "POST") {
    const details = `Request method '${verb}' not supported`;
    throw new HttpError(405, status.UNIMPLEMENTED, details, { allow: "POST" });
  }
  const encoding = headers.get("content-encoding") ?? "identity";
  const type = headers.get("content-type") ?? "";
  const wrong = JSON_TYPE.test(type) ? encoding : type;
  if (wrong !== "identity") {
    throw new HttpError(415, status.UNIMPLEMENTED, `Unsupported Media Type '${wrong}'`, {
      accept: "application/json, application/grpc",
    });
  }
}

/**
 * Returns the deadline of a call, ms since 1970: the earlier of `grpc-timeout` and
 * `tri-service-timeout`.
 */
function deadlineIn(headers: Headers): number {
  const timeout = headers.get(TIMEOUT_HEADER) ?? "";
  const own = /^\d{1,9}$/.test(timeout) ? Date.now() + Number(timeout) : Infinity;
  return Math.min(own, deadlineOf(headers.get("grpc-timeout")));
}

/** Starts a call, and returns its handler. A version or group that is not exported gets a 404. */
function begun(served: ServedCall): ReturnType<ServedCall["begin"]> {
  try {
    return served.begin();
  } catch (error) {
    throw new HttpError(404, status.UNIMPLEMENTED, asRpcError(error).details);
  }
}

async function serve(exchange: Exchange, server: Serving): Promise<void> {
  const { headers, path, remoteAddress } = exchange;
  check(exchange);
  const route = server.router.find(path);
  if (route === undefined) throw new HttpError(404, status.UNIMPLEMENTED, "Invoker not found");
  const { method } = route;
  if (method.methodKind !== "unary")
    throw new RpcError(status.UNIMPLEMENTED, `${method.name} is a stream: call it by gRPC`);
  const call = new Call({ headers, remoteAddress, deadline: deadlineIn(headers) });
  const served = new ServedCall(route, call, server, (error, attachments) => {
    answerFailure(exchange, error, attachments);
  });
  exchange.onClose(() => {
    served.cancel();
  });
  try {
    const handler = begun(served);
    const request = requestOf(method.input, await bodyOf(exchange, server.payload));
    const reply = (await served.run(() => handler(request, call))) as MessageInitShape<DescMessage>;
    const body = Buffer.from(JSON.stringify(toJson(method.output, create(method.output, reply))));
    if (body.length > server.payload)
      throw new RpcError(status.RESOURCE_EXHAUSTED, `the reply has more than ${server.payload} bytes`);
    const fields = call.hasReplyAttachments ? served.headersOf(call.replyAttachments) : {};
    if (call.finished) return;
    exchange.answer(200, fields, body);
    served.succeed();
  } catch (error) {
    served.fail(error);
  }
}

function start(exchange: Exchange, server: Serving): void {
  serve(exchange, server).catch((error: unknown) => {
    answerFailure(exchange, asRpcError(error));
  });
}

/** Returns the headers of an answer with a body. */
function withBody(fields: HeaderFields, body: Buffer): HeaderFields {
  return { "content-type": "application/json", "content-length": body.length, ...fields };
}

/** Returns the path of a URL, which may be absolute, without its query. */
function pathOf(url: string | undefined): string {
  return (url ?? "").replace(/^https?:\/\/[^/]*|\?.*$/g, "");
}

/** Answers a call in JSON over HTTP/2. */
export function answerStream({ stream, fields, headers, remoteAddress }: Incoming, server: Serving): void {
  const verb = fields[":method"] ?? "";
  const exchange: Exchange = {
    verb,
    path: pathOf(fields[":path"]),
    headers,
    remoteAddress,
    body: stream,
    onClose(listener) {
      stream.on("close", listener);
    },
    answer(code, others, body) {
      if (stream.destroyed || stream.closed) return;
      stream.respond({ ":status": code, ...withBody(others, body) }, { endStream: verb === "HEAD" });
      if (verb !== "HEAD") stream.end(body);
      stream.resume();
      if (!stream.readableEnded) closeLater(stream);
    },
  };
  start(exchange, server);
}

/** Answers a call in JSON over HTTP/1.1. */
export function answerRequest(request: IncomingMessage, response: ServerResponse, server: Serving): void {
  const exchange: Exchange = {
    verb: request.method ?? "",
    path: pathOf(request.url),
    headers: new Headers(request.rawHeaders),
    remoteAddress: request.socket.remoteAddress ?? "",
    body: request,
    onClose(listener) {
      response.on("close", listener);
    },
    answer(code, fields, body) {
      if (response.destroyed) return;
      response.writeHead(code, withBody(fields, body)).end(body);
      request.resume();
      if (!request.complete) endLater(request);
    },
  };
  start(exchange, server);
}
