import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";
import { createConnection } from "node:net";
import { isGreeting, path, replyMessage, request } from "./greeter.ts";

/** A call that takes longer has failed; long enough for a machine that is busy, ms. */
const PATIENCE_MS = 30_000;
/** Bytes before a message: whether it is compressed, and its length. */
const PREFIX = 5;
/** More than nghttp2's 64 kB, so that the server is what refuses headers. */
const MAX_HEADER_BYTES = 1_000_000;

/** How a call has ended, whatever the peer has made of it. */
export interface Answer {
  /** HTTP status; undefined where there were no headers. */
  readonly http: number | undefined;
  /** gRPC status; undefined where there was none. */
  readonly status: number | undefined;
  /** What the gRPC status says. */
  readonly details: string;
  /** The bytes of the body: messages with their prefixes. */
  readonly body: Buffer;
  /** Code of the RST_STREAM or GOAWAY that ended it; 0 where it has ended well. */
  readonly reset: number;
}

/** A message with the prefix that gRPC puts before it. */
export function framed(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const prefix = Buffer.alloc(PREFIX);
  prefix[0] = flag;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** One HTTP/2 connection of node's own client, for calls that a gRPC library does not make, and for load: it costs less. */
export class Connection {
  readonly #session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
    // A connection that ends shows in its calls.
    session.on("error", () => undefined);
  }

  /** Opens a connection, or fails as the socket does. */
  static async open(port: number): Promise<Connection> {
    const socket = createConnection({ host: "127.0.0.1", port, noDelay: true });
    await once(socket, "connect");
    // Node's types have the option for servers only; its client takes it too.
    const options: SecureClientSessionOptions = { createConnection: () => socket };
    Object.assign(options, { maxSendHeaderBlockLength: MAX_HEADER_BYTES });
    return new Connection(connect(`http://127.0.0.1:${port}`, options));
  }

  /** Whether calls can still be made. */
  get usable(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  /** Makes one call with these bytes as its body, and takes whatever comes back. */
  call(method: string, body: Buffer, headers: OutgoingHttpHeaders = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ":method": "POST",
        ":path": method,
        "content-type": "application/grpc+proto",
        te: "trailers",
        "tri-service-version": "1.0.0",
        "tri-consumer-appname": "bench",
        ...headers,
      });
      const late = setTimeout(() => {
        reject(new Error(`${method}: no end within ${PATIENCE_MS} ms`));
        stream.close();
      }, PATIENCE_MS);
      const seen: IncomingHttpHeaders = {};
      const chunks: Buffer[] = [];
      stream.on("response", (found) => Object.assign(seen, found));
      stream.on("trailers", (found: IncomingHttpHeaders) => Object.assign(seen, found));
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      // Its code is in rstCode.
      stream.on("error", () => undefined);
      stream.on("close", () => {
        clearTimeout(late);
        const status = first(seen["grpc-status"]);
        resolve({
          http: seen[":status"] === undefined ? undefined : Number(seen[":status"]),
          status: status === undefined ? undefined : Number(status),
          details: decodeURIComponent(first(seen["grpc-message"]) ?? ""),
          body: chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks),
          reset: stream.rstCode,
        });
      });
      stream.end(body);
    });
  }

  /** Greets once and checks the reply. */
  async greet(name: string): Promise<void> {
    const { http, status, details, body } = await this.call(path("greet"), framed(request(name)));
    const length = body.length >= PREFIX ? body.readUInt32BE(1) : -1;
    const right =
      http === 200 &&
      status === 0 &&
      body[0] === 0 &&
      body.length === PREFIX + length &&
      isGreeting(replyMessage(body.subarray(PREFIX)), name);
    if (!right) {
      const answer = `HTTP ${String(http)}, gRPC ${String(status)} ${details}, ${body.length} bytes`;
      throw new Error(`greet ${JSON.stringify(name.slice(0, 50))} was answered ${answer}`);
    }
  }

  close(): void {
    this.#session.destroy();
  }
}
