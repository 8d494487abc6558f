import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { at, embedded, type Fields, fields, items, labels, number, picks, text, texts } from "./fields.ts";

type Labels = Readonly<Record<string, string>>;

/** Istio's root namespace. Policies in it apply to every namespace. */
const ROOT_NAMESPACE = "istio-system";

/** A controller of pods, such as a Deployment. */
export interface WorkloadManifest {
  readonly object: KubernetesObject;
  readonly namespace: string;
  /** Labels of the pods. */
  readonly labels: Labels;
  /** Annotations of the pods. */
  readonly annotations: Labels;
  /** Spec of the pods. */
  readonly pod: Fields;
  /**
   * The application's containers and init containers, with their paths. Istio's containers are left
   * out.
   */
  readonly containers: readonly { readonly path: string; readonly fields: Fields }[];
  /** Minimum number of pods. */
  readonly replicas: number;
}

export interface ServicePort {
  readonly path: string;
  readonly number: number;
  readonly name: string | undefined;
  readonly appProtocol: string | undefined;
  readonly targetPort: string;
  /** True if the port speaks Dubbo's Triple protocol. */
  readonly dubbo: boolean;
}

/** A Service, as the rules read it. */
export interface ServiceManifest {
  readonly object: KubernetesObject;
  /** Namespace and name, joined by a slash. */
  readonly key: string;
  readonly namespace: string;
  readonly selector: Labels;
  readonly ports: readonly ServicePort[];
}

/** One of a Service's clusters in the callers' Envoys. */
export interface Cluster {
  /** Namespace and name of the Service, joined by a slash. */
  readonly key: string;
  /** Port of the Service; undefined if unknown. */
  readonly port: number | undefined;
  /** Name of the subset; empty for all pods. */
  readonly subset: string;
  /**
   * True if calls flow through it. False if routes name it only without a weight, ready to receive
   * one.
   */
  readonly calls: boolean;
}

/** A destination of a route. */
export interface Destination {
  readonly path: string;
  readonly host: string;
  /** Namespace and name of the Service behind `host`; undefined if `host` is not a Service. */
  readonly key: string | undefined;
  readonly port: number | undefined;
  readonly subset: string;
  /** Share of the calls in percent; undefined if not set. */
  readonly weight: number | undefined;
}

/** A route of a VirtualService. */
export interface Route {
  readonly object: KubernetesObject;
  readonly path: string;
  readonly fields: Fields;
  readonly destinations: readonly Destination[];
}

/** A patch of an EnvoyFilter that gives clusters a health check. */
export interface CheckPatch {
  readonly object: KubernetesObject;
  readonly path: string;
  readonly match: Fields;
  readonly operation: string | undefined;
  /** The value that Istio merges into the cluster. */
  readonly value: Fields;
  /** The health checks in `value`, with their paths. */
  readonly checks: readonly { readonly path: string; readonly fields: Fields }[];
}

/** A caller: a workload, or an EnvoyFilter whose pods are not among the objects. */
export interface CallerManifest {
  readonly object: KubernetesObject;
  readonly namespace: string;
  readonly labels: Labels;
  readonly workload: WorkloadManifest | undefined;
}

/** All objects, read once, in the form that the rules need. */
export interface ManifestMesh {
  readonly objects: readonly KubernetesObject[];
  readonly workloads: readonly WorkloadManifest[];
  readonly services: readonly ServiceManifest[];
  readonly routes: readonly Route[];
  readonly checks: readonly CheckPatch[];
  /** Clusters that routes name, by namespace and name of the called Service. */
  readonly routed: ReadonlyMap<string, readonly Cluster[]>;
  /** Images that are built later and then referred to by digest. */
  readonly built: readonly string[];
}

/** Returns an object's namespace. The default is `default`, as in kubectl. */
export function namespaceOf({ metadata }: KubernetesObject): string {
  return metadata.namespace ?? "default";
}

/** Returns the objects of a kind. */
export function ofKind(mesh: Pick<ManifestMesh, "objects">, kind: string): readonly KubernetesObject[] {
  return mesh.objects.filter((object) => object.kind === kind);
}

/**
 * Returns namespace and name of the Service that `host` names in an object of `namespace`. Istio
 * completes a name without a dot by the object's namespace. It uses all other names unchanged.
 * Source: Istio's pilot/pkg/model, ResolveShortnameToFQDN.
 */
export function serviceKey(host: string, namespace: string): string | undefined {
  if (host !== "" && !host.includes(".") && !host.includes("*")) return `${namespace}/${host}`;
  const [, name, own] = /^([^.*]+)\.([^.*]+)\.svc\..+$/.exec(host) ?? [];
  return name === undefined || own === undefined ? undefined : `${own}/${name}`;
}

const WORKLOADS = ["Deployment", "StatefulSet", "DaemonSet"];

const INJECTED = ["istio-proxy", "istio-init", "istio-validation"];

function containersOf(spec: Fields): WorkloadManifest["containers"] {
  return ["containers", "initContainers"].flatMap((list) =>
    items(spec[list]).flatMap((container, index) =>
      INJECTED.includes(text(at(container, "name")) ?? "")
        ? []
        : [{ path: `spec.template.spec.${list}[${index}]`, fields: fields(container) }],
    ),
  );
}

/** Returns the minimum number of pods. An autoscaler's lower bound overrides the replicas. */
function replicasOf(object: KubernetesObject, objects: readonly KubernetesObject[]): number {
  const scaler = objects.find(
    (each) =>
      each.kind === "HorizontalPodAutoscaler" &&
      namespaceOf(each) === namespaceOf(object) &&
      at(each, "spec", "scaleTargetRef", "kind") === object.kind &&
      at(each, "spec", "scaleTargetRef", "name") === object.metadata.name,
  );
  return number(at(scaler ?? object, "spec", scaler ? "minReplicas" : "replicas")) ?? 1;
}

function workloadOf(object: KubernetesObject, objects: readonly KubernetesObject[]): WorkloadManifest {
  const template = at(object, "spec", "template");
  const pod = fields(at(template, "spec"));
  return {
    object,
    namespace: namespaceOf(object),
    labels: labels(at(template, "metadata", "labels")),
    annotations: labels(at(template, "metadata", "annotations")),
    pod,
    containers: containersOf(pod),
    replicas: replicasOf(object, objects),
  };
}

const DUBBO_NAME = /(^|-)(grpc|tri|triple|dubbo)(-|$)/;
/** Default ports of Dubbo and Triple. Source: the sample, 5; Dubbo's defaults. */
const DUBBO_PORTS = [20880, 50051, 50052];

/** Finds a container's port by the name or number that a Service or a probe uses. */
export function containerPort(workload: WorkloadManifest, target: string): Fields | undefined {
  return workload.containers
    .flatMap((container) => items(container.fields["ports"]).map(fields))
    .find((port) => text(port["name"]) === target || text(port["containerPort"]) === target);
}

/** Reports whether the Service selects the workload's pods. */
export function selects(
  { namespace, selector }: Pick<ServiceManifest, "namespace" | "selector">,
  pods: WorkloadManifest,
): boolean {
  return namespace === pods.namespace && Object.keys(selector).length > 0 && picks(selector, pods.labels);
}

function serviceOf(object: KubernetesObject, workloads: readonly WorkloadManifest[]): ServiceManifest {
  const namespace = namespaceOf(object);
  const selector = labels(at(object, "spec", "selector"));
  const pods = workloads.filter((workload) => selects({ namespace, selector }, workload));
  const ports = items(at(object, "spec", "ports")).map((port, index): ServicePort => {
    const name = text(at(port, "name"));
    const appProtocol = text(at(port, "appProtocol"));
    const exposed = number(at(port, "port")) ?? 0;
    const targetPort = text(at(port, "targetPort")) ?? String(exposed);
    const targets = pods.map((workload) => text(at(containerPort(workload, targetPort), "name")));
    const named = [name, targetPort, ...targets].some((each) => each !== undefined && DUBBO_NAME.test(each));
    const dubbo = named || appProtocol === "grpc" || DUBBO_PORTS.includes(exposed);
    return { path: `spec.ports[${index}]`, number: exposed, name, appProtocol, targetPort, dubbo };
  });
  return { object, key: `${namespace}/${object.metadata.name}`, namespace, selector, ports };
}

function destinationsOf(route: Fields, path: string, namespace: string): Destination[] {
  return items(route["route"]).map((each, index) => {
    const destination = at(each, "destination");
    const host = text(at(destination, "host")) ?? "";
    return {
      path: `${path}.route[${index}]`,
      host,
      key: serviceKey(host, namespace),
      port: number(at(destination, "port", "number")),
      subset: text(at(destination, "subset")) ?? "",
      weight: number(at(each, "weight")),
    };
  });
}

/** Reports whether a VirtualService applies to sidecars, not only to gateways. */
function isForMesh(object: KubernetesObject): boolean {
  const gateways = texts(at(object, "spec", "gateways"));
  return gateways.length === 0 || gateways.includes("mesh");
}

function routesOf(object: KubernetesObject): Route[] {
  return items(at(object, "spec", "http")).map((route, index) => {
    const path = `spec.http[${index}]`;
    const own = fields(route);
    return { object, path, fields: own, destinations: destinationsOf(own, path, namespaceOf(object)) };
  });
}

const MERGES = ["MERGE", "MERGE_AND_REPLACE_LIST"];

function checksOf(object: KubernetesObject): CheckPatch[] {
  return items(at(object, "spec", "configPatches")).flatMap((patch, index) => {
    const value = fields(at(patch, "patch", "value"));
    const operation = text(at(patch, "patch", "operation"));
    const path = `spec.configPatches[${index}]`;
    const checks = items(value["health_checks"]).map((check, each) => ({
      path: `${path}.patch.value.health_checks[${each}]`,
      fields: fields(check),
    }));
    if (at(patch, "applyTo") !== "CLUSTER" || checks.length === 0 || !MERGES.includes(operation ?? ""))
      return [];
    return [{ object, path, match: fields(at(patch, "match")), operation, value, checks }];
  });
}

/** Cluster properties that a patch matches. An undefined property matches any value. */
export interface PatchTarget {
  /** Namespace and name; empty if the match names a Service that Istio cannot know. */
  readonly key: string | undefined;
  readonly port: number | undefined;
  readonly subset: string | undefined;
}

/**
 * Returns the key of a full host name, or empty text for a short name. Istio compares `service` and
 * `name` literally, so a short name matches nothing.
 * Source: Istio's cluster_patch.go.
 */
function fullKey(host: string): string {
  return host.includes(".") ? (serviceKey(host, "") ?? "") : "";
}

/**
 * Returns the target of a patch's match. If the match has a `name`, Istio ignores its other fields.
 */
export function targetOf({ match }: Pick<CheckPatch, "match">): PatchTarget {
  const cluster = fields(match["cluster"]);
  const name = text(cluster["name"]);
  if (name !== undefined) {
    const [direction, port, subset, host = ""] = name.split("|");
    const key = direction === "outbound" ? fullKey(host) : "";
    return { key, port: number(port), subset: subset ?? "" };
  }
  const service = text(cluster["service"]);
  return {
    key: service === undefined ? undefined : fullKey(service),
    port: number(cluster["portNumber"]),
    subset: text(cluster["subset"]),
  };
}

const OUTBOUND = ["ANY", "SIDECAR_OUTBOUND"];

/** Reports whether the patch changes the cluster in a caller's Envoy. */
export function hits(patch: CheckPatch, cluster: Cluster): boolean {
  const { key, port, subset } = targetOf(patch);
  return (
    OUTBOUND.includes(text(patch.match["context"]) ?? "ANY") &&
    (key === undefined || key === cluster.key) &&
    (port === undefined || cluster.port === undefined || port === cluster.port) &&
    (subset === undefined || subset === cluster.subset)
  );
}

/**
 * Reports whether an Istio object with a label selector applies to pods with these labels. The
 * object must be in the pods' namespace or in the root namespace.
 */
export function appliesTo(
  object: KubernetesObject,
  selector: unknown,
  pods: { readonly namespace: string; readonly labels: Labels },
): boolean {
  const namespace = namespaceOf(object);
  return (
    [pods.namespace, ROOT_NAMESPACE].includes(namespace) &&
    at(object, "spec", "targetRefs") === undefined &&
    at(object, "spec", "targetRef") === undefined &&
    picks(labels(selector), pods.labels)
  );
}

/** Reports whether an EnvoyFilter or a Sidecar applies to these pods. */
export function filterAppliesTo(
  object: KubernetesObject,
  pods: Pick<CallerManifest, "namespace" | "labels">,
): boolean {
  return appliesTo(object, at(object, "spec", "workloadSelector", "labels"), pods);
}

/** Returns the keys of the Services that a Sidecar names one by one. */
function egressKeys(sidecar: KubernetesObject): string[] {
  return items(at(sidecar, "spec", "egress"))
    .flatMap((egress) => texts(at(egress, "hosts")))
    .flatMap((host) => serviceKey(host.slice(host.indexOf("/") + 1), namespaceOf(sidecar)) ?? []);
}

/**
 * Reports whether a Sidecar limits the callees of its pods. Hosts for the whole namespace or mesh
 * set no limit.
 */
export function isBounded(sidecar: KubernetesObject): boolean {
  const egress = items(at(sidecar, "spec", "egress"));
  const hosts = egress.flatMap((each) => texts(at(each, "hosts")));
  return egress.length > 0 && !hosts.some((host) => ["*/*", "./*"].includes(host));
}

/**
 * Returns the keys of the Services that have callers. These are the ones that traffic rules,
 * Sidecars or health checks name.
 * A Sidecar may name anything in another namespace, such as a trace collector. Such a host counts
 * only if its Service is among the objects, which tells its protocol.
 */
function calledKeys({
  objects,
  checks,
  services,
}: Pick<ManifestMesh, "objects" | "checks" | "services">): Set<string> {
  const known = new Set(services.map(({ key }) => key));
  const hosts = objects.flatMap((object): readonly (string | undefined)[] => {
    const key = (host: string): string | undefined => serviceKey(host, namespaceOf(object));
    if (object.kind === "VirtualService" && isForMesh(object))
      return texts(at(object, "spec", "hosts")).map(key);
    if (object.kind === "DestinationRule") return [key(text(at(object, "spec", "host")) ?? "")];
    if (object.kind !== "Sidecar") return [];
    const own = `${namespaceOf(object)}/`;
    return egressKeys(object).filter((each) => known.has(each) || each.startsWith(own));
  });
  return new Set([...hosts, ...checks.map((patch) => targetOf(patch).key)].flatMap((key) => key ?? []));
}

/**
 * Reports whether a destination gets calls. One of several destinations without a weight gets none.
 */
export function carriesCalls({ weight }: Destination, route: Route): boolean {
  return route.destinations.length === 1 || (weight ?? 0) > 0;
}

type Draft = Omit<ManifestMesh, "routed">;

/** Returns the clusters of a called Service that its routes name. */
function routedBy(key: string, mesh: Draft): Cluster[] {
  const routes = mesh.routes.filter(
    ({ object }) =>
      isForMesh(object) &&
      texts(at(object, "spec", "hosts")).some((host) => serviceKey(host, namespaceOf(object)) === key),
  );
  const ways = routes.flatMap((route) =>
    route.destinations.map((destination) => ({ ...destination, calls: carriesCalls(destination, route) })),
  );
  const plain = { key, port: undefined, subset: "", calls: true };
  const clusters = (routes.length === 0 ? [plain] : ways).flatMap((way): Cluster[] => {
    const { key: own, subset, calls } = way;
    if (own === undefined) return [];
    const service = mesh.services.find((each) => each.key === own);
    const ports = service?.ports.filter((port) => port.dubbo).map((port) => port.number) ?? [way.port];
    return ports
      .filter((port) => way.port === undefined || port === way.port)
      .map((port) => ({ key: own, port, subset, calls }));
  });
  // A cluster carries calls if any route gives it calls, so those entries come last and win.
  const sorted = [...clusters].sort((one, other) => Number(one.calls) - Number(other.calls));
  return [
    ...new Map(sorted.map((each) => [JSON.stringify([each.key, each.port, each.subset]), each])).values(),
  ];
}

/**
 * Reports whether a Service may exist. If the objects include Services of its namespace, it must be
 * one of them.
 */
function mayExist(services: readonly ServiceManifest[], key: string): boolean {
  const [namespace] = key.split("/");
  const own = services.filter((service) => service.namespace === namespace);
  return key !== "" && (own.length === 0 || own.some((service) => service.key === key));
}

/** Reads a set of objects into a mesh. */
export function meshOf(objects: readonly KubernetesObject[], built: readonly string[]): ManifestMesh {
  const workloads = objects
    .filter(({ kind }) => WORKLOADS.includes(kind))
    .map((object) => workloadOf(object, objects));
  const services = objects
    .filter(({ kind }) => kind === "Service")
    .map((object) => serviceOf(object, workloads));
  const routes = objects.filter(({ kind }) => kind === "VirtualService").flatMap(routesOf);
  const checks = objects.filter(({ kind }) => kind === "EnvoyFilter").flatMap(checksOf);
  const draft = { objects, workloads, services, routes, checks, built };
  const called = [...calledKeys(draft)].filter((key) => mayExist(services, key));
  return { ...draft, routed: new Map(called.map((key) => [key, routedBy(key, draft)])) };
}

/**
 * Reports whether a route's Service speaks Dubbo. A Service that is not among the objects counts as
 * Dubbo.
 */
export function isDubboRoute(mesh: ManifestMesh, route: Route): boolean {
  return route.destinations.some(({ key }) => {
    const service = mesh.services.find((each) => each.key === key);
    return service === undefined ? key !== undefined : service.ports.some(({ dubbo }) => dubbo);
  });
}

/** Returns the DestinationRules of a Service. */
export function destinationRules(mesh: ManifestMesh, key: string): readonly KubernetesObject[] {
  return ofKind(mesh, "DestinationRule").filter(
    (object) => serviceKey(text(at(object, "spec", "host")) ?? "", namespaceOf(object)) === key,
  );
}

/** Finds a DestinationRule's subset by name. */
export function subsetOf(rule: KubernetesObject, name: string): Fields | undefined {
  return items(at(rule, "spec", "subsets"))
    .map(fields)
    .find((subset) => text(subset["name"]) === name);
}

/** Returns the pods to which an EnvoyFilter applies, or the EnvoyFilter if the pods are unknown. */
function callersOfFilter(mesh: ManifestMesh, filter: KubernetesObject): CallerManifest[] {
  const pods = mesh.workloads.filter((workload) => filterAppliesTo(filter, workload));
  if (pods.length > 0) return pods.map((workload) => ({ ...workload, workload }));
  const selector = labels(at(filter, "spec", "workloadSelector", "labels"));
  return [{ object: filter, namespace: namespaceOf(filter), labels: selector, workload: undefined }];
}

/**
 * Returns the callers of a Service: workloads whose Sidecar names it, and those whose Envoys check
 * it.
 */
export function callersOf(mesh: ManifestMesh, key: string): readonly CallerManifest[] {
  const scoped = ofKind(mesh, "Sidecar")
    .filter((sidecar) => egressKeys(sidecar).includes(key))
    .flatMap((sidecar) => mesh.workloads.filter((workload) => filterAppliesTo(sidecar, workload)))
    .map((workload): CallerManifest => ({ ...workload, workload }));
  const checking = mesh.checks
    .filter((patch) => [key, undefined].includes(targetOf(patch).key))
    .flatMap((patch) => callersOfFilter(mesh, patch.object));
  return [...new Map([...scoped, ...checking].map((caller) => [caller.object, caller])).values()];
}

/** Returns the called Dubbo Services that select the workload's pods. */
export function calledServices(mesh: ManifestMesh, workload: WorkloadManifest): readonly ServiceManifest[] {
  const destinations = new Set([...mesh.routed.values()].flat().map(({ key }) => key));
  return mesh.services.filter(
    (service) =>
      destinations.has(service.key) && service.ports.some(({ dubbo }) => dubbo) && selects(service, workload),
  );
}

/**
 * Returns a workload's proxy settings.
 * Source: https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
 */
export function proxyConfig({ annotations }: WorkloadManifest): Fields {
  return embedded(annotations["proxy.istio.io/config"]);
}
