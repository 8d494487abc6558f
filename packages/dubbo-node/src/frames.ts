import { promisify } from "node:util";
import { gunzip, gzip, inflate } from "node:zlib";
import {
  create,
  type DescMessage,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import { RpcError } from "./error.ts";
import { status } from "./status.ts";

/** Bytes before a message: a flag, which is 1 if it is compressed, and its length. */
const PREFIX = 5;

/** A message on the wire. */
export interface Frame {
  readonly compressed: boolean;
  readonly bytes: Buffer;
}

type Decompress = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const zip = promisify(gzip);

/** Encodings of messages that can be read, by their names in `grpc-encoding`. */
const DECOMPRESS: Readonly<Record<string, Decompress>> = {
  gzip: promisify(gunzip),
  deflate: promisify(inflate),
};

/** Value of `grpc-accept-encoding`. */
export const ACCEPTED_ENCODINGS = ["identity", ...Object.keys(DECOMPRESS)].join(",");

function tooLarge(what: string, limit: number): RpcError {
  return new RpcError(status.RESOURCE_EXHAUSTED, `${what}, the maximum is ${limit} bytes`);
}

/** Adds the prefix to a message. */
export function framed(message: Uint8Array, compressed = false): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX + message.length);
  frame[0] = compressed ? 1 : 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, PREFIX);
  return frame;
}

/**
 * Encodes a message with its prefix.
 * @param limit most bytes of the message
 * @throws RpcError RESOURCE_EXHAUSTED if the message is larger
 */
export function encode(
  schema: DescMessage,
  message: MessageInitShape<DescMessage>,
  limit = Infinity,
): Buffer {
  const bytes = toBinary(schema, create(schema, message));
  if (bytes.length > limit) throw tooLarge(`the message to send has ${bytes.length} bytes`, limit);
  return framed(bytes);
}

/** Compresses an encoded message with gzip. */
export async function gzipped(frame: Buffer): Promise<Buffer> {
  return framed(await zip(frame.subarray(PREFIX)), true);
}

/** Options of a {@link MessageReader}. */
export interface ReaderOptions {
  /** Value of `grpc-encoding` (default: identity). */
  readonly encoding: string | undefined;
  /** Most bytes of a message, before and after it is decompressed. */
  readonly limit: number;
}

/** Reads messages from the bytes of a call. */
export class MessageReader {
  readonly #options: ReaderOptions;
  #rest: Buffer[] = [];
  #length = 0;
  /** Bytes that make the first message complete. */
  #wanted = PREFIX;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** True if the bytes end within a message. */
  get incomplete(): boolean {
    return this.#length > 0;
  }

  /**
   * Adds bytes, and returns the messages that they complete.
   * @throws RpcError RESOURCE_EXHAUSTED if a message is larger than the limit
   */
  push(chunk: Buffer): Frame[] {
    this.#rest.push(chunk);
    this.#length += chunk.length;
    const frames: Frame[] = [];
    while (this.#length >= this.#wanted) {
      const bytes = this.#joined();
      const size = bytes.readUInt32BE(1);
      if (size > this.#options.limit) throw tooLarge(`the message has ${size} bytes`, this.#options.limit);
      this.#wanted = PREFIX + size;
      if (bytes.length < this.#wanted) break;
      frames.push({ compressed: bytes[0] === 1, bytes: bytes.subarray(PREFIX, this.#wanted) });
      this.#keep(bytes.subarray(this.#wanted));
    }
    return frames;
  }

  /**
   * Decodes a message.
   * @throws RpcError INTERNAL if the bytes are not a message, RESOURCE_EXHAUSTED if they decompress
   *   to more than the limit, UNIMPLEMENTED if their encoding is not known
   */
  decode(schema: DescMessage, frame: Frame): Message | Promise<Message> {
    return frame.compressed
      ? this.#decompressed(frame).then((bytes) => decoded(schema, bytes))
      : decoded(schema, frame.bytes);
  }

  #joined(): Buffer {
    const [first] = this.#rest;
    const bytes = this.#rest.length === 1 && first !== undefined ? first : Buffer.concat(this.#rest);
    this.#rest = [bytes];
    return bytes;
  }

  #keep(bytes: Buffer): void {
    this.#rest = bytes.length === 0 ? [] : [bytes];
    this.#length = bytes.length;
    this.#wanted = PREFIX;
  }

  async #decompressed({ bytes }: Frame): Promise<Buffer> {
    const { encoding = "identity", limit } = this.#options;
    const decompress = DECOMPRESS[encoding];
    if (decompress === undefined) {
      throw new RpcError(
        status.UNIMPLEMENTED,
        `the message is compressed with ${encoding}; known encodings: ${ACCEPTED_ENCODINGS}`,
      );
    }
    try {
      return await decompress(bytes, { maxOutputLength: limit });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") {
        throw tooLarge("the message decompresses to more", limit);
      }
      throw new RpcError(status.INTERNAL, `cannot decompress the message: ${(error as Error).message}`);
    }
  }
}

function decoded(schema: DescMessage, bytes: Buffer): Message {
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    throw new RpcError(status.INTERNAL, `error deserializing the message: ${(error as Error).message}`);
  }
}
