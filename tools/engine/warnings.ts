import { z } from "zod";
import type { KubernetesObject } from "../../common/kubernetes-object.ts";

/** Kind of change that an update makes to one object or resource. */
export type Operation = "create" | "update" | "replace" | "delete";

/** A change that callers notice. */
export interface Warning {
  /** Kind and name of the removed or replaced object. Objects that go with it have no warning. */
  readonly target: string;
  /** Effect on calls and callers, as sentences. */
  readonly text: string;
}

/** An object of the stack that is removed or replaced, in its old form. */
export interface Loss {
  readonly operation: Extract<Operation, "delete" | "replace">;
  readonly object: KubernetesObject;
}

const sidecar = z.looseObject({
  spec: z.looseObject({
    workloadSelector: z.looseObject({ labels: z.looseObject({ app: z.string() }) }),
    egress: z.array(z.looseObject({ hosts: z.array(z.string()) })),
  }),
});

const virtualService = z.looseObject({
  spec: z.looseObject({
    http: z.array(
      z.looseObject({
        match: z.array(z.looseObject({ headers: z.looseObject({}).optional() })).optional(),
        route: z.array(
          z.looseObject({
            destination: z.looseObject({ subset: z.string() }),
            weight: z.number().optional(),
          }),
        ),
      }),
    ),
  }),
});

const versionLabels = z.looseObject({ labels: z.looseObject({ app: z.string(), version: z.string() }) });

/** Joins names: `a`, `a and b`, `a, b and c`. */
function listed(names: readonly string[]): string {
  const [last = "", ...others] = names.toReversed();
  return others.length === 0 ? last : `${others.toReversed().join(", ")} and ${last}`;
}

/** The old stack, as far as its objects describe it: callers, callees and routes. */
class OldStack {
  readonly #objects: readonly KubernetesObject[];

  constructor(objects: readonly KubernetesObject[]) {
    this.#objects = objects;
  }

  /** Returns the names of the objects of a kind. */
  names(kind: string): string[] {
    return this.#objects.filter((object) => object.kind === kind).map(({ metadata }) => metadata.name);
  }

  /** Returns the callees of a service. Returns undefined if its Sidecar has encrypted values. */
  callees(service: string): string[] | undefined {
    const found = this.#objects.find(({ kind, metadata }) => kind === "Sidecar" && metadata.name === service);
    if (found === undefined) return [];
    const parsed = sidecar.safeParse(found);
    if (!parsed.success) return undefined;
    const hosts = parsed.data.spec.egress.flatMap((egress) => egress.hosts);
    return hosts.flatMap((host) => /^\.\/([^.]+)\./.exec(host)?.[1] ?? []);
  }

  /** Describes the callers of a service, as the end of a sentence. */
  callers(service: string): string {
    const known = this.names("Sidecar").map((caller) => [caller, this.callees(caller)] as const);
    if (known.some(([, callees]) => callees === undefined)) return "its callers are in encrypted values";
    const callers = known.filter(([, callees]) => callees?.includes(service)).map(([caller]) => caller);
    if (callers.length === 0) return "no service of the stack calls it, but others may";
    return `${listed(callers)} ${callers.length === 1 ? "calls" : "call"} it`;
  }

  /**
   * Describes the share of calls of a version, or returns empty text if it has none. Returns
   * undefined if the service has no routes.
   */
  share(service: string, version: string): string | undefined {
    const found = this.#objects.find(
      ({ kind, metadata }) => kind === "VirtualService" && metadata.name === service,
    );
    if (found === undefined) return undefined;
    const parsed = virtualService.safeParse(found);
    if (!parsed.success) return "its share of the calls";
    const routes = parsed.data.spec.http.flatMap(({ match, route }) =>
      route
        .filter(({ destination }) => destination.subset === version)
        .map(({ weight = 100 }) => ({ weight, headers: match?.some(({ headers }) => headers) === true })),
    );
    const percent = Math.max(0, ...routes.filter(({ headers }) => !headers).map(({ weight }) => weight));
    return [
      ...(percent > 0 ? [`${percent} percent of the calls`] : []),
      ...(routes.some(({ headers }) => headers) ? ["the calls with certain headers"] : []),
    ].join(" and ");
  }
}

/** Returns the effect of one loss on calls, or undefined if no caller notices it. */
type Effect = (
  loss: Loss,
  before: OldStack,
  isLost: (kind: string, name: string) => boolean,
) => string | undefined;

const namespace: Effect = ({ operation, object }, before) => {
  const { name } = object.metadata;
  const what = `${name} is deleted with all its objects${operation === "delete" ? "" : " and created again"}.`;
  const called = before.names("VirtualService").map((each) => `${each} (${before.callers(each)})`);
  if (called.length === 0) return what;
  const until = operation === "delete" ? "" : " until it runs again, and keep failing at the old address";
  return `${what} Calls fail${until}: to ${listed(called)}.`;
};

const service: Effect = ({ operation, object }, before) => {
  const { name } = object.metadata;
  const until = operation === "delete" ? "any more" : "until its Service is created again";
  return `${name} cannot be called ${until}; ${before.callers(name)}.`;
};

const deployment: Effect = ({ operation, object }, before, isLost) => {
  const parsed = versionLabels.safeParse(object.metadata);
  const { app, version } = parsed.success ? parsed.data.labels : { app: object.metadata.name, version: "" };
  if (isLost("Service", app)) return undefined;
  const share = before.share(app, version);
  if (share === "") return undefined;
  const restart = operation === "replace" ? " before it starts again" : "";
  if (share === undefined) {
    const callees = before.callees(app) ?? [];
    return `${app} stops${restart}${callees.length === 0 ? "" : `; it calls ${listed(callees)}`}.`;
  }
  return (
    `${version} of ${app} stops${restart}, although it answers ${share}; ${before.callers(app)}. ` +
    "First set its weight to 0 and remove its routes: then callers notice nothing."
  );
};

const routes: Effect = ({ operation, object }, before, isLost) => {
  const { name } = object.metadata;
  if (isLost("Service", name)) return undefined;
  const until = operation === "delete" ? "" : " until they are created again";
  return `calls to ${name} have no weights, retries and timeouts${until}; ${before.callers(name)}.`;
};

const subsets: Effect = ({ object }, before, isLost) => {
  // The name of a version's DestinationRule has the version after a dot. A service name has no dot.
  const [app = "", version] = object.metadata.name.split(".");
  // Without routes, no call selects a version.
  if (isLost("VirtualService", app)) return undefined;
  if (version === undefined)
    return `calls to ${app} lose its load balancing and limits; ${before.callers(app)}.`;
  // The warning about its pods already covers this.
  if (isLost("Deployment", `${app}-${version}`) || before.share(app, version) === "") return undefined;
  return `calls to ${version} of ${app} fail: no DestinationRule selects its pods; ${before.callers(app)}.`;
};

const controlPlane: Effect = ({ object }) =>
  object.metadata.name.startsWith("istiod")
    ? "it injects no more sidecars, and its proxies get no more changes."
    : undefined;

/**
 * Effects by kind of object. Callers do not notice the loss of any other kind.
 * Budgets, autoscalers and scopes carry no calls. Authorization rules go with their calls, or allow
 * more when they are gone. A missing health check ejects no endpoint. A ServiceAccount goes after
 * its pods.
 */
const EFFECTS: Readonly<Record<string, Effect>> = {
  Namespace: namespace,
  Service: service,
  Deployment: deployment,
  VirtualService: routes,
  DestinationRule: subsets,
  Release: controlPlane,
};

/**
 * Returns a warning for each loss that callers notice. The warning of a namespace replaces those of
 * the objects inside it.
 * @param before all old objects of the stack; its Sidecars name the callees, and its
 *   VirtualServices the weights
 * @param losses the objects that are removed or replaced
 */
export function warningsOf(before: readonly KubernetesObject[], losses: readonly Loss[]): Warning[] {
  const oldStack = new OldStack(before);
  const lost = new Set(losses.map(({ object }) => `${object.kind}/${object.metadata.name}`));
  const isLost = (kind: string, name: string): boolean => lost.has(`${kind}/${name}`);
  const namespaces = losses.filter(({ object }) => object.kind === "Namespace");
  const outside = losses.filter(({ object }) => object.kind === "Release");
  const reported = namespaces.length > 0 ? [...namespaces, ...outside] : losses;
  return reported.flatMap((loss) => {
    const { kind, metadata } = loss.object;
    const text = EFFECTS[kind]?.(loss, oldStack, isLost);
    return text === undefined ? [] : [{ target: `${kind}/${metadata.name}`, text }];
  });
}
