import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { at, embedded, type Fields, fields, items, labels, number, picks, text, texts } from "./fields.ts";

type Labels = Readonly<Record<string, string>>;

/** Istio's root namespace: policies in it hold for every namespace. */
const ROOT_NAMESPACE = "istio-system";

/** Pods that a controller keeps running. */
export interface Workload {
  readonly object: KubernetesObject;
  readonly namespace: string;
  /** Labels of the pods. */
  readonly labels: Labels;
  /** Annotations of the pods. */
  readonly annotations: Labels;
  /** Spec of the pods. */
  readonly pod: Fields;
  /** The application's containers, those that run first among them, with their paths: not Istio's own. */
  readonly containers: readonly { readonly path: string; readonly fields: Fields }[];
  /** Pods that run at least. */
  readonly replicas: number;
}

/** A Service's port. */
export interface ServicePort {
  readonly path: string;
  readonly number: number;
  readonly name: string | undefined;
  readonly appProtocol: string | undefined;
  readonly targetPort: string;
  /** Whether Dubbo's Triple is spoken on it. */
  readonly dubbo: boolean;
}

/** A Service. */
export interface Service {
  readonly object: KubernetesObject;
  /** Its namespace and name, joined by a slash. */
  readonly key: string;
  readonly namespace: string;
  readonly selector: Labels;
  readonly ports: readonly ServicePort[];
}

/** One of a Service's clusters in the callers' Envoys. */
export interface Cluster {
  /** Its Service's namespace and name; `host` where the Service is unknown. */
  readonly key: string;
  /** Its port; undefined where it is unknown. */
  readonly port: number | undefined;
  /** Its subset; empty for all pods. */
  readonly subset: string;
  /** Whether calls flow through it; no, where a route names it without weight, ready to be given some. */
  readonly calls: boolean;
}

/** A destination of a route. */
export interface Destination {
  readonly path: string;
  readonly host: string;
  /** Namespace and name of the Service that it names; undefined where it names none. */
  readonly key: string | undefined;
  readonly port: number | undefined;
  readonly subset: string;
  /** Share of the calls; undefined where it is not said. */
  readonly weight: number | undefined;
}

/** A route of a VirtualService. */
export interface Route {
  readonly object: KubernetesObject;
  readonly path: string;
  readonly fields: Fields;
  readonly destinations: readonly Destination[];
}

/** An EnvoyFilter's patch that gives clusters a health check. */
export interface CheckPatch {
  readonly object: KubernetesObject;
  readonly path: string;
  /** The patch's match. */
  readonly match: Fields;
  readonly operation: string | undefined;
  /** What is merged into the cluster. */
  readonly value: Fields;
  /** The health checks among it, with their paths. */
  readonly checks: readonly { readonly path: string; readonly fields: Fields }[];
}

/** A caller: pods, or an EnvoyFilter whose pods are not among the objects. */
export interface Caller {
  readonly object: KubernetesObject;
  readonly namespace: string;
  readonly labels: Labels;
  readonly workload: Workload | undefined;
}

/** All objects, read once, as the rules ask for them. */
export interface Mesh {
  readonly objects: readonly KubernetesObject[];
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly routes: readonly Route[];
  readonly checks: readonly CheckPatch[];
  /** The clusters that routes name, by namespace and name of the Service that is called. */
  readonly routed: ReadonlyMap<string, readonly Cluster[]>;
  /** Images that are built and then referred to by digest. */
  readonly built: readonly string[];
}

/** An object's namespace; kubectl's own default where it names none. */
export function namespaceOf({ metadata }: KubernetesObject): string {
  return metadata.namespace ?? "default";
}

/** The objects of a kind. */
export function ofKind(mesh: Pick<Mesh, "objects">, kind: string): readonly KubernetesObject[] {
  return mesh.objects.filter((object) => object.kind === kind);
}

/**
 * Namespace and name of the Service that `host` names in an object of `namespace`, as Istio resolves it: a name without a dot is one of
 * the object's own namespace, all others are taken as they are. Source: Istio's pilot/pkg/model, ResolveShortnameToFQDN.
 */
export function serviceKey(host: string, namespace: string): string | undefined {
  if (host !== "" && !host.includes(".") && !host.includes("*")) return `${namespace}/${host}`;
  const [, name, own] = /^([^.*]+)\.([^.*]+)\.svc\..+$/.exec(host) ?? [];
  return name === undefined || own === undefined ? undefined : `${own}/${name}`;
}

const WORKLOADS = ["Deployment", "StatefulSet", "DaemonSet"];

const INJECTED = ["istio-proxy", "istio-init", "istio-validation"];

function containersOf(spec: Fields): Workload["containers"] {
  return ["containers", "initContainers"].flatMap((list) =>
    items(spec[list]).flatMap((container, index) =>
      INJECTED.includes(text(at(container, "name")) ?? "")
        ? []
        : [{ path: `spec.template.spec.${list}[${index}]`, fields: fields(container) }],
    ),
  );
}

/** Pods that run at least: an autoscaler's lower bound takes the place of the replicas. */
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

function workloadOf(object: KubernetesObject, objects: readonly KubernetesObject[]): Workload {
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
/** Ports of Dubbo and Triple. Source: the seed, 5; Dubbo's defaults. */
const DUBBO_PORTS = [20880, 50051, 50052];

/** A container's port by the name or number that a Service or a probe has for it. */
export function containerPort(workload: Workload, target: string): Fields | undefined {
  return workload.containers
    .flatMap((container) => items(container.fields["ports"]).map(fields))
    .find((port) => text(port["name"]) === target || text(port["containerPort"]) === target);
}

/** Whether the Service selects the workload's pods. */
export function selects(
  { namespace, selector }: Pick<Service, "namespace" | "selector">,
  pods: Workload,
): boolean {
  return namespace === pods.namespace && Object.keys(selector).length > 0 && picks(selector, pods.labels);
}

function serviceOf(object: KubernetesObject, workloads: readonly Workload[]): Service {
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

/** Whether a VirtualService is for the sidecars, not for gateways alone. */
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

/** What a patch's match names: a cluster's Service, port and subset; undefined where it leaves them open. */
export interface Target {
  /** Namespace and name; empty where the match names a Service that Istio cannot know. */
  readonly key: string | undefined;
  readonly port: number | undefined;
  readonly subset: string | undefined;
}

/** `service` and `name` are compared as they stand: a short name hits nothing. Source: Istio's cluster_patch.go. */
function fullKey(host: string): string {
  return host.includes(".") ? (serviceKey(host, "") ?? "") : "";
}

/** What a patch's match names. A `name` makes Istio look at nothing else. */
export function targetOf({ match }: Pick<CheckPatch, "match">): Target {
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

/** Whether the patch changes the cluster in a caller's Envoy. */
export function hits(patch: CheckPatch, cluster: Cluster): boolean {
  const { key, port, subset } = targetOf(patch);
  return (
    OUTBOUND.includes(text(patch.match["context"]) ?? "ANY") &&
    (key === undefined || key === cluster.key) &&
    (port === undefined || cluster.port === undefined || port === cluster.port) &&
    (subset === undefined || subset === cluster.subset)
  );
}

/** Whether an Istio object with a label selector (of `namespace`, or of the mesh) holds for pods with these labels. */
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

/** Whether an EnvoyFilter holds for these pods. */
export function filterAppliesTo(
  object: KubernetesObject,
  pods: Pick<Caller, "namespace" | "labels">,
): boolean {
  return appliesTo(object, at(object, "spec", "workloadSelector", "labels"), pods);
}

/** The Services that a Sidecar names one by one. */
function egressKeys(sidecar: KubernetesObject): string[] {
  return items(at(sidecar, "spec", "egress"))
    .flatMap((egress) => texts(at(egress, "hosts")))
    .flatMap((host) => serviceKey(host.slice(host.indexOf("/") + 1), namespaceOf(sidecar)) ?? []);
}

/** Whether a Sidecar names what its pods call; hosts that take in the whole namespace or mesh bound nothing. */
export function isBounded(sidecar: KubernetesObject): boolean {
  const egress = items(at(sidecar, "spec", "egress"));
  const hosts = egress.flatMap((each) => texts(at(each, "hosts")));
  return egress.length > 0 && !hosts.some((host) => ["*/*", "./*"].includes(host));
}

/**
 * The Services that traffic rules, sidecars' scopes or health checks name: they are called. What a scope alone names in
 * another namespace may be anything, such as a collector of traces: it counts where its Service is among the objects, which tells what it speaks.
 */
function calledKeys({
  objects,
  checks,
  services,
}: Pick<Mesh, "objects" | "checks" | "services">): Set<string> {
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

/** Whether calls take the way to a destination: one of several without a weight gets none. */
export function carriesCalls({ weight }: Destination, route: Route): boolean {
  return route.destinations.length === 1 || (weight ?? 0) > 0;
}

type Draft = Omit<Mesh, "routed">;

/** The clusters of a called Service that its routes name. */
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
  // One that a route gives calls counts as such, whatever others do.
  const sorted = [...clusters].sort((one, other) => Number(one.calls) - Number(other.calls));
  return [
    ...new Map(sorted.map((each) => [JSON.stringify([each.key, each.port, each.subset]), each])).values(),
  ];
}

/** Whether there may be such a Service: where the objects hold Services of its namespace, it is one of them. */
function mayExist(services: readonly Service[], key: string): boolean {
  const [namespace] = key.split("/");
  const own = services.filter((service) => service.namespace === namespace);
  return key !== "" && (own.length === 0 || own.some((service) => service.key === key));
}

/** Reads a set of objects. */
export function meshOf(objects: readonly KubernetesObject[], built: readonly string[]): Mesh {
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

/** A route's Service speaks Dubbo, as far as the objects tell. */
export function isDubboRoute(mesh: Mesh, route: Route): boolean {
  return route.destinations.some(({ key }) => {
    const service = mesh.services.find((each) => each.key === key);
    return service === undefined ? key !== undefined : service.ports.some(({ dubbo }) => dubbo);
  });
}

/** The DestinationRules of a Service. */
export function destinationRules(mesh: Mesh, key: string): readonly KubernetesObject[] {
  return ofKind(mesh, "DestinationRule").filter(
    (object) => serviceKey(text(at(object, "spec", "host")) ?? "", namespaceOf(object)) === key,
  );
}

/** A DestinationRule's subset of this name. */
export function subsetOf(rule: KubernetesObject, name: string): Fields | undefined {
  return items(at(rule, "spec", "subsets"))
    .map(fields)
    .find((subset) => text(subset["name"]) === name);
}

/** Pods of a caller, or the EnvoyFilter that stands for them. */
function callersOfFilter(mesh: Mesh, filter: KubernetesObject): Caller[] {
  const pods = mesh.workloads.filter((workload) => filterAppliesTo(filter, workload));
  if (pods.length > 0) return pods.map((workload) => ({ ...workload, workload }));
  const selector = labels(at(filter, "spec", "workloadSelector", "labels"));
  return [{ object: filter, namespace: namespaceOf(filter), labels: selector, workload: undefined }];
}

/** Who calls a Service: those whose Sidecar names it, and those whose Envoys check it. */
export function callersOf(mesh: Mesh, key: string): readonly Caller[] {
  const scoped = ofKind(mesh, "Sidecar")
    .filter((sidecar) => egressKeys(sidecar).includes(key))
    .flatMap((sidecar) => mesh.workloads.filter((workload) => filterAppliesTo(sidecar, workload)))
    .map((workload): Caller => ({ ...workload, workload }));
  const checking = mesh.checks
    .filter((patch) => [key, undefined].includes(targetOf(patch).key))
    .flatMap((patch) => callersOfFilter(mesh, patch.object));
  return [...new Map([...scoped, ...checking].map((caller) => [caller.object, caller])).values()];
}

/** The Services that are called and whose pods these are. */
export function calledServices(mesh: Mesh, workload: Workload): readonly Service[] {
  const destinations = new Set([...mesh.routed.values()].flat().map(({ key }) => key));
  return mesh.services.filter(
    (service) =>
      destinations.has(service.key) && service.ports.some(({ dubbo }) => dubbo) && selects(service, workload),
  );
}

/** A workload's own settings of its proxy. Source: https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig */
export function proxyConfig({ annotations }: Workload): Fields {
  return embedded(annotations["proxy.istio.io/config"]);
}
