import * as pulumi from "@pulumi/pulumi";
import { MockMonitor } from "@pulumi/pulumi/runtime/mocks.js";
import { expect, vi } from "vitest";

/** A registered resource. */
export interface Registered {
  readonly type: string;
  readonly name: string;
  /** Name of its parent; empty if it has none. */
  readonly parent: string;
  /** Names of its dependencies. */
  readonly dependsOn: readonly string[];
  /** Dependencies in the state: those of the resource and of each property. */
  readonly edges: number;
  /** True if the engine refuses to delete or replace it. */
  readonly protect: boolean;
  /** Its inputs. Unknown values are the SDK's marks. */
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** Result of {@link register}. */
export interface Registration<T> {
  readonly resources: readonly Registered[];
  /** Properties whose changes are ignored, by resource. */
  readonly ignored: Readonly<Record<string, readonly string[]>>;
  /** Former URNs of a resource, without the start that all have, by resource. */
  readonly aliases: Readonly<Record<string, readonly string[]>>;
  /** Outputs of the components, by name. */
  readonly outputs: Readonly<Record<string, unknown>>;
  /** Return value of `work`. */
  readonly result: T;
}

interface PropertyDependencies {
  forEach(visit: (dependencies: { getUrnsList(): string[] }) => void): void;
}

interface Request {
  getName(): string;
  getParent(): string;
  getDependenciesList(): string[];
  getPropertydependenciesMap(): PropertyDependencies;
  getProtect(): boolean;
  getIgnorechangesList(): string[];
  getAliasesList(): { getUrn(): string }[];
}

interface OutputsRequest {
  getUrn(): string;
  getOutputs(): { toJavaScript(): unknown };
}

const nameOf = (urn: string): string => urn.split("::").at(-1) ?? "";

function stateOf(type: string, inputs: Record<string, unknown>, preview: boolean): Record<string, unknown> {
  if (/^(kubernetes|dubbo-mesh|pulumi:providers):/.test(type)) return inputs;
  // Like a build, whose digest is unknown before.
  if (type === "docker:index/image:Image") return preview ? {} : { repoDigest: "r.test/built@sha256:9" };
  throw new Error(`these mocks do not know ${type}`);
}

/**
 * Runs `work`, which declares resources, under mocks, until all of them are registered.
 * @param preview true for a preview, in which an image's digest is unknown
 */
export async function register<T>(work: () => T | Promise<T>, preview = false): Promise<Registration<T>> {
  const inputs = new Map<string, Record<string, unknown>>();
  const types = new Map<string, string>();
  const mocks: pulumi.runtime.Mocks = {
    call: ({ token }) => {
      throw new Error(`these mocks do not know ${token}`);
    },
    newResource: (args) => {
      const given = args.inputs as Record<string, unknown>;
      inputs.set(args.name, given);
      types.set(args.name, args.type);
      return { id: `${args.name}-id`, state: stateOf(args.type, given, preview) };
    },
  };
  await pulumi.runtime.setMocks(mocks, "dubbo-mesh", "test", preview);
  const requests = vi.spyOn(MockMonitor.prototype, "registerResource");
  const outputsRequests = vi.spyOn(MockMonitor.prototype, "registerResourceOutputs");
  try {
    const result = await work();
    await pulumi.runtime.disconnect();
    const resources = requests.mock.calls.map(([request]): Registered => {
      const { name, parent, dependencies, protect, edges } = read(request as Request);
      return {
        type: types.get(name) ?? "",
        name,
        parent: nameOf(parent),
        dependsOn: dependencies.map(nameOf).sort(),
        edges,
        protect,
        inputs: inputs.get(name) ?? {},
      };
    });
    const registered = outputsRequests.mock.calls.map(([request]) => {
      const of = request as OutputsRequest;
      return [nameOf(of.getUrn()), of.getOutputs().toJavaScript()] as const;
    });
    expect(registered).toHaveLength(new Set(registered.map(([name]) => name)).size);
    const options = requests.mock.calls.map(([request]) => request as Request);
    return {
      resources,
      ignored: byName(options, (request) => request.getIgnorechangesList()),
      aliases: byName(options, (request) => request.getAliasesList().flatMap(formerUrn)),
      outputs: Object.fromEntries(registered),
      result,
    };
  } finally {
    requests.mockRestore();
    outputsRequests.mockRestore();
  }
}

interface Read extends Pick<Registered, "name" | "parent" | "protect" | "edges"> {
  readonly dependencies: string[];
}

/** Returns the former URN of an alias. Aliases of the SDK name only a former type. */
function formerUrn(alias: { getUrn(): string }): string[] {
  const urn = alias.getUrn();
  return urn === "" ? [] : [urn.replace("urn:pulumi:test::dubbo-mesh::", "")];
}

/** Returns the listed items of each request, by resource, without empty lists. */
function byName(
  requests: readonly Request[],
  list: (request: Request) => string[],
): Record<string, string[]> {
  const all = requests.map((request) => [request.getName(), list(request)] as const);
  return Object.fromEntries(all.filter(([, items]) => items.length > 0));
}

function read(request: Request): Read {
  const dependencies = request.getDependenciesList();
  let edges = dependencies.length;
  request.getPropertydependenciesMap().forEach((property) => {
    edges += property.getUrnsList().length;
  });
  return {
    name: request.getName(),
    parent: request.getParent(),
    dependencies,
    edges,
    protect: request.getProtect(),
  };
}

/** Returns the value of an output. */
export async function valueOf<T>(output: pulumi.Output<T>): Promise<T> {
  return new Promise((resolve) => {
    output.apply((value) => {
      resolve(value);
    });
  });
}

/** Returns the unhandled errors of `work`, which an engine would print. */
export async function unhandled(work: () => unknown): Promise<unknown[]> {
  const errors = new Set<unknown>();
  const listeners = process.listeners("unhandledRejection");
  const note = (error: unknown): void => void errors.add(error);
  process.removeAllListeners("unhandledRejection").on("unhandledRejection", note);
  try {
    await Promise.resolve(work()).catch(note);
    // Node.js reports unhandled rejections after the current promises are settled.
    await new Promise((resolve) => setTimeout(resolve, 20));
  } finally {
    process.removeListener("unhandledRejection", note);
    for (const listener of listeners) process.on("unhandledRejection", listener);
  }
  return [...errors];
}
