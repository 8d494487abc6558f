import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { at, type Fields, fields, items, labels, number, picks, text, texts } from "./fields.ts";

/** Istio's root namespace, where policies apply to every namespace. */
export const ROOT_NAMESPACE = "istio-system";

/** A controller of pods, such as a Deployment. */
export type WorkloadManifest = ReturnType<typeof workloadOf>;

/** A Service. Those of type ExternalName are left out. */
export type ServiceManifest = ReturnType<typeof serviceOf>;

/** A route of a VirtualService for HTTP. */
export type Route = ReturnType<typeof routesOf>[number];

/** A destination of a route. */
export type Destination = Route["destinations"][number];

/** An active health check that a patch of an EnvoyFilter gives to clusters. */
export type ManifestCheck = ReturnType<typeof checksOf>[number];

/** Selects outbound clusters of the callers' Envoys. An undefined property matches any value. */
interface Clusters {
  /** Key of the host, as `hostKey` returns it. */
  readonly key: string | undefined;
  readonly port: number | undefined;
  /** Name of the subset; empty for all pods. */
  readonly subset: string | undefined;
}

/** All objects, read once, in the form that the rules need. */
export interface ManifestMesh {
  readonly objects: readonly KubernetesObject[];
  readonly workloads: readonly WorkloadManifest[];
  /** Services by key. */
  readonly services: ReadonlyMap<string | undefined, ServiceManifest>;
  readonly routes: readonly Route[];
  readonly checks: readonly ManifestCheck[];
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
 * Returns the key of a host: namespace and name of a Service, else the host itself. Istio completes
 * a name without dots by `namespace`; where it compares names as they stand, give none.
 * Source: Istio's pilot/pkg/model, ResolveShortnameToFQDN.
 */
export function hostKey(host: string, namespace?: string): string {
  if (namespace !== undefined && /^[^.*]+$/.test(host)) return `${namespace}/${host}`;
  const [, name, own] = /^([^.*]+)\.([^.*]+)\.svc\..+$/.exec(host) ?? [];
  return name === undefined || own === undefined ? host : `${own}/${name}`;
}

/**
 * Finds the Service that a host means but does not name in full. Istio completes no name with dots,
 * and compares some names as they stand.
 */
export function meantService(
  mesh: ManifestMesh,
  host: string,
  namespace: string,
): ServiceManifest | undefined {
  const [name = "", space = namespace, svc = "svc", ...others] = host.split(".");
  const external = ofKind(mesh, "ServiceEntry").flatMap((entry) => texts(at(entry, "spec", "hosts")));
  if (svc !== "svc" || others.length > 0 || external.includes(host)) return undefined;
  return mesh.services.get(`${space}/${name}`);
}

const WORKLOADS = ["Deployment", "StatefulSet", "DaemonSet"];
const INJECTED = ["istio-proxy", "istio-init", "istio-validation"];

function workloadOf(object: KubernetesObject) {
  const template = at(object, "spec", "template");
  const pod = fields(at(template, "spec"));
  return {
    object,
    namespace: namespaceOf(object),
    /** Labels and annotations of the pods. */
    labels: labels(at(template, "metadata", "labels")),
    annotations: labels(at(template, "metadata", "annotations")),
    /** Spec of the pods. */
    pod,
    /** Containers and init containers, without those of Istio. */
    containers: [...items(pod["containers"]), ...items(pod["initContainers"])]
      .map(fields)
      .filter((container) => !INJECTED.includes(text(container["name"]) ?? "")),
  };
}

/** Words of port names and appProtocol. Source: Istio's pkg/config/protocol. */
const HTTP2 = ["grpc", "http2", "kubernetes.io/h2c"];
const HTTP = ["http", "kubernetes.io/ws"];
const TCP = ["tcp", "tls", "https", "kubernetes.io/wss", "mongo", "redis", "mysql"];

function protocolOf(said: string): "http2" | "http" | "tcp" | undefined {
  const [word = ""] = said.toLowerCase().split("-");
  if (HTTP2.includes(word)) return "http2";
  if (HTTP.includes(word)) return "http";
  return TCP.includes(word) ? "tcp" : undefined;
}

/** Names that say Triple, and names that say Dubbo, of whichever protocol. */
const TRIPLE_NAME = /(^|[-_.])tri(ple)?([-_.]|$)/i;
const DUBBO_NAME = /dubbo/i;

function portOf(port: unknown, path: string, pods: readonly WorkloadManifest[]) {
  const name = text(at(port, "name")) ?? "";
  const exposed = number(at(port, "port")) ?? 0;
  const target = text(at(port, "targetPort")) ?? String(exposed);
  const protocol = protocolOf(text(at(port, "appProtocol")) ?? name);
  const targets = pods.map((each) => text(containerPort(each, target)?.["name"]) ?? "");
  // The container's port may serve others than Triple, too.
  const names = protocol === "http" || protocol === "tcp" ? [name] : [name, target, ...targets];
  const said = (each: string): boolean =>
    TRIPLE_NAME.test(each) || (protocol === "http2" && DUBBO_NAME.test(each));
  return {
    path,
    number: exposed,
    /** Protocol that Istio assumes; undefined if it detects that of each connection. */
    protocol,
    /** Number or name of the container's port. */
    target,
    /** True if a name of the port says that it speaks Dubbo's Triple protocol. */
    triple: names.some(said),
  };
}

function serviceOf(object: KubernetesObject, workloads: readonly WorkloadManifest[]) {
  const pods = workloads.filter((workload) => selects(object, workload));
  return {
    object,
    /** Namespace and name, joined by a slash. */
    key: `${namespaceOf(object)}/${object.metadata.name}`,
    ports: items(at(object, "spec", "ports")).map((port, index) =>
      portOf(port, `spec.ports[${index}]`, pods),
    ),
  };
}

function containerPort({ containers }: WorkloadManifest, target: string): Fields | undefined {
  const ports = containers.flatMap((container) => items(container["ports"]).map(fields));
  return ports.find(({ name, containerPort: own }) => text(name) === target || text(own) === target);
}

/** Returns the number of a container's port, or undefined if no container has the name. */
export function portNumber(workload: WorkloadManifest, target: string): number | undefined {
  return number(target) ?? number(containerPort(workload, target)?.["containerPort"]);
}

function selects(service: KubernetesObject, pods: WorkloadManifest): boolean {
  const selector = labels(at(service, "spec", "selector"));
  const chosen = Object.keys(selector).length > 0 && picks(selector, pods.labels);
  return chosen && namespaceOf(service) === pods.namespace;
}

/** Reports whether pods are sure to have no sidecar. */
export function isOutside(mesh: ManifestMesh, { namespace, ...pods }: WorkloadManifest): boolean {
  const space = ofKind(mesh, "Namespace").find(({ metadata }) => metadata.name === namespace);
  const off = at(space, "metadata", "labels", "istio-injection") === "disabled";
  return off || [pods.labels, pods.annotations].some((each) => each["sidecar.istio.io/inject"] === "false");
}

/** Returns the workloads whose pods a Service selects. */
export function podsOf(mesh: ManifestMesh, service: ServiceManifest | undefined): WorkloadManifest[] {
  return mesh.workloads.filter((workload) => service !== undefined && selects(service.object, workload));
}

/** Returns a route's destinations. Weights are relative: any sum is right. */
function destinationsOf(route: unknown, path: string, namespace: string) {
  return items(at(route, "route")).map((each, index, all) => {
    const host = text(at(each, "destination", "host")) ?? "";
    return {
      path: `${path}.route[${index}].destination`,
      host,
      key: hostKey(host, namespace),
      port: number(at(each, "destination", "port", "number")),
      subset: text(at(each, "destination", "subset")) ?? "",
      /** False if it is one of several and has no weight. */
      calls: all.length === 1 || (number(at(each, "weight")) ?? 0) > 0,
    };
  });
}

function routesOf(object: KubernetesObject) {
  return items(at(object, "spec", "http")).map((route, index) => {
    const path = `spec.http[${index}]`;
    const destinations = destinationsOf(route, path, namespaceOf(object));
    return { object, path, fields: fields(route), destinations };
  });
}

/** Reports whether a VirtualService applies to sidecars, not only to gateways. */
export function isForMesh(object: KubernetesObject): boolean {
  const gateways = texts(at(object, "spec", "gateways"));
  return gateways.length === 0 || gateways.includes("mesh");
}

/** Returns the keys of the hosts of a VirtualService or a DestinationRule. */
export function hostKeys(object: KubernetesObject): string[] {
  const hosts = [text(at(object, "spec", "host")) ?? [], texts(at(object, "spec", "hosts"))].flat();
  return hosts.map((host) => hostKey(host, namespaceOf(object)));
}

/** Returns the VirtualServices that sidecars follow on calls of a host. */
export function virtualServicesFor(mesh: ManifestMesh, key: string): KubernetesObject[] {
  return ofKind(mesh, "VirtualService").filter((each) => isForMesh(each) && hostKeys(each).includes(key));
}

/**
 * Returns the clusters that a patch matches. If the match has a `name`, Istio ignores its other
 * fields; an empty field matches any value.
 * Source: Istio's cluster_patch.go.
 */
function targetOf(cluster: unknown): Clusters {
  const said = (field: string): string | undefined =>
    text(at(cluster, field))?.replace(/^0?$/, "") === "" ? undefined : text(at(cluster, field));
  const name = said("name");
  const [, port, subset = "", host = ""] = name?.split("|") ?? [];
  if (name !== undefined) return { key: hostKey(host), port: number(port), subset };
  const service = said("service");
  return {
    key: service === undefined ? undefined : hostKey(service),
    port: number(said("portNumber")),
    subset: said("subset"),
  };
}

/**
 * Returns the health checks of an EnvoyFilter. Leaves out inbound clusters, which lead to the pod's
 * own application.
 */
function checksOf(object: KubernetesObject, mesh: Omit<ManifestMesh, "checks">) {
  return items(at(object, "spec", "configPatches")).flatMap((patch, index) => {
    const path = `spec.configPatches[${index}]`;
    const value = fields(at(patch, "patch", "value"));
    const operation = text(at(patch, "patch", "operation")) ?? "";
    const context = text(at(patch, "match", "context")) ?? "ANY";
    if (at(patch, "applyTo") !== "CLUSTER" || !operation.startsWith("MERGE")) return [];
    if (context === "SIDECAR_INBOUND") return [];
    const target = targetOf(at(patch, "match", "cluster"));
    const service = mesh.services.get(target.key);
    return items(value["health_checks"]).map((check, each) => ({
      object,
      path: `${path}.patch.value.health_checks[${each}]`,
      fields: fields(check),
      /** The value that Istio merges into the clusters. */
      value,
      target,
      /** True if it is sure to change the clusters of the calls of sidecars. */
      outbound: context !== "GATEWAY" && !at(patch, "match", "proxy") && !at(object, "spec", "targetRefs"),
      /** MERGE appends to lists. */
      appends: operation === "MERGE",
      /** Service of the clusters; undefined if no object declares it. */
      service,
      /** Ports of the Service that the patch matches. */
      ports: service?.ports.filter((port) => [port.number, undefined].includes(target.port)) ?? [],
      /** Workloads to which the EnvoyFilter applies. */
      callers: workloadsOf(mesh, object),
    }));
  });
}

/** Reports whether checks or destinations have a cluster in common. */
export function overlap(one: Clusters, other: Clusters): boolean {
  return (["key", "port", "subset"] as const).every(
    (each) => one[each] === undefined || [one[each], undefined].includes(other[each]),
  );
}

/** Returns the DestinationRules of a host. */
export function destinationRules(mesh: ManifestMesh, key: string): KubernetesObject[] {
  return ofKind(mesh, "DestinationRule").filter((object) => hostKeys(object).includes(key));
}

/** Returns the subsets of a host. */
export function subsetsOf(mesh: ManifestMesh, key: string): Fields[] {
  return destinationRules(mesh, key).flatMap((rule) => items(at(rule, "spec", "subsets")).map(fields));
}

/** Reports whether an object of the root namespace or of that of the pods applies to them. */
export function appliesTo(object: KubernetesObject, selector: unknown, pods: WorkloadManifest): boolean {
  return (
    [pods.namespace, ROOT_NAMESPACE].includes(namespaceOf(object)) &&
    (at(object, "spec", "targetRefs") ?? at(object, "spec", "targetRef")) === undefined &&
    picks(labels(selector), pods.labels)
  );
}

/** Returns the workloads to which an EnvoyFilter or a Sidecar applies. */
function workloadsOf(mesh: Pick<ManifestMesh, "workloads">, object: KubernetesObject): WorkloadManifest[] {
  const selector = at(object, "spec", "workloadSelector", "labels");
  return mesh.workloads.filter((pods) => appliesTo(object, selector, pods));
}

/** Returns the hosts that a Sidecar lets its pods call, as namespaces and DNS names. */
export function egressHosts(sidecar: KubernetesObject): (readonly [string, string])[] {
  const hosts = items(at(sidecar, "spec", "egress")).flatMap((egress) => texts(at(egress, "hosts")));
  return hosts.map((host) => {
    const [namespace = "", name = ""] = host.split("/");
    return [namespace === "." ? namespaceOf(sidecar) : namespace, name];
  });
}

/** Reports whether Envoys are sure not to know a Service: each Sidecar of the pods omits it. */
export function hides(mesh: ManifestMesh, pods: WorkloadManifest, { object, key }: ServiceManifest): boolean {
  const omits = ([namespace, name]: readonly [string, string]): boolean =>
    !["*", namespaceOf(object)].includes(namespace) || (!name.startsWith("*") && hostKey(name) !== key);
  // A gateway has no container beside Istio's, and no Sidecar.
  const scopes = ofKind(mesh, "Sidecar")
    .filter((sidecar) => pods.containers.length > 0 && workloadsOf(mesh, sidecar).includes(pods))
    .map(egressHosts);
  return scopes.length > 0 && scopes.every((hosts) => hosts.length > 0 && hosts.every(omits));
}

/** Reads a set of objects into a mesh. */
export function meshOf(objects: readonly KubernetesObject[]): ManifestMesh {
  const workloads = objects.filter(({ kind }) => WORKLOADS.includes(kind)).map(workloadOf);
  const services = ofKind({ objects }, "Service")
    .filter((object) => at(object, "spec", "type") !== "ExternalName")
    .map((object) => serviceOf(object, workloads));
  const mesh = {
    objects,
    workloads,
    // Files may hold a Service several times, as alternatives: it has the ports of them all.
    services: new Map(
      services.map((service) => {
        const same = services.filter(({ key }) => key === service.key);
        return [service.key, { ...service, ports: same.flatMap(({ ports }) => ports) }];
      }),
    ),
    routes: ofKind({ objects }, "VirtualService").flatMap(routesOf),
  };
  return { ...mesh, checks: ofKind(mesh, "EnvoyFilter").flatMap((filter) => checksOf(filter, mesh)) };
}
