import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { type Fields, fields } from "../../policy/fields.ts";
import type { KubernetesObject } from "../../common/kubernetes-object.ts";

// Computes the clusters that istiod generates for a caller's Envoy, as far as health checks need.
// The names in the comments are functions of Istio in pilot/pkg/networking/core:
// cluster_builder.go, cluster_traffic_policy.go, cluster_tls.go, envoyfilter/cluster_patch.go.

interface Rule {
  readonly host: string;
  readonly subsets: readonly { readonly name: string }[];
  readonly trafficPolicy: {
    readonly loadBalancer: { readonly simple: string; readonly warmup?: { readonly duration: string } };
    readonly connectionPool: {
      readonly tcp: { readonly connectTimeout: string };
      readonly http: { readonly http2MaxRequests: number; readonly maxRetries: number };
    };
    readonly outlierDetection: {
      readonly consecutive5xxErrors: number;
      readonly consecutiveGatewayErrors: number;
      readonly interval: string;
      readonly baseEjectionTime: string;
      readonly maxEjectionPercent: number;
      readonly minHealthPercent: number;
    };
  };
}

interface Patch {
  readonly match: {
    readonly cluster: { readonly service: string; readonly portNumber: number; readonly subset?: string };
  };
  readonly patch: { readonly operation: string; readonly value: Fields };
}

/** Destination of a cluster. */
interface Target {
  readonly host: string;
  readonly port: number;
  /** Empty for all pods. */
  readonly subset: string;
}

const UNBOUNDED = 4_294_967_295;
const TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const RAW = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

function grpcSource(cluster: string): object {
  return {
    api_type: "GRPC",
    grpc_services: [{ envoy_grpc: { cluster_name: cluster } }],
    set_node_on_first_message_only: true,
    transport_api_version: "V3",
  };
}

/** Returns a secret that pilot-agent serves. */
function secret(name: string): object {
  const source = { api_config_source: grpcSource("sds-grpc") };
  return { name, sds_config: { ...source, initial_fetch_timeout: "0s", resource_api_version: "V3" } };
}

function mutualTls(sni: string, identity: string): object {
  return {
    "@type": TLS,
    common_tls_context: {
      tls_params: { tls_minimum_protocol_version: "TLSv1_2", tls_maximum_protocol_version: "TLSv1_3" },
      alpn_protocols: ["istio", "h2"],
      tls_certificate_sds_secret_configs: [secret("default")],
      combined_validation_context: {
        default_validation_context: { match_subject_alt_names: [{ exact: identity }] },
        validation_context_sds_secret_config: secret("ROOTCA"),
      },
    },
    sni,
  };
}

/** Returns the sockets of automatic mTLS. Source: applyUpstreamTLSSettings. */
function sockets({ host, port, subset }: Target, identity: string): object[] {
  const tls = mutualTls(`outbound_.${port}_.${subset}_.${host}`, identity);
  return [
    {
      name: "tlsMode-istio",
      match: { tlsMode: "istio" },
      transport_socket: { name: "envoy.transport_sockets.tls", typed_config: tls },
    },
    {
      name: "tlsMode-disabled",
      match: {},
      transport_socket: { name: "envoy.transport_sockets.raw_buffer", typed_config: { "@type": RAW } },
    },
  ];
}

/**
 * Returns the load balancer's fields that differ from Envoy's defaults. Localities are part of the
 * endpoints. Source: applyLoadBalancer, setWarmup.
 */
function loadBalancing({ simple, warmup }: Rule["trafficPolicy"]["loadBalancer"]): object {
  const policy = simple === "ROUND_ROBIN" ? {} : { lb_policy: simple };
  if (warmup === undefined) return policy;
  const slow_start_config = {
    slow_start_window: warmup.duration,
    aggression: { default_value: 1, runtime_key: "(" },
    min_weight_percent: { value: 10 },
  };
  return { ...policy, [`${simple.toLowerCase()}_lb_config`]: { slow_start_config } };
}

/** Istio does not set a percentage of 0. Source: applyOutlierDetection. */
function outlierDetection(given: Rule["trafficPolicy"]["outlierDetection"]): object {
  const enforced = (errors: number): number => (errors > 0 ? 100 : 0);
  const { consecutive5xxErrors: any, consecutiveGatewayErrors: gateway, maxEjectionPercent: most } = given;
  return {
    consecutive_5xx: any,
    enforcing_consecutive_5xx: enforced(any),
    consecutive_gateway_failure: gateway,
    enforcing_consecutive_gateway_failure: enforced(gateway),
    enforcing_success_rate: 0,
    interval: given.interval,
    base_ejection_time: given.baseEjectionTime,
    ...(most > 0 && { max_ejection_percent: most }),
  };
}

function clusterOf(target: Target, { trafficPolicy }: Rule, identity: string): Fields {
  const { loadBalancer, connectionPool, outlierDetection: outliers } = trafficPolicy;
  const { http2MaxRequests: max_requests, maxRetries: max_retries } = connectionPool.http;
  const name = `outbound|${target.port}|${target.subset}|${target.host}`;
  const bounds = {
    max_connections: UNBOUNDED,
    max_pending_requests: UNBOUNDED,
    max_requests,
    max_retries,
  };
  const eds_config = { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" };
  return {
    name,
    type: "EDS",
    eds_cluster_config: { eds_config, service_name: name },
    connect_timeout: connectionPool.tcp.connectTimeout,
    circuit_breakers: { thresholds: [bounds] },
    outlier_detection: outlierDetection(outliers),
    common_lb_config: { healthy_panic_threshold: { value: outliers.minHealthPercent } },
    ...loadBalancing(loadBalancer),
    typed_extension_protocol_options: {
      [HTTP]: {
        "@type": `type.googleapis.com/${HTTP}`,
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    transport_socket_matches: sockets(target, identity),
  };
}

/** Merges a message over another one. Lists are appended, unless the patch replaces them. */
function merged(under: unknown, over: unknown, replacing: boolean): unknown {
  if (Array.isArray(under) && Array.isArray(over))
    return replacing ? (over as unknown[]) : [...(under as unknown[]), ...(over as unknown[])];
  if (Array.isArray(over) || typeof over !== "object" || over === null) return over;
  const base = fields(under);
  const entries = Object.entries(over).map(([key, value]) => [key, merged(base[key], value, replacing)]);
  return { ...base, ...Object.fromEntries(entries) };
}

/** ApplyClusterMerge. */
function patched(cluster: Fields, { host, port, subset }: Target, patches: readonly Patch[]): Fields {
  const hits = patches.filter(
    ({ match: { cluster: wanted } }) =>
      wanted.service === host &&
      wanted.portNumber === port &&
      (wanted.subset === undefined || wanted.subset === subset),
  );
  return hits.reduce<Fields>(
    (under, { patch: { operation, value } }) =>
      fields(merged(under, value, operation === "MERGE_AND_REPLACE_LIST")),
    cluster,
  );
}

/** Merges the DestinationRules of a host. Source: mergeDestinationRule. */
function ruleOf(host: string, objects: readonly KubernetesObject[]): Rule {
  const rules = objects
    .filter(({ kind }) => kind === "DestinationRule")
    .map(({ spec }) => spec as Partial<Rule>)
    .filter((rule) => rule.host === host);
  const trafficPolicy = rules.find((rule) => rule.trafficPolicy !== undefined)?.trafficPolicy;
  if (trafficPolicy === undefined) throw new Error(`${host} has no DestinationRule with a trafficPolicy`);
  return { host, trafficPolicy, subsets: rules.flatMap(({ subsets = [] }) => subsets) };
}

/** Returns the clusters that a caller's EnvoyFilter checks, as its Envoy gets them. */
export function checkedClusters(filter: KubernetesObject, objects: readonly KubernetesObject[]): Fields[] {
  const { configPatches: patches } = filter["spec"] as { readonly configPatches: readonly Patch[] };
  const ports = new Map(patches.map(({ match }) => [match.cluster.service, match.cluster.portNumber]));
  return [...ports].flatMap(([host, port]) => {
    const rule = ruleOf(host, objects);
    const identity = `spiffe://cluster.local/ns/${filter.metadata.namespace ?? ""}/sa/dubbo-sa`;
    return ["", ...rule.subsets.map(({ name }) => name)].map((subset) => {
      const target = { host, port, subset };
      return patched(clusterOf(target, rule, identity), target, patches);
    });
  });
}

/** Returns the cluster of pilot-agent, on its socket in the pod. */
function agentCluster(name: string): object {
  const address = { pipe: { path: `/var/run/secrets/workload-spiffe-uds/${name}` } };
  return {
    name,
    type: "STATIC",
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
    typed_extension_protocol_options: {
      [HTTP]: {
        "@type": `type.googleapis.com/${HTTP}`,
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
  };
}

/**
 * Returns the reason why Envoy has ended: its last line, with normalized spaces. Envoy may print
 * the whole configuration before that line.
 */
function reasonIn(output: string): string {
  return (output.trim().split("\n").at(-1) ?? "").replaceAll(/\s+/g, " ");
}

/**
 * Returns the error of a real Envoy about a caller's clusters; undefined if it accepts them.
 * @param envoy path of the binary
 */
export async function envoyRefusal(envoy: string, clusters: readonly Fields[]): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "dubbo-mesh-envoy-"));
  try {
    const file = join(folder, "bootstrap.json");
    const bootstrap = {
      node: { id: "caller", cluster: "caller" },
      dynamic_resources: { ads_config: grpcSource("xds-grpc") },
      static_resources: { clusters: [agentCluster("xds-grpc"), agentCluster("sds-grpc"), ...clusters] },
    };
    await writeFile(file, JSON.stringify(bootstrap));
    const flags = ["--mode", "validate", "--log-level", "error", "--config-path", file];
    const { exitCode, stderr, stdout } = await execa(envoy, flags, { reject: false });
    return exitCode === 0 ? undefined : reasonIn(`${stdout}\n${stderr}`);
  } finally {
    await rm(folder, { recursive: true });
  }
}
