import type { DescMethod } from "@bufbuild/protobuf";
import { GROUP_HEADER, VERSION_HEADER } from "./attachments.ts";
import { RpcError } from "./error.ts";
import type { Headers } from "./headers.ts";
import { otherCase } from "./names.ts";
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
   * @param pathVersion version in the path; a version header takes precedence
   * @throws RpcError UNIMPLEMENTED if there is none
   */
  readonly resolve: (headers: Headers, pathVersion?: string) => Implementation;
}

type Versions = Map<string, Implementation>;

/**
 * Returns a function that picks the implementation of a call, as Dubbo's TriplePathResolver does.
 */
function resolver(name: string, found: Versions, fallback: boolean): Route["resolve"] {
  const [first] = found.values();
  // A single implementation serves every call, so the headers do not matter.
  if (fallback && found.size === 1 && first !== undefined) return () => first;
  return (headers, pathVersion) => {
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

/** Path with a version: `/package.Service:1.0.0/greet`. */
const VERSIONED_PATH = /^\/(?<name>[\w.]+):(?<version>[\w.-]+)\/(?<method>\w+)$/;

/**
 * Methods of services by their paths, with either case of the first letter. Versions and groups of
 * one interface share its methods.
 */
export class Router {
  readonly #routes = new Map<string, Route>();

  /**
   * @param fallback serves a call for an unknown version or group, or for none, with an exported
   *   one, as `dubbo.rpc.tri.resolve-fallback-to-default` does in Dubbo
   * @throws Error if two services have the same key
   */
  constructor(services: readonly DubboService[], fallback: boolean) {
    const found = new Map<DescMethod, Versions>();
    for (const service of services) {
      for (const { method, handler } of service.methods) {
        const versions: Versions = found.get(method) ?? new Map();
        if (versions.has(service.key)) throw new Error(`${service.key} is exported twice`);
        found.set(method, versions.set(service.key, { service, handler }));
      }
    }
    for (const [method, versions] of found) {
      const { typeName } = method.parent;
      const route = { method, resolve: resolver(typeName, versions, fallback) };
      this.#routes.set(`/${typeName}/${method.name}`, route);
    }
    // A method's exact name takes precedence over another method's name in the other case.
    for (const [path, route] of [...this.#routes]) {
      const other = otherCase(path);
      if (!this.#routes.has(other)) this.#routes.set(other, route);
    }
  }

  /** Returns the method of a path; undefined if there is none. */
  find(path: string): Route | undefined {
    return this.#routes.get(path) ?? this.#versioned(path);
  }

  #versioned(path: string): Route | undefined {
    const { name = "", version, method = "" } = VERSIONED_PATH.exec(path)?.groups ?? {};
    const route = this.#routes.get(`/${name}/${method}`);
    return route && { ...route, resolve: (headers) => route.resolve(headers, version) };
  }
}
