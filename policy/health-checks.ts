import { foreignAlpn, isPlaintext } from "../settings/health-check.ts";
import { at, durationSeconds, fields, number, texts } from "./fields.ts";
import {
  destinationRules,
  hides,
  isForMesh,
  type ManifestCheck,
  type ManifestMesh,
  meantService,
  namespaceOf,
  overlap,
  subsetsOf,
  virtualServicesFor,
} from "./mesh.ts";
import { modesOf } from "./mtls.ts";
import { fault, type Fault, type Rule, titleOf, unique } from "./rule.ts";
import { isUpgraded } from "./services.ts";

const HEALTH_CHECK = "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/health_check.proto";
const CLUSTER_PATCH = "Istio's pilot/pkg/networking/core/envoyfilter/cluster_patch.go";

/** Finds the checks for which `wrong` has a message. */
function checkFaults(
  wrong: (check: ManifestCheck, mesh: ManifestMesh) => string | undefined,
): (mesh: ManifestMesh) => Fault[] {
  return (mesh) => mesh.checks.flatMap((check) => fault(check.object, check.path, wrong(check, mesh)));
}

/** Reports whether the same Envoys have both checks, or answers `unknown` if no pods are known. */
function meet(one: ManifestCheck, other: ManifestCheck, unknown: boolean): boolean {
  const scope = ({ object }: ManifestCheck): string =>
    JSON.stringify([namespaceOf(object), { ...fields(object["spec"]), configPatches: undefined }]);
  if (scope(one) === scope(other)) return true;
  const known = one.callers.length > 0 && other.callers.length > 0;
  return known ? one.callers.some((pods) => other.callers.includes(pods)) : unknown;
}

/**
 * Finds clusters with calls that are not watched where others of the host are. It needs the host's
 * routes: one VirtualService that leaves none of them to another. A gateway's check is no fault.
 */
function uncheckedClusters(mesh: ManifestMesh): Fault[] {
  const outbound = mesh.checks.filter((check) => check.outbound);
  const atGateways = mesh.routes.filter(({ object }) => !isForMesh(object));
  const faults = outbound.flatMap((check) => {
    const { key = "", port } = check.target;
    const own = virtualServicesFor(mesh, key);
    const routes = mesh.routes.filter(({ object }) => own.includes(object));
    if (own.length > 1 || routes.some((route) => route.fields["delegate"] !== undefined)) return [];
    if (atGateways.some((route) => route.destinations.some((each) => overlap(each, check.target)))) return [];
    return routes
      .flatMap(({ destinations }) => destinations)
      .filter((cluster) => cluster.calls && overlap({ ...cluster, port }, cluster))
      .filter((cluster) => !outbound.some((each) => meet(check, each, true) && overlap(each.target, cluster)))
      .map(({ port: own, subset, host }) => ({
        object: check.object,
        message: `calls flow through outbound|${own ?? "*"}|${subset}|${host}, which no check of the same Envoy watches`,
      }));
  });
  return unique(faults);
}

/** Returns the reason why Envoys have no cluster that a check matches. */
function unmatched(check: ManifestCheck, mesh: ManifestMesh): string | undefined {
  const { object, outbound, target, service, ports, callers } = check;
  const { key = "", subset = "" } = target;
  if (!outbound) return undefined;
  if (meantService(mesh, key, namespaceOf(object)) !== undefined)
    return `watches ${key}: Istio completes no name here, so no cluster matches`;
  if (service === undefined) return undefined;
  if (ports.length === 0) return `watches port ${target.port ?? ""}, which the Service does not have`;
  const known = destinationRules(mesh, key).length === 0 || subset === "";
  if (!known && !subsetsOf(mesh, key).some(({ name }) => name === subset))
    return `watches the subset ${subset}, which no DestinationRule has`;
  const titles = callers.map((pods) => titleOf(pods.object)).join(", ");
  return titles !== "" && callers.every((pods) => hides(mesh, pods, service))
    ? `watches ${key}, which the Sidecar of ${titles} leaves out`
    : undefined;
}

function secondCheck(check: ManifestCheck, mesh: ManifestMesh): string | undefined {
  const rival = mesh.checks
    .slice(0, mesh.checks.indexOf(check))
    .filter((each) => each.outbound && each.appends && overlap(each.target, check.target))
    // Several objects of one name are alternatives.
    .filter(({ object }) => object === check.object || titleOf(object) !== titleOf(check.object))
    .find((each) => meet(each, check, false));
  if (rival === undefined || !check.outbound || !check.appends) return undefined;
  return `is the second of a cluster, beside ${titleOf(rival.object)} ${rival.path}: Envoy refuses both`;
}

/** Reports whether a check leaves in plaintext: by criteria that match no socket for mTLS. */
export function isPlain({ fields: check }: ManifestCheck): boolean {
  const criteria = check["transport_socket_match_criteria"];
  return criteria !== undefined && isPlaintext(fields(criteria));
}

/** Returns the fault of a check that the callee's sidecar refuses by its mode of mTLS. */
function refusedConnection(check: ManifestCheck, mesh: ManifestMesh): string | undefined {
  const modes = modesOf(mesh, check.service, check.ports).map(({ mode }) => mode);
  if (isPlain(check))
    return modes.includes("STRICT")
      ? "has transport_socket_match_criteria of no socket for mTLS: STRICT resets plaintext"
      : undefined;
  const alpn = foreignAlpn(texts(at(check.fields, "tls_options", "alpn_protocols")));
  return alpn !== undefined && modes.includes("PERMISSIVE")
    ? `offers tls_options.alpn_protocols ${alpn}: PERMISSIVE closes the connection`
    : undefined;
}

/** Returns the fault of a check that speaks another protocol than the callee's port. */
function wrongProtocol(check: ManifestCheck, mesh: ManifestMesh): string | undefined {
  const { fields: own, target, value, ports } = check;
  const asksGrpc = own["grpc_health_check"] !== undefined;
  if (asksGrpc && check.outbound && target.key === undefined && target.port === undefined)
    return "asks every cluster by gRPC: Envoy refuses those without HTTP/2";
  const protocols = ports.map(({ protocol }) => protocol);
  const upgraded = value["typed_extension_protocol_options"] !== undefined || isUpgraded(mesh, target.key);
  if (asksGrpc && !upgraded && (protocols.includes("http") || protocols.includes("tcp")))
    return "asks by gRPC at a port that Istio does not take for HTTP/2: Envoy refuses the cluster";
  const http = own["http_health_check"];
  const asksHttp1 = http !== undefined && at(http, "codec_client_type") !== "HTTP2";
  return asksHttp1 && protocols.includes("http2") && own["alt_port"] === undefined
    ? "asks by HTTP/1.1 at a port that speaks HTTP/2: it always fails"
    : undefined;
}

/** Longest recovery without a warning, seconds. It leaves room for infrequent checks. */
const RECOVERY_SECONDS = 60;

function slowRecovery({ fields: check }: ManifestCheck): string | undefined {
  const interval = durationSeconds(check["interval"]) ?? 0;
  const unhealthy = durationSeconds(check["unhealthy_interval"]) ?? interval;
  const edge = durationSeconds(check["healthy_edge_interval"]) ?? interval;
  const threshold = number(check["healthy_threshold"]) ?? 1;
  const seconds = unhealthy + (threshold - 1) * edge;
  return seconds <= RECOVERY_SECONDS
    ? undefined
    : `healthy_threshold is ${threshold}: a peer that serves again gets no calls for ${seconds} s`;
}

/** Time between checks of a cluster without calls, unless the check sets it, seconds. */
const NO_TRAFFIC_SECONDS = 60;

/**
 * Finds intervals that do not hold. Without the statistic upstream_cx_total, which Istio's default
 * leaves out, Envoy takes a cluster for one without calls.
 */
function rareCheck({ fields: check, outbound, callers }: ManifestCheck): string | undefined {
  const blind = callers.find(
    ({ annotations }) => !/proxyStatsMatcher|statsInclusion/.test(JSON.stringify(annotations)),
  );
  const often = (durationSeconds(check["interval"]) ?? NO_TRAFFIC_SECONDS) < NO_TRAFFIC_SECONDS;
  return outbound && often && blind !== undefined && check["no_traffic_interval"] === undefined
    ? `goes out every ${NO_TRAFFIC_SECONDS} s: ${titleOf(blind.object)} does not keep upstream_cx_total`
    : undefined;
}

function keptPods({ value }: ManifestCheck): string | undefined {
  return value["ignore_health_on_host_removal"] === true
    ? undefined
    : "keeps a pod that is gone in the cluster for as long as it passes";
}

/** Rules for active health checks. */
export const HEALTH_CHECK_RULES: readonly Rule[] = [
  {
    id: "check-covers-calls",
    severity: "error",
    text: "An active health check of a Service watches all clusters that its calls flow through.",
    fix: "Add a patch for each subset that has calls, matched by service, portNumber and subset.",
    source: `the seed, 4.2; ${CLUSTER_PATCH}`,
    faults: uncheckedClusters,
  },
  {
    id: "check-hits-calls",
    severity: "error",
    text: "An active health check matches a cluster that the Envoys have.",
    fix: "Match by the Service's full DNS name, portNumber, and a subset that there is.",
    source: CLUSTER_PATCH,
    faults: checkFaults(unmatched),
  },
  {
    id: "check-one-owner",
    severity: "error",
    text: "A cluster has one health check: MERGE appends to a list, and Envoy refuses a cluster with two.",
    fix: "Keep one patch for each cluster.",
    source: "https://istio.io/latest/docs/reference/config/networking/envoy-filter/",
    faults: checkFaults(secondCheck),
  },
  {
    id: "check-over-mtls",
    severity: "error",
    text: "An active health check goes the way of the calls, over mTLS.",
    fix: "Take transport_socket_match_criteria and tls_options away: the endpoint's own metadata picks mTLS.",
    source: "Istio's pilot/pkg/networking/core/cluster_tls.go and pilot/pkg/networking/util, ALPNInMesh",
    faults: checkFaults(refusedConnection),
  },
  {
    id: "check-fits-port",
    severity: "error",
    text: "An active health check speaks the protocol of the port.",
    fix: "Use grpc_health_check at a port for gRPC; elsewhere http_health_check, for HTTP/2 with codec_client_type: HTTP2.",
    source: `${HEALTH_CHECK}; envoyproxy/envoy#3452`,
    faults: checkFaults(wrongProtocol),
  },
  {
    id: "check-recovers-soon",
    severity: "warning",
    text: `A peer that serves again gets calls within ${RECOVERY_SECONDS} s: unhealthy_interval + (healthy_threshold - 1) x healthy_edge_interval.`,
    fix: "Lower healthy_threshold, such as to the seed's 1.",
    source: HEALTH_CHECK,
    faults: checkFaults(slowRecovery),
  },
  {
    id: "check-sees-traffic",
    severity: "warning",
    text: "An active health check goes out as often as its interval says, also where Envoy knows of no calls.",
    fix: "Set no_traffic_interval, or annotate the callers' pods: proxy.istio.io/config with proxyStatsMatcher, including upstream_cx_total.",
    source: "https://istio.io/latest/docs/ops/configuration/telemetry/envoy-stats/",
    faults: checkFaults(rareCheck),
  },
  {
    id: "check-drops-removed",
    severity: "warning",
    text: "A pod that Kubernetes has removed gets no calls, whatever its checks say.",
    fix: "Set ignore_health_on_host_removal: true beside health_checks.",
    source: "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto",
    faults: checkFaults(keptPods),
  },
];
