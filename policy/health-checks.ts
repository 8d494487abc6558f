import { foreignAlpn, isPlaintext } from "../settings/health-check.ts";
import { at, durationSeconds, fields, type Fields, items, labels, number, text, texts } from "./fields.ts";
import {
  callersOf,
  type CheckPatch,
  type Cluster,
  destinationRules,
  filterAppliesTo,
  hits,
  isBounded,
  type ManifestMesh,
  namespaceOf,
  ofKind,
  proxyConfig,
  targetOf,
  type WorkloadManifest,
} from "./mesh.ts";
import { type Fault, type Rule, titleOf } from "./rule.ts";

const HEALTH_CHECK = "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/health_check.proto";
const ENVOY_FILTER = "https://istio.io/latest/docs/reference/config/networking/envoy-filter/";

/** Returns a cluster's name for messages, in Envoy's format. */
function clusterName({ key, port, subset }: Cluster): string {
  const [namespace, name] = key.split("/");
  return `outbound|${port ?? "*"}|${subset}|${name ?? ""}.${namespace ?? ""}`;
}

function routedClusters({ routed }: ManifestMesh): Cluster[] {
  return [...routed.values()].flat();
}

/** Returns a fault for each health check for which `wrong` has a message. */
function checkFaults(
  mesh: ManifestMesh,
  wrong: (check: Fields, patch: CheckPatch) => string | undefined,
  field: string,
): Fault[] {
  return mesh.checks.flatMap((patch) =>
    patch.checks.flatMap(({ path, fields: check }): Fault[] => {
      const message = wrong(check, patch);
      return message === undefined ? [] : [{ object: patch.object, path: `${path}.${field}`, message }];
    }),
  );
}

/**
 * Reports whether a Sidecar limits the callees of every workload. Then a Service that no Sidecar
 * names has no callers.
 */
function isScoped(mesh: ManifestMesh): boolean {
  const sidecars = ofKind(mesh, "Sidecar").filter(isBounded);
  return mesh.workloads.every((workload) => sidecars.some((sidecar) => filterAppliesTo(sidecar, workload)));
}

/** Returns the clusters of one called Service that a caller's patches leave without a check. */
function uncheckedClustersOf(mesh: ManifestMesh, key: string, clusters: readonly Cluster[]): Fault[] {
  const callers = callersOf(mesh, key);
  if (callers.length === 0 && clusters.length > 0 && !isScoped(mesh)) {
    const service = mesh.services.find((each) => each.key === key);
    return [
      {
        object: service?.object ?? `Service ${key}`,
        message: "is called, but no EnvoyFilter has it checked",
      },
    ];
  }
  return callers.flatMap((caller) => {
    const patches = mesh.checks.filter(
      ({ object }) => object === caller.object || filterAppliesTo(object, caller),
    );
    return clusters
      .filter((cluster) => cluster.calls && !patches.some((patch) => hits(patch, cluster)))
      .map((cluster) => ({
        object: caller.object,
        message: `calls flow through ${clusterName(cluster)}, which no health check of its Envoy watches`,
      }));
  });
}

function uncheckedClusters(mesh: ManifestMesh): Fault[] {
  return [...mesh.routed].flatMap(([key, clusters]) => uncheckedClustersOf(mesh, key, clusters));
}

function unusedChecks(mesh: ManifestMesh): Fault[] {
  const routed = routedClusters(mesh);
  return mesh.checks
    .filter((patch) => !routed.some((cluster) => hits(patch, cluster)))
    .map(({ object, path, match }) => ({
      object,
      path: `${path}.match`,
      message: `watches ${JSON.stringify(match["cluster"] ?? {})}, a cluster that carries no call`,
    }));
}

/**
 * Returns all clusters of the called Services. On each called port there is one cluster without a
 * subset, and one for each subset.
 */
function allClusters(mesh: ManifestMesh): Cluster[] {
  return routedClusters(mesh).flatMap(({ key, port }) => {
    const subsets = destinationRules(mesh, key).flatMap((rule) => items(at(rule, "spec", "subsets")));
    const names = subsets.flatMap((subset) => text(at(subset, "name")) ?? []);
    return ["", ...names].map((subset) => ({ key, port, subset, calls: false }));
  });
}

function needlessChecks(mesh: ManifestMesh): Fault[] {
  const routed = routedClusters(mesh);
  const name = (cluster: Cluster): string => clusterName(cluster);
  const used = new Set(routed.map(name));
  const unused = new Map(
    allClusters(mesh).flatMap((cluster) =>
      used.has(name(cluster)) ? [] : [[name(cluster), cluster] as const],
    ),
  );
  return mesh.checks
    .filter((patch) => routed.some((cluster) => hits(patch, cluster)))
    .flatMap((patch) => {
      const also = [...unused.values()].filter((cluster) => hits(patch, cluster)).map(name);
      const everything = targetOf(patch).key === undefined ? ["every other cluster"] : [];
      const message = [...also, ...everything].join(", ");
      return message === ""
        ? []
        : [
            {
              object: patch.object,
              path: `${patch.path}.match`,
              message: `watches also ${message}, without any call`,
            },
          ];
    });
}

/**
 * Reports whether two EnvoyFilters may apply to the same pods. It compares only namespaces and
 * selectors.
 */
function overlap(one: CheckPatch["object"], other: CheckPatch["object"]): boolean {
  const selector = (object: CheckPatch["object"]): Readonly<Record<string, string>> =>
    labels(at(object, "spec", "workloadSelector", "labels"));
  const [first, second] = [selector(one), selector(other)];
  const namespaces = new Set([namespaceOf(one), namespaceOf(other)]);
  namespaces.delete("istio-system");
  return (
    namespaces.size <= 1 &&
    Object.entries(first).every(([key, value]) => second[key] === undefined || second[key] === value)
  );
}

function duplicateChecks(mesh: ManifestMesh): Fault[] {
  const several = mesh.checks
    .filter(({ checks }) => checks.length > 1)
    .map(({ object, path, checks }) => ({
      object,
      path: `${path}.patch.value.health_checks`,
      message: `gives a cluster ${checks.length} health checks, which Envoy refuses`,
    }));
  const clusters = [...routedClusters(mesh), ...allClusters(mesh)];
  const twice = mesh.checks.flatMap((patch, index): Fault[] => {
    const rival = mesh.checks
      .slice(0, index)
      .find(
        (earlier) =>
          [earlier, patch].every(({ operation }) => operation === "MERGE") &&
          overlap(earlier.object, patch.object) &&
          clusters.some((cluster) => hits(earlier, cluster) && hits(patch, cluster)),
      );
    if (rival === undefined) return [];
    const other = rival.object === patch.object ? rival.path : `${titleOf(rival.object)} ${rival.path}`;
    return [
      {
        object: patch.object,
        path: patch.path,
        message: `gives a cluster a second health check beside ${other}`,
      },
    ];
  });
  return [...several, ...twice];
}

function plaintext(check: Fields): string | undefined {
  const criteria = check["transport_socket_match_criteria"];
  if (criteria === undefined) return undefined;
  if (!isPlaintext(fields(criteria))) return undefined;
  return `${JSON.stringify(criteria)} is no match of Istio's, so the check goes out in plaintext`;
}

function alpn(check: Fields): string | undefined {
  return foreignAlpn(texts(at(check, "tls_options", "alpn_protocols")));
}

function missingServiceName(check: Fields): string | undefined {
  if (check["http_health_check"] !== undefined || check["custom_health_check"] !== undefined)
    return undefined;
  const grpc = check["grpc_health_check"];
  if (grpc === undefined)
    return "a connection is answered by the peer's sidecar, also where its application hangs";
  const named = text(at(grpc, "service_name")) ?? "";
  return named === "" ? "names no service, and so asks for the server as a whole" : undefined;
}

/**
 * Longest allowed recovery, in seconds. The sample asks for seconds; one minute leaves room for
 * infrequent checks.
 */
const RECOVERY_SECONDS = 60;

function recoverySeconds(check: Fields): number {
  const interval = durationSeconds(check["interval"]) ?? 0;
  const unhealthy = durationSeconds(check["unhealthy_interval"]) ?? interval;
  const edge = durationSeconds(check["healthy_edge_interval"]) ?? interval;
  return unhealthy + ((number(check["healthy_threshold"]) ?? 1) - 1) * edge;
}

function slowRecovery(check: Fields): string | undefined {
  const seconds = recoverySeconds(check);
  return seconds <= RECOVERY_SECONDS
    ? undefined
    : `${text(check["healthy_threshold"]) ?? "1"}: a peer that serves again gets no calls for ${seconds} s`;
}

/**
 * Names of a statistic that tells Envoy if a cluster carries calls. Istio's default leaves it out.
 */
const STATISTICS = ["", ";"].map(
  (mark) => `cluster.outbound|50052||a.b.svc.cluster.local${mark}.upstream_cx_total`,
);

function matches(expression: string, value: string): boolean {
  try {
    return new RegExp(`^(?:${expression})$`).test(value);
  } catch {
    return false;
  }
}

/**
 * Reports whether the workload's Envoy keeps the statistic.
 * Source: https://istio.io/latest/docs/ops/configuration/telemetry/envoy-stats/
 */
function keepsStatistics(workload: WorkloadManifest): boolean {
  const matcher = fields(proxyConfig(workload)["proxyStatsMatcher"]);
  const listed = (key: string, annotation: string): readonly string[] => [
    ...texts(matcher[key]),
    ...(workload.annotations[`sidecar.istio.io/${annotation}`]?.split(",") ?? []),
  ];
  return STATISTICS.some(
    (name) =>
      listed("inclusionRegexps", "statsInclusionRegexps").some((each) => matches(each, name)) ||
      listed("inclusionPrefixes", "statsInclusionPrefixes").some((each) => name.startsWith(each)) ||
      listed("inclusionSuffixes", "statsInclusionSuffixes").some((each) => name.endsWith(each)),
  );
}

function callersWithoutStatistics(mesh: ManifestMesh): Fault[] {
  const checking = mesh.workloads.filter((workload) =>
    mesh.checks.some(({ object }) => filterAppliesTo(object, workload)),
  );
  return checking
    .filter((workload) => !keepsStatistics(workload))
    .map(({ object }) => ({
      object,
      path: "spec.template.metadata.annotations",
      message:
        "its Envoy does not keep upstream_cx_total, so it checks at the intervals for clusters without traffic",
    }));
}

function keepsRemovedPods(mesh: ManifestMesh): Fault[] {
  return mesh.checks
    .filter(({ value }) => value["ignore_health_on_host_removal"] !== true)
    .map(({ object, path }) => ({
      object,
      path: `${path}.patch.value.ignore_health_on_host_removal`,
      message: "a pod that is gone stays in the cluster for as long as its checks pass",
    }));
}

function unscopedFilters(mesh: ManifestMesh): Fault[] {
  return ofKind(mesh, "EnvoyFilter")
    .filter(
      (object) =>
        at(object, "spec", "targetRefs") === undefined &&
        Object.keys(labels(at(object, "spec", "workloadSelector", "labels"))).length === 0,
    )
    .map((object) => ({
      object,
      path: "spec.workloadSelector",
      message: "changes every proxy of its namespace",
    }));
}

const COVERAGE_RULES: readonly Rule[] = [
  {
    id: "check-covers-calls",
    severity: "error",
    text: "Each cluster that calls flow through is watched by an active health check of the caller's Envoy.",
    fix: "Add a patch for each subset that has calls, matched by service, portNumber and subset.",
    source: "the seed, 4.2; Istio's pilot/pkg/networking/core/envoyfilter/cluster_patch.go",
    faults: uncheckedClusters,
  },
  {
    id: "check-hits-calls",
    severity: "error",
    text: "Each active health check watches a cluster that carries calls.",
    fix: "Match by the Service's full DNS name, portNumber, and the subset that the routes name.",
    source: "Istio's pilot/pkg/networking/core/envoyfilter/cluster_patch.go",
    faults: unusedChecks,
  },
  {
    id: "check-only-calls",
    severity: "warning",
    text: "An active health check watches no cluster without calls: each costs the peers as many checks again.",
    fix: "Name the subset in the match.",
    source: ENVOY_FILTER,
    faults: needlessChecks,
  },
  {
    id: "check-one-owner",
    severity: "error",
    text: "A cluster has one health check: MERGE appends to a list, and Envoy refuses a cluster with two.",
    fix: "Keep one patch for each cluster.",
    source: ENVOY_FILTER,
    faults: duplicateChecks,
  },
  {
    id: "envoyfilter-scoped",
    severity: "warning",
    text: "An EnvoyFilter changes the proxies of one workload.",
    fix: "Set workloadSelector.labels to the caller's.",
    source: ENVOY_FILTER,
    faults: unscopedFilters,
  },
];

const CHECK_FIELD_RULES: readonly Rule[] = [
  {
    id: "check-over-mtls",
    severity: "error",
    text: "An active health check goes the way of the calls, over mTLS.",
    fix: "Take transport_socket_match_criteria away: the endpoint's own metadata picks mTLS.",
    source: "Istio's pilot/pkg/networking/core/cluster_tls.go",
    faults: (mesh) => checkFaults(mesh, plaintext, "transport_socket_match_criteria"),
  },
  {
    id: "check-alpn",
    severity: "error",
    text: "An active health check offers no ALPN protocols of its own, or Istio's.",
    fix: "Take tls_options away.",
    source: "Istio's pilot/pkg/networking/util, ALPNInMesh",
    faults: (mesh) => checkFaults(mesh, alpn, "tls_options.alpn_protocols"),
  },
  {
    id: "check-asks-service",
    severity: "warning",
    text: "An active health check asks the application for the service that is called.",
    fix: "Use grpc_health_check with service_name, such as org.apache.dubbo.samples.Greeter.",
    source: "https://github.com/grpc/grpc/blob/master/doc/health-checking.md",
    faults: (mesh) => checkFaults(mesh, missingServiceName, "grpc_health_check.service_name"),
  },
  {
    id: "check-recovers-soon",
    severity: "warning",
    text: `A peer that serves again gets calls within ${RECOVERY_SECONDS} s: unhealthy_interval + (healthy_threshold - 1) x healthy_edge_interval.`,
    fix: "Lower healthy_threshold, such as to the seed's 1.",
    source: HEALTH_CHECK,
    faults: (mesh) => checkFaults(mesh, slowRecovery, "healthy_threshold"),
  },
  {
    id: "check-sees-traffic",
    severity: "warning",
    text: "A caller's Envoy keeps the statistic by which it tells a cluster with calls from one without.",
    fix: "Annotate its pods: proxy.istio.io/config with proxyStatsMatcher, including upstream_cx_total and health_check.",
    source: "https://istio.io/latest/docs/ops/configuration/telemetry/envoy-stats/",
    faults: callersWithoutStatistics,
  },
  {
    id: "check-drops-removed",
    severity: "warning",
    text: "A pod that Kubernetes has removed gets no calls, whatever its checks say.",
    fix: "Set ignore_health_on_host_removal: true beside health_checks.",
    source: "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto",
    faults: keepsRemovedPods,
  },
];

/** Rules for active health checks. */
export const HEALTH_CHECK_RULES: readonly Rule[] = [...COVERAGE_RULES, ...CHECK_FIELD_RULES];
