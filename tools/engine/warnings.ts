import { z } from "zod";
import type { KubernetesObject } from "../../common/kubernetes-object.ts";

/** Change that an update makes to one object or resource. */
export type Operation = "create" | "update" | "replace" | "delete";

/** A change that those who call feel, in words. */
export interface Warning {
  /** Kind and name of the object that is removed or replaced; what goes with it is not told of by itself. */
  readonly target: string;
  /** What becomes of calls, and of whose, as sentences. */
  readonly text: string;
}

/** An object of the stack that does not stay, as it was. */
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

/** Names for people: `a`, `a and b`, `a, b and c`. */
function listed(names: readonly string[]): string {
  const [last = "", ...others] = names.toReversed();
  return others.length === 0 ? last : `${others.toReversed().join(", ")} and ${last}`;
}

/** What a stack was, as far as its objects tell: who called whom, and by which routes. */
class Before {
  readonly #objects: readonly KubernetesObject[];

  constructor(objects: readonly KubernetesObject[]) {
    this.#objects = objects;
  }

  /** Names of the objects of a kind. */
  names(kind: string): string[] {
    return this.#objects.filter((object) => object.kind === kind).map(({ metadata }) => metadata.name);
  }

  /** The services that a service called; undefined where its Sidecar cannot be read, as one of encrypted values. */
  callees(service: string): string[] | undefined {
    const found = this.#objects.find(({ kind, metadata }) => kind === "Sidecar" && metadata.name === service);
    if (found === undefined) return [];
    const parsed = sidecar.safeParse(found);
    if (!parsed.success) return undefined;
    const hosts = parsed.data.spec.egress.flatMap((egress) => egress.hosts);
    return hosts.flatMap((host) => /^\.\/([^.]+)\./.exec(host)?.[1] ?? []);
  }

  /** Who called a service, as the end of a sentence about it. */
  callers(service: string): string {
    const known = this.names("Sidecar").map((caller) => [caller, this.callees(caller)] as const);
    if (known.some(([, callees]) => callees === undefined)) return "who calls it stands in encrypted values";
    const callers = known.filter(([, callees]) => callees?.includes(service)).map(([caller]) => caller);
    if (callers.length === 0) return "no service of the stack calls it, others may";
    return `${listed(callers)} ${callers.length === 1 ? "calls" : "call"} it`;
  }

  /** What a version of a service answered: nothing, or words for it; undefined where nobody is routed to the service. */
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

/** What one loss means; undefined where no call feels it. */
type Meaning = (
  loss: Loss,
  before: Before,
  isLost: (kind: string, name: string) => boolean,
) => string | undefined;

const namespace: Meaning = ({ operation, object }, before) => {
  const { name } = object.metadata;
  const what = `${name} goes with all that is in it${operation === "delete" ? "" : ", and is made anew"}.`;
  const called = before.names("VirtualService").map((each) => `${each} (${before.callers(each)})`);
  if (called.length === 0) return what;
  const until = operation === "delete" ? "" : " until it runs again, and at its old address for good";
  return `${what} Calls fail${until}: to ${listed(called)}.`;
};

const service: Meaning = ({ operation, object }, before) => {
  const { name } = object.metadata;
  const until = operation === "delete" ? "any more" : "until its Service is made anew";
  return `${name} cannot be called ${until}; ${before.callers(name)}.`;
};

const deployment: Meaning = ({ operation, object }, before, isLost) => {
  const parsed = versionLabels.safeParse(object.metadata);
  const { app, version } = parsed.success ? parsed.data.labels : { app: object.metadata.name, version: "" };
  if (isLost("Service", app)) return undefined;
  const share = before.share(app, version);
  if (share === "") return undefined;
  const anew = operation === "replace" ? " before it starts anew" : "";
  if (share === undefined) {
    const callees = before.callees(app) ?? [];
    return `${app} ends${anew}${callees.length === 0 ? "" : `; it calls ${listed(callees)}`}.`;
  }
  return (
    `${version} of ${app} ends${anew}, though it answers ${share}; ${before.callers(app)}. ` +
    "Give it weight 0 and no routes first, and no call feels it."
  );
};

const routes: Meaning = ({ operation, object }, before, isLost) => {
  const { name } = object.metadata;
  if (isLost("Service", name)) return undefined;
  const until = operation === "delete" ? "" : " until they are made anew";
  return `calls to ${name} have no weights, retries and timeouts${until}; ${before.callers(name)}.`;
};

const subsets: Meaning = ({ object }, before, isLost) => {
  // A version's is named after it, behind a dot; a service's name has none.
  const [app = "", version] = object.metadata.name.split(".");
  // Without routes nothing asks for a version.
  if (isLost("VirtualService", app)) return undefined;
  if (version === undefined)
    return `calls to ${app} have neither its load balancing nor its bounds; ${before.callers(app)}.`;
  // What its pods answered is told of with them.
  if (isLost("Deployment", `${app}-${version}`) || before.share(app, version) === "") return undefined;
  return `calls to ${version} of ${app} fail: nothing tells its pods apart; ${before.callers(app)}.`;
};

const controlPlane: Meaning = ({ object }) =>
  object.metadata.name.startsWith("istiod")
    ? "no more sidecars are injected by it, and the proxies that it serves are told of no more changes."
    : undefined;

/**
 * What calls depend on. All else goes unnoticed: budgets, autoscalers and scopes carry no call, rules of who may call go with the
 * call that they are about or allow more without it, a check that is gone ejects nobody, and a ServiceAccount goes after the pods that ran as it.
 */
const MEANINGS: Readonly<Record<string, Meaning>> = {
  Namespace: namespace,
  Service: service,
  Deployment: deployment,
  VirtualService: routes,
  DestinationRule: subsets,
  Release: controlPlane,
};

/**
 * Tells of each loss that those who call feel. Where the namespace goes, that says it all.
 * @param before all objects that the stack had; calls between services are read off their Sidecars, shares off their VirtualServices
 * @param losses what of them does not stay
 */
export function warningsOf(before: readonly KubernetesObject[], losses: readonly Loss[]): Warning[] {
  const world = new Before(before);
  const lost = new Set(losses.map(({ object }) => `${object.kind}/${object.metadata.name}`));
  const isLost = (kind: string, name: string): boolean => lost.has(`${kind}/${name}`);
  const whole = losses.filter(({ object }) => object.kind === "Namespace");
  const outside = losses.filter(({ object }) => object.kind === "Release");
  const told = whole.length > 0 ? [...whole, ...outside] : losses;
  return told.flatMap((loss) => {
    const { kind, metadata } = loss.object;
    const text = MEANINGS[kind]?.(loss, world, isLost);
    return text === undefined ? [] : [{ target: `${kind}/${metadata.name}`, text }];
  });
}
