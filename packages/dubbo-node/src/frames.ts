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
import { Bytes } from "./bytes.ts";
import { RpcError } from "./error.ts";
import { status } from "./status.ts";

/** Bytes before a message: a flag, which is 1 if it is compressed, and its length. */
const PREFIX = 5;

/**
 * Default for the most bytes of a message, as in Dubbo. Source: Dubbo 3.3,
 * Constants.DEFAULT_PAYLOAD.
 */
export const PAYLOAD = 8 * 1024 * 1024;

/** A message on the wire. */
export interface Frame {
  readonly compressed: boolean;
  readonly bytes: Buffer;
}

type Decompress = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const zip = promisify(gzip);

/** Encodings of messages that can be read, by their names in `grpc-encoding`. */
const DECOMPRESS: ReadonlyMap<string, Decompress> = new Map([
  ["gzip", promisify(gunzip)],
  ["deflate", promisify(inflate)],
]);

/** Value of `grpc-accept-encoding`. */
export const ACCEPTED_ENCODINGS = ["identity", ...DECOMPRESS.keys()].join(",");

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
  #rest = new Bytes();
  /** Bytes that make the first message complete. */
  #wanted = PREFIX;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** True if the bytes end within a message. */
  get incomplete(): boolean {
    return this.#rest.length > 0;
  }

  /**
   * Adds bytes, and returns the messages that they complete.
   * @throws RpcError RESOURCE_EXHAUSTED if a message is larger than the limit, INTERNAL if its flag
   *   is unknown
   */
  push(chunk: Buffer): Frame[] {
    // Most chunks have whole messages, which need no copy.
    if (this.#rest.length === 0) return this.#split(chunk);
    this.#rest.append(chunk);
    if (this.#rest.length < this.#wanted) return [];
    const bytes = this.#rest.view;
    this.#rest = new Bytes();
    return this.#split(bytes);
  }

  /** Returns the messages in `bytes`, and keeps what follows them. */
  #split(bytes: Buffer): Frame[] {
    const frames: Frame[] = [];
    let rest = bytes;
    this.#wanted = PREFIX;
    while (rest.length >= PREFIX) {
      const flag = rest.readUInt8(0);
      const size = rest.readUInt32BE(1);
      if (flag > 1) throw new RpcError(status.INTERNAL, `the message has the unknown flag ${flag}`);
      if (size > this.#options.limit) throw tooLarge(`the message has ${size} bytes`, this.#options.limit);
      this.#wanted = PREFIX + size;
      if (rest.length < this.#wanted) break;
      frames.push({ compressed: flag === 1, bytes: rest.subarray(PREFIX, this.#wanted) });
      rest = rest.subarray(this.#wanted);
      this.#wanted = PREFIX;
    }
    if (rest.length > 0) this.#rest.append(rest);
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

  async #decompressed({ bytes }: Frame): Promise<Buffer> {
    const { encoding = "identity", limit } = this.#options;
    const decompress = DECOMPRESS.get(encoding);
    if (decompress === undefined) {
      throw new RpcError(
        encoding === "identity" ? status.INTERNAL : status.UNIMPLEMENTED,
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
