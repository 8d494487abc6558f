import { once } from "node:events";
import { createConnection, type Socket } from "node:net";

/** First bytes from an HTTP/2 client. Source: RFC 9113, 3.4. */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Frame types. Source: RFC 9113, 6. */
export const FRAME = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const END_STREAM = 1;
export const END_HEADERS = 4;

const FRAME_HEADER = 9;

/** Returns a frame. The given length may be wrong. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array,
  length = payload.length,
): Buffer {
  const header = Buffer.alloc(FRAME_HEADER);
  header.writeUIntBE(length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** Bytes that a client sends before its first call. */
export const OPENING = Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0, Buffer.alloc(0))]);

function literal(text: string): Buffer {
  if (text.length > 126) throw new Error("a length of several bytes is not written here");
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
}

/**
 * Encodes headers as HPACK literals without indexing and without Huffman coding.
 * Source: RFC 7541, 6.2.2.
 */
function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const fields = Object.entries(headers).flatMap(([name, value]) => [
    Buffer.of(0),
    literal(name),
    literal(value),
  ]);
  return Buffer.concat(fields);
}

/** Returns the headers of a gRPC call. */
export function callHeaders(path: string): Buffer {
  return headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "localhost",
    "content-type": "application/grpc",
    te: "trailers",
  });
}

/** Returns the types of the complete frames in the received bytes. */
export function frameTypes(bytes: Buffer): number[] {
  const types: number[] = [];
  for (
    let offset = 0;
    offset + FRAME_HEADER <= bytes.length;
    offset += FRAME_HEADER + bytes.readUIntBE(offset, 3)
  ) {
    types.push(bytes.readUInt8(offset + 3));
  }
  return types;
}

/** A TCP connection that keeps all received bytes. */
export class RawSocket {
  readonly #socket: Socket;
  readonly #closed: Promise<unknown>;
  #received = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#closed = new Promise((resolve) => socket.once("close", resolve));
    // A server may also refuse a connection with a reset.
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => (this.#received = Buffer.concat([this.#received, chunk])));
  }

  static async open(port: number): Promise<RawSocket> {
    const socket = createConnection({ host: "127.0.0.1", port, noDelay: true });
    await once(socket, "connect");
    return new RawSocket(socket);
  }

  /** Bytes that the server has sent so far. */
  get received(): Buffer {
    return this.#received;
  }

  get closed(): boolean {
    return this.#socket.closed;
  }

  /** Sends bytes. A closed connection does not accept them, which is not an error. */
  send(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.write(bytes, () => {
        resolve();
      });
    });
  }

  /** Drops the connection, with a reset or in an orderly way. */
  async drop(reset: boolean): Promise<void> {
    if (reset) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
    await this.#closed;
  }
}
