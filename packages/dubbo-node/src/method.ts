import { promisify } from "node:util";
import { gzip } from "node:zlib";
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { MethodDefinition } from "@grpc/grpc-js";

const zip = promisify(gzip);

/** Bytes of a message, ready for grpc-js to frame. */
export type Frame = Buffer;

/** Encodes a message. */
export function encode(schema: DescMessage, message: MessageInitShape<DescMessage>): Frame {
  const { buffer, byteOffset, byteLength } = toBinary(schema, create(schema, message));
  return Buffer.from(buffer, byteOffset, byteLength);
}

/**
 * Compresses a message for a grpc-js server, which has no compression.
 * grpc-js copies the message behind a flag and a length, and always sets the flag to "not
 * compressed". The copy made here sets the flag to "compressed".
 */
export async function gzipped(frame: Frame): Promise<Frame> {
  const compressed = await zip(frame);
  const copy = compressed.copy.bind(compressed);
  return Object.assign(compressed, {
    copy(target: Buffer, start: number): number {
      target[start - 5] = 1;
      return copy(target, start);
    },
  });
}

function unchanged<T>(value: T): T {
  return value;
}

/**
 * Returns the grpc-js definition of a generated method.
 * Outgoing messages are already encoded, so that their size is known and they can be compressed.
 */
function definition<I, O>(
  method: DescMethod,
  messages: Pick<
    MethodDefinition<I, O>,
    "requestSerialize" | "requestDeserialize" | "responseSerialize" | "responseDeserialize"
  >,
): MethodDefinition<I, O> {
  const { methodKind, parent, name } = method;
  return {
    path: `/${parent.typeName}/${name}`,
    requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
    responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    ...messages,
  };
}

/** Returns the definition for a server, which receives messages and sends frames. */
export function serverMethod(method: DescMethod): MethodDefinition<Message, Frame> {
  return definition<Message, Frame>(method, {
    requestSerialize: (message) => encode(method.input, message),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: unchanged,
    responseDeserialize: unchanged,
  });
}

/** grpc-js's definition of a method for a client, with the method's protobuf descriptor. */
export interface ClientMethod extends MethodDefinition<Frame, Message> {
  readonly method: DescMethod;
}

/** Returns the definition for a client, which sends frames and receives messages. */
export function clientMethod(method: DescMethod): ClientMethod {
  const messages = definition<Frame, Message>(method, {
    requestSerialize: unchanged,
    requestDeserialize: unchanged,
    responseSerialize: (message) => encode(method.output, message),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  });
  return { ...messages, method };
}
