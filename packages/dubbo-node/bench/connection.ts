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

/** Time limit of a call, ms; long enough for a busy machine. */
const PATIENCE_MS = 30_000;
/** Bytes before a message: the compression flag and the length. */
const PREFIX = 5;
/** Limit above nghttp2's 64 kB, so that the server rejects the headers, not the client. */
const MAX_HEADER_BYTES = 1_000_000;

/** End of a call, with everything that the peer sent. */
export interface Answer {
  /** HTTP status; undefined without headers. */
  readonly http: number | undefined;
  /** gRPC status; undefined if the peer sent none. */
  readonly status: number | undefined;
  /** Message of the gRPC status. */
  readonly details: string;
  /** Body: messages with their prefixes. */
  readonly body: Buffer;
  /** Code of the RST_STREAM or GOAWAY that ended the call; 0 after a normal end. */
  readonly reset: number;
}

/** Adds gRPC's prefix to a message. */
export function framed(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const prefix = Buffer.alloc(PREFIX);
  prefix[0] = flag;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/**
 * One HTTP/2 connection of Node.js.
 * It makes calls that a gRPC library refuses to make, and costs less under load.
 */
export class Connection {
  readonly #session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
    // The calls of a broken connection fail, so its own error adds nothing.
    session.on("error", () => undefined);
  }

  /** Opens a connection. It fails with the error of the socket. */
  static async open(port: number): Promise<Connection> {
    const socket = createConnection({ host: "127.0.0.1", port, noDelay: true });
    await once(socket, "connect");
    // The types of Node.js allow this option for servers only, but the client accepts it too.
    const options: SecureClientSessionOptions = { createConnection: () => socket };
    Object.assign(options, { maxSendHeaderBlockLength: MAX_HEADER_BYTES });
    return new Connection(connect(`http://127.0.0.1:${port}`, options));
  }

  /** True while the connection accepts calls. */
  get usable(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  /** Makes one call with the given body, and accepts any answer. */
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
      // The code of the error is in rstCode.
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
