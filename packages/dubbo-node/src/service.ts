import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  Message,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Call } from "./call.ts";

/** One message, or its fields. */
type Init<O extends DescMessage> = MessageInitShape<O>;
type Eventual<T> = T | Promise<T>;
/** Sequence of messages. A slow peer slows down the sequence. */
type Stream<T> = Iterable<T> | AsyncIterable<T>;

/** Handler of a method. A thrown RpcError answers with its status, any other error with UNKNOWN. */
export type Handler<M> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, call: Call) => Eventual<Init<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, call: Call) => Stream<Init<O>>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageShape<I>>, call: Call) => Eventual<Init<O>>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? (requests: AsyncIterable<MessageShape<I>>, call: Call) => Stream<Init<O>>
          : never;

/** Handlers of a generated service, one for each method. */
export type Handlers<S extends DescService> = { [M in keyof S["method"]]: Handler<S["method"][M]> };

/** Handler of any method. Request and answer depend on the kind of the method. */
export type AnyHandler = (
  request: Message | AsyncIterable<Message>,
  call: Call,
) => Eventual<Init<DescMessage>> | Stream<Init<DescMessage>>;

/** Version and group, which distinguish implementations of one interface. */
export interface ServiceIdentity {
  /** Version of the interface, such as `1.0.0` (default: none). */
  readonly version?: string | undefined;
  /** Group of the interface (default: none). */
  readonly group?: string | undefined;
}

/** A service that an application exports. */
export interface DubboService extends ServiceIdentity {
  /** Full name, such as `org.apache.dubbo.samples.Greeter`. */
  readonly name: string;
  /** Dubbo's service key, `group/name:version`. */
  readonly key: string;
  /** Methods with their handlers. */
  readonly methods: readonly { readonly method: DescMethod; readonly handler: AnyHandler }[];
}

/** Returns Dubbo's key of a service, `group/name:version`, without missing parts. */
export function serviceKey(name: string, { group, version }: ServiceIdentity): string {
  const prefix = group === undefined ? "" : `${group}/`;
  return `${prefix}${name}${version === undefined ? "" : `:${version}`}`;
}

/**
 * Returns a service to export.
 * @param service the generated service
 * @param handlers one handler for each method
 * @param identity version and group of the interface (default: neither)
 * @throws Error if a method has no handler
 */
export function dubboService<S extends DescService>(
  service: S,
  handlers: Handlers<S>,
  identity: ServiceIdentity = {},
): DubboService {
  const byName = handlers as unknown as Readonly<Record<string, AnyHandler>>;
  const methods = service.methods.map((method) => {
    const handler = byName[method.localName];
    if (handler === undefined) throw new Error(`${service.typeName}/${method.name} has no handler`);
    return { method, handler };
  });
  return { ...identity, name: service.typeName, key: serviceKey(service.typeName, identity), methods };
}
