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

/** A message's bytes, ready for grpc-js to frame. */
export type Frame = Buffer;

/** The bytes of a message. */
export function encode(schema: DescMessage, message: MessageInitShape<DescMessage>): Frame {
  const { buffer, byteOffset, byteLength } = toBinary(schema, create(schema, message));
  return Buffer.from(buffer, byteOffset, byteLength);
}

/**
 * A compressed message for a server of grpc-js, which cannot compress: it copies a message's bytes behind a flag and a length, and always
 * sets the flag to "not compressed". This one sets it to "compressed" as it is copied.
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

/** A generated method as grpc-js wants it. Outgoing messages are frames already, so that their size is known and they may be compressed. */
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

/** A method for a server: messages come in, frames go out. */
export function serverMethod(method: DescMethod): MethodDefinition<Message, Frame> {
  return definition<Message, Frame>(method, {
    requestSerialize: (message) => encode(method.input, message),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: unchanged,
    responseDeserialize: unchanged,
  });
}

/** A method for a client, as grpc-js wants it and as it was generated. */
export interface ClientMethod extends MethodDefinition<Frame, Message> {
  readonly method: DescMethod;
}

/** A method for a client: frames go out, messages come in. */
export function clientMethod(method: DescMethod): ClientMethod {
  const messages = definition<Frame, Message>(method, {
    requestSerialize: unchanged,
    requestDeserialize: unchanged,
    responseSerialize: (message) => encode(method.output, message),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  });
  return { ...messages, method };
}
