import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { at, labels, type Labels, picks, text } from "./fields.ts";
import {
  isOutside,
  type ManifestMesh,
  namespaceOf,
  ofKind,
  podsOf,
  portNumber,
  ROOT_NAMESPACE,
  type ServiceManifest,
  type WorkloadManifest,
} from "./mesh.ts";
import { fault, type Fault, type Rule, titleOf, unique } from "./rule.ts";

/** Mode of mTLS, and the place that sets it. */
type MtlsMode = ReturnType<typeof modeAt>[number];

function modeAt(object: KubernetesObject, ...keys: readonly string[]) {
  const mode = text(at(object, "spec", ...keys, "mode")) ?? "UNSET";
  return mode === "UNSET" ? [] : [{ mode, object, path: `spec.${keys.join(".")}.mode` }];
}

function selectorOf(policy: KubernetesObject): Labels {
  return labels(at(policy, "spec", "selector", "matchLabels"));
}

function isForAll(policy: KubernetesObject): boolean {
  return Object.keys(selectorOf(policy)).length === 0;
}

/**
 * Returns the mode of mTLS that PeerAuthentications set for a port of pods: the port's, else the
 * policy's, the namespace's or the mesh's. UNSET inherits. Returns undefined if none sets it, or if
 * two of one rank do, of which the older one wins.
 * Source: Istio's pilot/pkg/security/authn, ComposePeerAuthentication.
 */
export function mtlsMode(mesh: ManifestMesh, pods: WorkloadManifest, port: number): MtlsMode | undefined {
  const policies = ofKind(mesh, "PeerAuthentication");
  const isOwn = (policy: KubernetesObject): boolean =>
    namespaceOf(policy) === pods.namespace && pods.namespace !== ROOT_NAMESPACE;
  const ranks = [
    policies.filter((each) => isOwn(each) && !isForAll(each) && picks(selectorOf(each), pods.labels)),
    policies.filter((each) => isOwn(each) && isForAll(each)),
    policies.filter((each) => namespaceOf(each) === ROOT_NAMESPACE && isForAll(each)),
  ];
  if (ranks.some((rank) => rank.length > 1) || isOutside(mesh, pods)) return undefined;
  const [own = []] = ranks;
  return [
    ...own.flatMap((policy) => modeAt(policy, "portLevelMtls", String(port))),
    ...ranks.flat().flatMap((policy) => modeAt(policy, "mtls")),
  ][0];
}

/** Returns the modes that are set for a Service's pods on the targets of its ports. */
export function modesOf(
  mesh: ManifestMesh,
  service: ServiceManifest | undefined,
  ports: ServiceManifest["ports"],
): MtlsMode[] {
  return podsOf(mesh, service).flatMap((pods) =>
    ports.flatMap(({ target }) => {
      const port = portNumber(pods, target);
      return port === undefined ? [] : (mtlsMode(mesh, pods, port) ?? []);
    }),
  );
}

function plaintextPorts(mesh: ManifestMesh): Fault[] {
  const weak = [...mesh.services.values()]
    .map((service) => ({ service, ports: service.ports.filter(({ triple }) => triple) }))
    .flatMap(({ service, ports }) => modesOf(mesh, service, ports))
    .filter(({ mode }) => mode !== "STRICT");
  return unique(
    weak.map(({ mode, ...place }) => ({ ...place, message: `is ${mode}: a Triple port takes plaintext` })),
  );
}

function unheardPolicies(mesh: ManifestMesh): Fault[] {
  return ofKind(mesh, "PeerAuthentication")
    .filter((policy) => namespaceOf(policy) === ROOT_NAMESPACE && !isForAll(policy))
    .flatMap((policy) => {
      const meant = mesh.workloads.filter((pods) => picks(selectorOf(policy), pods.labels));
      const message = `is ignored: it selects no pods of ${meant.map(({ object }) => titleOf(object)).join(", ")}`;
      const wrong = meant.length > 0 && meant.every(({ namespace }) => namespace !== ROOT_NAMESPACE);
      return fault(policy, "spec.selector", wrong ? message : undefined);
    });
}

const PROBES = ["livenessProbe", "readinessProbe", "startupProbe"];
const REWRITE = "sidecar.istio.io/rewriteAppHTTPProbers";
const EXCLUDED = "traffic.sidecar.istio.io/excludeInboundPorts";
const INCLUDED = "traffic.sidecar.istio.io/includeInboundPorts";

/** Returns the port numbers that the kubelet asks by HTTP or gRPC. A TCP probe needs no answer. */
function probePorts(pods: WorkloadManifest): number[] {
  return pods.containers.flatMap((container) =>
    PROBES.flatMap((probe) => {
      const port = at(container, probe, "httpGet", "port") ?? at(container, probe, "grpc", "port");
      return portNumber(pods, text(port) ?? "") ?? [];
    }),
  );
}

/** Reports whether the sidecar intercepts the connections to a port. */
function isIntercepted({ annotations }: WorkloadManifest, port: number): boolean {
  const lists = (key: string, ...wanted: readonly string[]): boolean | undefined =>
    annotations[key]?.split(",").some((each) => wanted.includes(each.trim()));
  return !lists(EXCLUDED, String(port)) && lists(INCLUDED, "*", String(port)) !== false;
}

function refusedProbes(mesh: ManifestMesh): Fault[] {
  const message = "the kubelet asks in plaintext, which STRICT mTLS resets: the pods never become ready";
  return mesh.workloads
    .filter(({ annotations }) => annotations[REWRITE] === "false")
    .flatMap((pods) => {
      const ports = probePorts(pods).filter((port) => isIntercepted(pods, port));
      const refused = ports.some((port) => mtlsMode(mesh, pods, port)?.mode === "STRICT");
      const path = `spec.template.metadata.annotations["${REWRITE}"]`;
      return fault(pods.object, path, refused ? message : undefined);
    });
}

const PEER_AUTHENTICATION = "https://istio.io/latest/docs/reference/config/security/peer_authentication/";

/** Rules for mTLS. */
export const MTLS_RULES: readonly Rule[] = [
  {
    id: "mtls-strict",
    severity: "error",
    text: "No policy lets plaintext in at a Triple port.",
    fix: "Set mode: STRICT for the port, or UNSET where the namespace or the mesh is STRICT.",
    source: PEER_AUTHENTICATION,
    faults: plaintextPorts,
  },
  {
    id: "mtls-policy-applies",
    severity: "error",
    text: "A PeerAuthentication with a selector is in the namespace of its pods.",
    fix: "Move it to the namespace of the pods: Istio ignores a selector in the root namespace.",
    source: PEER_AUTHENTICATION,
    faults: unheardPolicies,
  },
  {
    id: "probes-survive-mtls",
    severity: "error",
    text: "Probes over HTTP and gRPC are answered under STRICT mTLS.",
    fix: `Take the annotation ${REWRITE} away: Istio then has its agent ask the application.`,
    source: "https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/; istio/istio#26737",
    faults: refusedProbes,
  },
];
