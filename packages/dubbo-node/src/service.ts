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

/** One message: a finished one, or its fields. */
type Init<O extends DescMessage> = MessageInitShape<O>;
type Eventual<T> = T | Promise<T>;
/** Messages one after the other; a slow peer holds them back. */
type Stream<T> = Iterable<T> | AsyncIterable<T>;

/** The handler of a method. A thrown RpcError answers with its status, any other error with UNKNOWN. */
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

/** The handlers of a generated service, one a method. */
export type Handlers<S extends DescService> = { [M in keyof S["method"]]: Handler<S["method"][M]> };

/** A handler of any method: which request and which answer it takes and gives is up to the method's kind. */
export type AnyHandler = (
  request: Message | AsyncIterable<Message>,
  call: Call,
) => Eventual<Init<DescMessage>> | Stream<Init<DescMessage>>;

/** What tells apart the implementations of one interface. */
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
  /** The methods, each with its handler. */
  readonly methods: readonly { readonly method: DescMethod; readonly handler: AnyHandler }[];
}

/** Dubbo's key of a service: `group/name:version`, without what there is not. */
export function serviceKey(name: string, { group, version }: ServiceIdentity): string {
  const prefix = group === undefined ? "" : `${group}/`;
  return `${prefix}${name}${version === undefined ? "" : `:${version}`}`;
}

/**
 * A service to export.
 * @param service the generated service
 * @param handlers one a method
 * @param identity version and group of the interface (default: neither)
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
