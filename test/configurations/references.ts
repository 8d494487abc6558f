import type { KubernetesObject } from "../../common/kubernetes-object.ts";

// Finds broken references between objects, which a schema cannot find.

interface Subset {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

interface RuleSpec {
  readonly host: string;
  readonly subsets?: readonly Subset[];
}

interface RouteSpec {
  readonly hosts: readonly string[];
  readonly http: readonly {
    readonly route: readonly { readonly destination: { host: string; subset: string }; weight?: number }[];
  }[];
}

interface FilterSpec {
  readonly workloadSelector: { readonly labels: { readonly app: string } };
  readonly configPatches: readonly {
    readonly match: { readonly cluster: { service: string; portNumber: number; subset: string } };
  }[];
}

interface SidecarSpec {
  readonly workloadSelector: { readonly labels: { readonly app: string } };
  readonly egress: readonly { readonly hosts: readonly string[] }[];
}

interface DeploymentSpec {
  readonly replicas?: number;
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly template: {
    readonly metadata: { readonly labels: Readonly<Record<string, string>> };
    readonly spec: { readonly serviceAccountName: string };
  };
}

interface ServiceSpec {
  readonly selector: Readonly<Record<string, string>>;
  readonly ports: readonly { readonly port: number }[];
}

interface ScalerSpec {
  readonly scaleTargetRef: { readonly kind: string; readonly name: string };
}

interface BudgetSpec {
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
}

interface Of<T> {
  readonly name: string;
  readonly spec: T;
}

class Objects {
  readonly services: readonly Of<ServiceSpec>[];
  readonly deployments: readonly Of<DeploymentSpec>[];
  readonly rules: readonly Of<RuleSpec>[];
  readonly routes: readonly Of<RouteSpec>[];
  readonly filters: readonly Of<FilterSpec>[];
  readonly sidecars: readonly Of<SidecarSpec>[];
  readonly scalers: readonly Of<ScalerSpec>[];
  readonly budgets: readonly Of<BudgetSpec>[];
  readonly accounts: readonly string[];
  readonly #host: (name: string) => string;

  constructor(objects: readonly KubernetesObject[], host: (name: string) => string) {
    const all = <T>(kind: string): Of<T>[] =>
      objects
        .filter((object) => object.kind === kind)
        .map(({ metadata, spec }) => ({ name: metadata.name, spec: spec as T }));
    this.services = all("Service");
    this.deployments = all("Deployment");
    this.rules = all("DestinationRule");
    this.routes = all("VirtualService");
    this.filters = all("EnvoyFilter");
    this.sidecars = all("Sidecar");
    this.scalers = all("HorizontalPodAutoscaler");
    this.budgets = all("PodDisruptionBudget");
    this.accounts = all("ServiceAccount").map(({ name }) => name);
    this.#host = host;
  }

  /** Returns the Service of a DNS name. */
  service(host: string): Of<ServiceSpec> | undefined {
    return this.services.find(({ name }) => this.#host(name) === host);
  }

  /** Returns the subsets of a host's DestinationRules. */
  subsets(host: string): readonly Subset[] {
    return this.rules.filter(({ spec }) => spec.host === host).flatMap(({ spec }) => spec.subsets ?? []);
  }

  /** Returns the largest number of pods of the Deployments with these labels. */
  pods(labels: Readonly<Record<string, string>>): number {
    return this.deployments
      .filter(({ spec }) => within(labels, spec.template.metadata.labels))
      .map(({ name, spec }) => (this.#isScaled(name) ? 1 : (spec.replicas ?? 1)))
      .reduce((sum, count) => sum + count, 0);
  }

  #isScaled(deployment: string): boolean {
    return this.scalers.some(({ spec }) => spec.scaleTargetRef.name === deployment);
  }
}

function within(part: Readonly<Record<string, string>>, whole: Readonly<Record<string, string>>): boolean {
  return Object.entries(part).every(([key, value]) => whole[key] === value);
}

function namesakes(objects: readonly KubernetesObject[]): string[] {
  const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ""}/${metadata.name}`);
  return names.filter((name, index) => names.indexOf(name) !== index).map((name) => `${name} is there twice`);
}

/** Returns destinations that are no subset of a Service, or get calls without pods. */
function lostRoutes(all: Objects): string[] {
  return all.routes.flatMap(({ name, spec }) =>
    spec.http.flatMap(({ route }) =>
      route.flatMap(({ destination: { host, subset: of }, weight = 100 }) => {
        const subset = all.subsets(host).find((each) => each.name === of);
        const service = all.service(host);
        const to = `VirtualService ${name}: ${host} ${of}`;
        if (service === undefined) return [`${to} is no Service`];
        if (subset === undefined) return [`${to} is in no DestinationRule`];
        const pods = all.pods({ ...service.spec.selector, ...subset.labels });
        return weight > 0 && pods === 0 ? [`${to} has no pods`] : [];
      }),
    ),
  );
}

/** Returns health checks that are missing, doubled, or on clusters without calls. */
function wrongChecks(all: Objects): string[] {
  return all.filters.flatMap(({ name, spec: { workloadSelector, configPatches } }) => {
    const { app } = workloadSelector.labels;
    const patched = configPatches.map(({ match: { cluster } }) => {
      return `${cluster.service}:${cluster.portNumber} ${cluster.subset}`;
    });
    const hosts = new Set(configPatches.map(({ match }) => match.cluster.service));
    const carrying = [...hosts].flatMap((host) => {
      const port = all.service(host)?.spec.ports[0]?.port ?? 0;
      return all.subsets(host).map((subset) => `${host}:${port} ${subset.name}`);
    });
    const runs = all.deployments.some(({ spec }) => within({ app }, spec.template.metadata.labels));
    const faults = runs ? [] : [`${app} has no Deployment`];
    const same = JSON.stringify([...patched].sort()) === JSON.stringify([...carrying].sort());
    if (!same) faults.push(`${patched.join(", ")} are not ${carrying.join(", ")}`);
    return faults.map((fault) => `EnvoyFilter ${name}: ${fault}`);
  });
}

/** Returns differences between the hosts in a caller's Sidecar and those that it checks. */
function wrongScopes(all: Objects): string[] {
  return all.sidecars.flatMap(({ name, spec }) => {
    const hosts = spec.egress.flatMap((each) => each.hosts).filter((host) => host.startsWith("./"));
    const seen = hosts.map((host) => host.slice(2));
    const { app } = spec.workloadSelector.labels;
    const filter = all.filters.find((each) => each.spec.workloadSelector.labels.app === app);
    const checked = new Set(filter?.spec.configPatches.map(({ match }) => match.cluster.service));
    const strangers = seen.filter((host) => all.service(host) === undefined);
    const unchecked = seen.filter((host) => !checked.has(host));
    const unseen = [...checked].filter((host) => !seen.includes(host));
    return [
      ...strangers.map((host) => `${host} is no Service`),
      ...unchecked.map((host) => `${host} is not checked`),
      ...unseen.map((host) => `${host} is checked, but not seen`),
    ].map((fault) => `Sidecar ${name}: ${fault}`);
  });
}

function wrongWorkloads(all: Objects): string[] {
  const names = all.deployments.map(({ name }) => name);
  const templates = all.deployments.map(({ spec }) => spec.template);
  const selects = (labels: Readonly<Record<string, string>>): boolean =>
    templates.some((template) => within(labels, template.metadata.labels));
  return [
    ...all.services
      .filter(({ spec }) => !selects(spec.selector))
      .map(({ name }) => `Service ${name} has no pods`),
    ...all.budgets
      .filter(({ spec }) => !selects(spec.selector.matchLabels))
      .map(({ name }) => `PodDisruptionBudget ${name} has no pods`),
    ...all.scalers
      .filter(({ spec }) => !names.includes(spec.scaleTargetRef.name))
      .map(({ name }) => `HorizontalPodAutoscaler ${name} has no Deployment`),
    ...all.deployments
      .filter(({ spec }) => !all.accounts.includes(spec.template.spec.serviceAccountName))
      .map(({ name }) => `Deployment ${name} has no ServiceAccount`),
    ...all.deployments
      .filter(({ spec }) => !within(spec.selector.matchLabels, spec.template.metadata.labels))
      .map(({ name }) => `Deployment ${name} does not select its own pods`),
  ];
}

/**
 * Returns the objects whose names or labels the API server rejects.
 * Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
 */
function wrongNames(objects: readonly KubernetesObject[]): string[] {
  return objects.flatMap(({ kind, metadata: { name, labels } }) => {
    const limit = ["Service", "Namespace"].includes(kind) ? 63 : 253;
    const pattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
    const values = Object.values((labels ?? {}) as Readonly<Record<string, string>>);
    const bad = values.filter((value) => !/^(|[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)$/.test(value));
    return [
      ...(name.length > limit || !pattern.test(name) ? [`${kind} ${name}: no name`] : []),
      ...bad.map((value) => `${kind} ${name}: label ${value}`),
    ];
  });
}

/**
 * Returns the broken references between the objects of a stack.
 * @param host the DNS name of a Service of the stack
 */
export function brokenReferences(
  objects: readonly KubernetesObject[],
  host: (name: string) => string,
): string[] {
  const all = new Objects(objects, host);
  const checks = [lostRoutes, wrongChecks, wrongScopes, wrongWorkloads];
  return [...namesakes(objects), ...wrongNames(objects), ...checks.flatMap((check) => check(all))];
}
