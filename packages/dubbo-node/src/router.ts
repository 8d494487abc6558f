import type { DescMethod } from "@bufbuild/protobuf";
import { GROUP_HEADER, VERSION_HEADER } from "./attachments.ts";
import { RpcError } from "./error.ts";
import type { Headers } from "./headers.ts";
import { type AnyHandler, type DubboService, serviceKey } from "./service.ts";
import { status } from "./status.ts";

/** Interface version that Dubbo falls back to. Source: Dubbo 3.3, TripleConstants. */
const DEFAULT_VERSION = "1.0.0";

/** A service, and its handler of one method. */
export interface Implementation {
  readonly service: DubboService;
  readonly handler: AnyHandler;
}

/** A method that is served, by one or more services. */
export interface Route {
  readonly method: DescMethod;
  /**
   * Returns the implementation that the headers ask for.
   * @throws RpcError UNIMPLEMENTED if there is none
   */
  readonly resolve: (headers: Headers) => Implementation;
}

type Versions = Map<string, Implementation>;

/**
 * Returns a function that picks the implementation of a call, as Dubbo's TriplePathResolver does.
 * @param pathVersion version in the path; a version header takes precedence
 */
function resolver(name: string, found: Versions, fallback: boolean, pathVersion?: string): Route["resolve"] {
  const [first] = found.values();
  // A single implementation serves every call, so the headers do not matter.
  if (fallback && found.size === 1 && first !== undefined) return () => first;
  return (headers) => {
    const group = headers.get(GROUP_HEADER) ?? headers.get("rest-service-group");
    const version = headers.get(VERSION_HEADER) ?? headers.get("rest-service-version") ?? pathVersion;
    const exact = found.get(serviceKey(name, { group, version }));
    const other = fallback
      ? (found.get(serviceKey(name, { group, version: DEFAULT_VERSION })) ?? first)
      : undefined;
    const implementation = exact ?? other;
    if (implementation !== undefined) return implementation;
    // The message of Dubbo, followed by the wanted key.
    const wanted = serviceKey(name, { group, version });
    throw new RpcError(status.UNIMPLEMENTED, `Invoker for gRPC not found: no provider for ${wanted}`);
  };
}

/**
 * Returns a method's path with the other case of its first letter: `/package.Service/Greet` for
 * `/package.Service/greet`.
 */
function otherCase(path: string): string {
  return path.replace(/\/\w(?=\w*$)/, (first) =>
    first === first.toUpperCase() ? first.toLowerCase() : first.toUpperCase(),
  );
}

/** Path with a version: `/package.Service:1.0.0/greet`. */
const VERSIONED_PATH = /^\/(?<name>[\w.]+):(?<version>[\w.-]+)\/(?<method>\w+)$/;

/**
 * Methods of services by their paths. Versions and groups of one interface share its methods. Like
 * Dubbo's Java provider, it also finds a method by its name with the other case of the first
 * letter, which a caller with another .proto file may use.
 * Source: Dubbo 3.3, DescriptorUtils.findMethodDescriptor.
 */
export class Router {
  readonly #versions = new Map<string, { readonly method: DescMethod; readonly versions: Versions }>();
  readonly #routes = new Map<string, Route>();
  readonly #fallback: boolean;

  /**
   * @param fallback serves a call for an unknown version or group, or for none, with an exported
   *   one, as `dubbo.rpc.tri.resolve-fallback-to-default` does in Dubbo
   * @throws Error if two services have the same key
   */
  constructor(services: readonly DubboService[], fallback: boolean) {
    this.#fallback = fallback;
    for (const service of services) {
      for (const { method, handler } of service.methods) {
        const path = `/${method.parent.typeName}/${method.name}`;
        const { versions } = this.#versions.get(path) ?? { versions: new Map<string, Implementation>() };
        if (versions.has(service.key)) throw new Error(`${service.key} is exported twice`);
        this.#versions.set(path, { method, versions: versions.set(service.key, { service, handler }) });
      }
    }
    for (const path of this.#versions.keys()) this.#add(path, path);
    // A method's exact name takes precedence over another method's name in the other case.
    for (const path of this.#versions.keys()) {
      const other = otherCase(path);
      if (!this.#routes.has(other)) this.#add(other, path);
    }
  }

  /** Returns the method of a path; undefined if there is none. */
  find(path: string): Route | undefined {
    return this.#routes.get(path) ?? this.#versioned(path);
  }

  #versioned(path: string): Route | undefined {
    const { name, version, method } = VERSIONED_PATH.exec(path)?.groups ?? {};
    if (name === undefined || version === undefined || method === undefined) return undefined;
    const found = this.#routes.get(`/${name}/${method}`)?.method;
    const entry = found && this.#versions.get(`/${name}/${found.name}`);
    return entry && this.#route(entry, version);
  }

  #add(path: string, of: string): void {
    const entry = this.#versions.get(of);
    if (entry !== undefined) this.#routes.set(path, this.#route(entry));
  }

  #route({ method, versions }: { method: DescMethod; versions: Versions }, pathVersion?: string): Route {
    return { method, resolve: resolver(method.parent.typeName, versions, this.#fallback, pathVersion) };
  }
}
