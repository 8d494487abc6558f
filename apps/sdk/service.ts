import {
  type DescMessage,
  type DescMethod,
  type DescMethodBiDiStreaming,
  type DescMethodClientStreaming,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  type MethodDefinition,
  type ServerUnaryCall,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";

/** Header with the version of the interface that the caller wants. */
export const VERSION_HEADER = "tri-service-version";
/** Header with the caller's application name. */
export const CONSUMER_HEADER = "tri-consumer-appname";

type Handler<M> =
  M extends DescMethodUnary<infer I, infer O>
    ? handleUnaryCall<MessageShape<I>, MessageShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? handleServerStreamingCall<MessageShape<I>, MessageShape<O>>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? handleClientStreamingCall<MessageShape<I>, MessageShape<O>>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? handleBidiStreamingCall<MessageShape<I>, MessageShape<O>>
          : never;

/** The handlers of a generated service, one a method, as grpc-js calls them. */
export type Handlers<S extends DescService> = { [M in keyof S["method"]]: Handler<S["method"][M]> };

/** A service that a server can export. */
export interface DubboService {
  /** Full name, such as `org.apache.dubbo.samples.Greeter`. */
  readonly name: string;
  /** The methods on the wire. */
  readonly definition: ServiceDefinition;
  /** The handlers. */
  readonly implementation: UntypedServiceImplementation;
}

function serializer<D extends DescMessage>(schema: D): (message: MessageShape<D>) => Buffer {
  return (message) => {
    const { buffer, byteOffset, byteLength } = toBinary(schema, message);
    return Buffer.from(buffer, byteOffset, byteLength);
  };
}

function deserializer<D extends DescMessage>(schema: D): (bytes: Buffer) => MessageShape<D> {
  return (bytes) => fromBinary(schema, bytes);
}

/** A generated method as grpc-js wants it, for servers and clients. */
export function methodDefinition<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { input: I; output: O },
): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  const { methodKind, input, output } = method;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
    responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    requestSerialize: serializer(input),
    requestDeserialize: deserializer(input),
    responseSerialize: serializer(output),
    responseDeserialize: deserializer(output),
  };
}

/** A header's value as text; undefined where it is missing or empty. */
export function header(metadata: Metadata, name: string): string | undefined {
  const value = metadata.get(name)[0]?.toString();
  return value === "" ? undefined : value;
}

// What every kind of handler is called with; those that answer with a stream get no `answer`.
type AnyCall = Pick<ServerUnaryCall<unknown, unknown>, "metadata" | "emit">;
type AnyHandler = (call: AnyCall, answer?: (error: object) => void) => void;

// A caller that names no version takes any, as with Dubbo's Java provider.
function ofVersion(handler: AnyHandler, { parent, methodKind }: DescMethod, version: string): AnyHandler {
  const answersOnce = methodKind === "unary" || methodKind === "client_streaming";
  return (call, answer) => {
    const wanted = header(call.metadata, VERSION_HEADER);
    if (wanted === undefined || wanted === version) {
      handler(call, answer);
      return;
    }
    const refusal = { code: status.UNIMPLEMENTED, details: `no provider for ${parent.name}:${wanted}` };
    if (answersOnce) answer?.(refusal);
    else call.emit("error", refusal);
  };
}

/**
 * A service to export.
 * @param service the generated service
 * @param handlers one a method
 * @param version of the interface; calls for another one are refused (default: every version is taken)
 */
export function dubboService<S extends DescService>(
  service: S,
  handlers: Handlers<S>,
  version?: string,
): DubboService {
  const untyped = handlers as unknown as Record<string, AnyHandler>;
  const definition: Record<string, ServiceDefinition[string]> = {};
  const implementation: Record<string, AnyHandler> = {};
  for (const method of service.methods) {
    const handler = untyped[method.localName];
    if (handler === undefined) throw new Error(`${service.typeName}/${method.name} has no handler`);
    definition[method.localName] = methodDefinition(method);
    implementation[method.localName] = version === undefined ? handler : ofVersion(handler, method, version);
  }
  return { name: service.typeName, definition, implementation };
}
