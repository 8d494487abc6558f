import { z } from "zod";
import { type Facts, leaves } from "./facts.ts";

// Envoy omits zero, false and empty values, and writes 64-bit numbers as text. Source:
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump.proto
const message = z.record(z.string(), z.json());

const number = z.coerce.number().default(0);
const outlierDetection = z.object({
  consecutive_5xx: number,
  enforcing_consecutive_5xx: number,
  consecutive_gateway_failure: number,
  enforcing_consecutive_gateway_failure: number,
  interval: z.string().default("10s"),
  base_ejection_time: z.string().default("30s"),
  max_ejection_percent: z.number().default(10),
  successful_active_health_check_uneject_host: z.boolean().default(true),
});
const slowStart = z.object({ slow_start_config: z.object({ slow_start_window: z.string() }).optional() });
const clusterConfig = z.object({
  name: z.string(),
  lb_policy: z.string().default("ROUND_ROBIN"),
  round_robin_lb_config: slowStart.optional(),
  least_request_lb_config: slowStart.optional(),
  connect_timeout: z.string().default("5s"),
  circuit_breakers: z
    .object({ thresholds: z.array(z.object({ max_requests: number, max_retries: number })) })
    .optional(),
  outlier_detection: outlierDetection.optional(),
  common_lb_config: z.object({ healthy_panic_threshold: z.object({ value: number }).optional() }).optional(),
  ignore_health_on_host_removal: z.boolean().default(false),
  transport_socket: z.object({ name: z.string() }).optional(),
  transport_socket_matches: z.array(z.object({ name: z.string() })).default([]),
  health_checks: z.array(message).default([]),
});
const clusterDump = z.object({ configs: z.array(z.object({ cluster: clusterConfig })).default([]) });

/** Path of the clusters' configuration. A mask keeps the answer small. */
export const CLUSTER_CONFIGS = `config_dump?resource=dynamic_active_clusters&mask=${[
  "name",
  "lb_policy",
  "round_robin_lb_config",
  "least_request_lb_config",
  "connect_timeout",
  "circuit_breakers",
  "outlier_detection",
  "common_lb_config",
  "ignore_health_on_host_removal",
  "transport_socket",
  "transport_socket_matches",
  "health_checks",
]
  .map((field) => `cluster.${field}`)
  .join(",")}`;

/** Configuration of an Envoy cluster. */
export type ClusterConfig = z.infer<typeof clusterConfig>;

/** Parses the clusters of Envoy's `/config_dump`. */
export function parseClusterConfigs(json: string): ClusterConfig[] {
  return clusterDump.parse(JSON.parse(json)).configs.map(({ cluster }) => cluster);
}

/** Parts of a cluster's passive checks, in words. */
export interface OutlierText {
  readonly gatewayErrors: number;
  readonly anyErrors: number;
  readonly interval: string;
  readonly baseEjectionTime: string;
  readonly maxEjectionPercent: number;
}

/** Formats passive checks. */
export function outlierText({
  gatewayErrors,
  anyErrors,
  interval,
  baseEjectionTime,
  maxEjectionPercent,
}: OutlierText): string {
  return `out after ${gatewayErrors} gateway errors or ${anyErrors} errors, for ${baseEjectionTime}, at most ${maxEjectionPercent} %, looks every ${interval}`;
}

function outlierOf({ outlier_detection: detection }: ClusterConfig): string {
  if (detection === undefined) return "off";
  const counted = (errors: number, enforced: number): number => (enforced > 0 ? errors : 0);
  return outlierText({
    gatewayErrors: counted(
      detection.consecutive_gateway_failure,
      detection.enforcing_consecutive_gateway_failure,
    ),
    anyErrors: counted(detection.consecutive_5xx, detection.enforcing_consecutive_5xx),
    interval: detection.interval,
    baseEjectionTime: detection.base_ejection_time,
    maxEjectionPercent: detection.max_ejection_percent,
  });
}

function tlsOf({ transport_socket: all, transport_socket_matches: matches }: ClusterConfig): string {
  if (all !== undefined) return all.name;
  return matches.some(({ name }) => name === MUTUAL_TLS) ? MUTUAL_TLS : "plaintext";
}

/**
 * Name of the transport socket to endpoints with a sidecar.
 * Source: Istio's pilot/pkg/networking/core/cluster_tls.go
 */
export const MUTUAL_TLS = "tlsMode-istio";

/** Returns the traffic policy of a cluster. */
export function policyFacts(cluster: ClusterConfig): Facts {
  const { lb_policy: policy, round_robin_lb_config: even, least_request_lb_config: least } = cluster;
  const warmup = (even ?? least)?.slow_start_config?.slow_start_window;
  const [bounds] = cluster.circuit_breakers?.thresholds ?? [];
  return {
    "load balancer": warmup === undefined ? policy : `${policy}, warmed up for ${warmup}`,
    "connect timeout": cluster.connect_timeout,
    "max requests": `${bounds?.max_requests ?? 0}`,
    "max retries": `${bounds?.max_retries ?? 0}`,
    "outlier detection": outlierOf(cluster),
    "panic threshold": `${cluster.common_lb_config?.healthy_panic_threshold?.value ?? 0} %`,
    tls: tlsOf(cluster),
  };
}

/** Active health checks of a cluster, and the fields beside them. */
interface CheckParts {
  readonly health_checks: readonly object[];
  readonly ignore_health_on_host_removal?: boolean;
  readonly outlier_detection?: { readonly successful_active_health_check_uneject_host?: boolean } | undefined;
}

/** Returns the fields of the active health checks of a cluster, live or configured. */
export function checkFacts(cluster: CheckParts): Facts {
  const { health_checks: checks, ignore_health_on_host_removal: dropped = false } = cluster;
  const returned = cluster.outlier_detection?.successful_active_health_check_uneject_host ?? true;
  return {
    checks: `${checks.length}`,
    ...leaves(checks[0]),
    "removed endpoints leave": `${dropped}`,
    "a passing check returns an ejected endpoint": `${returned}`,
  };
}

const stringMatch = z.object({ exact: z.string().optional() }).loose();
const routeMatch = z.object({
  path: z.string().optional(),
  prefix: z.string().optional(),
  headers: z.array(z.object({ name: z.string(), string_match: stringMatch.optional() })).default([]),
});
const retryPolicy = z.object({
  retry_on: z.string().default(""),
  num_retries: z.number().default(1),
  per_try_timeout: z.string().optional(),
});
const routeAction = z.object({
  cluster: z.string().optional(),
  weighted_clusters: z
    .object({ clusters: z.array(z.object({ name: z.string(), weight: z.number().default(0) })) })
    .optional(),
  timeout: z.string().optional(),
  retry_policy: retryPolicy.optional(),
  request_mirror_policies: z.array(z.json()).default([]),
});
const route = z.object({
  name: z.string().default(""),
  match: routeMatch,
  route: routeAction.optional(),
  typed_per_filter_config: message.default({}),
});
const virtualHost = z.object({ domains: z.array(z.string()), routes: z.array(route).default([]) });
const routeDump = z.object({
  configs: z
    .array(z.object({ route_config: z.object({ virtual_hosts: z.array(virtualHost).default([]) }) }))
    .default([]),
});

/** Configuration of an Envoy route. */
export type RouteConfig = z.infer<typeof route>;

/** Routes of an Envoy to one host. */
export type VirtualHost = z.infer<typeof virtualHost>;

/** Parses the routes in Envoy's `/config_dump`. */
export function parseVirtualHosts(json: string): VirtualHost[] {
  const { configs } = routeDump.parse(JSON.parse(json));
  return configs.flatMap(({ route_config: { virtual_hosts: hosts } }) => hosts);
}

/** Returns the routes to a host, in order. */
export function routesTo(hosts: readonly VirtualHost[], host: string, port: number): RouteConfig[] {
  return hosts
    .filter(({ domains }) => domains.includes(`${host}:${port}`) || domains.includes(host))
    .flatMap(({ routes }) => routes);
}

/** Parts of a route, in words. */
export interface RouteText {
  /** Shares by subset. */
  readonly shares: readonly { readonly subset: string; readonly weight: number }[];
  readonly attempts: number;
  readonly retryOn: string;
  readonly perTryTimeout: string | undefined;
  readonly timeout: string | undefined;
  /** Additions such as faults. Default: none. */
  readonly additions?: readonly string[];
}

/** Formats a route. */
export function routeText(parts: RouteText): string {
  const { shares, attempts, retryOn, perTryTimeout, timeout, additions = [] } = parts;
  const total = shares.reduce((sum, { weight }) => sum + weight, 0);
  const percent = (weight: number): number => Math.round((1000 * weight) / (total || 1)) / 10;
  const to = shares.map(({ subset, weight }) => `${subset} ${percent(weight)} %`).join(" and ");
  const each = perTryTimeout === undefined ? "" : `, each try ${perTryTimeout}`;
  const retries = attempts === 0 ? "no retries" : `${attempts} retries on ${retryOn}${each}`;
  const within = timeout === undefined ? "no timeout" : `timeout ${timeout}`;
  return [to === "" ? "no cluster" : to, retries, within, ...additions].join("; ");
}

/** Formats the condition of a route: its path and its headers. */
export function matchText(path: string | undefined, headers: readonly (readonly [string, string])[]): string {
  return [path ?? "all other calls", ...headers.map(([name, value]) => `${name}=${value}`)].join(" ");
}

const FAULT = "envoy.filters.http.fault";

function sharesOf({
  cluster,
  weighted_clusters: weighted,
}: z.infer<typeof routeAction>): RouteText["shares"] {
  const clusters = weighted?.clusters ?? (cluster === undefined ? [] : [{ name: cluster, weight: 100 }]);
  return clusters.map(({ name, weight }) => ({ subset: name.split("|")[2] ?? name, weight }));
}

function conditionOf({ match }: RouteConfig): string {
  const headers = match.headers.map(
    ({ name, string_match: value }) => [name, value?.exact ?? JSON.stringify(value)] as const,
  );
  const path = match.path ?? (match.prefix === "/" ? undefined : `${match.prefix ?? "?"}*`);
  return matchText(path, headers);
}

function liveRouteText({ route: action, typed_per_filter_config: filters }: RouteConfig): string {
  if (action === undefined) return "answered by the proxy itself";
  const { retry_policy: retries, timeout = "0s", request_mirror_policies: mirrors } = action;
  return routeText({
    shares: sharesOf(action),
    attempts: retries?.num_retries ?? 0,
    retryOn: retries?.retry_on ?? "",
    perTryTimeout: retries?.per_try_timeout,
    timeout: timeout === "0s" ? undefined : timeout,
    additions: [
      ...(filters[FAULT] === undefined ? [] : ["a fault is injected"]),
      ...(mirrors.length === 0 ? [] : ["calls are mirrored"]),
    ],
  });
}

/** Returns the routes by their condition. The first of two routes with one condition counts. */
export function routeFacts(routes: readonly RouteConfig[]): Facts {
  const entries = routes.map((one): [string, string] => [conditionOf(one), liveRouteText(one)]);
  return Object.fromEntries(entries.reverse());
}

const rbacPolicy = z.object({ permissions: z.array(z.json()).default([]) });
const rbac = z.object({
  rules: z
    .object({ action: z.string().default("ALLOW"), policies: z.record(z.string(), rbacPolicy).default({}) })
    .optional(),
});
const httpFilter = z.object({ name: z.string(), typed_config: z.json().optional() });
const networkFilter = z.object({
  typed_config: z
    .object({ http_filters: z.array(httpFilter).default([]) })
    .loose()
    .optional(),
});
const filterChain = z.object({
  name: z.string().default(""),
  filter_chain_match: z.object({ destination_port: z.number().optional() }).default({}),
  transport_socket: z
    .object({ typed_config: z.object({ require_client_certificate: z.boolean().default(false) }).loose() })
    .optional(),
  filters: z.array(networkFilter).default([]),
});
const listenerDump = z.object({
  configs: z
    .array(
      z.object({
        active_state: z
          .object({ listener: z.object({ filter_chains: z.array(filterChain).default([]) }) })
          .optional(),
      }),
    )
    .default([]),
});

/** Configuration of a filter chain of the listener for inbound calls. */
export type FilterChain = z.infer<typeof filterChain>;

/** Parses the filter chains for a port in Envoy's `/config_dump` of the inbound listener. */
export function parseInboundChains(json: string, port: number): FilterChain[] {
  const chains = listenerDump
    .parse(JSON.parse(json))
    .configs.flatMap(({ active_state: active }) => active?.listener.filter_chains ?? []);
  return chains.filter(({ filter_chain_match: { destination_port: own } }) => own === port);
}

/** Formats the transport security of a port. */
export function transportText(chains: readonly FilterChain[]): string {
  if (chains.length === 0) return "no filter chain";
  const mutual = chains.every(
    ({ transport_socket: socket }) => socket?.typed_config.require_client_certificate === true,
  );
  return mutual ? STRICT : PERMISSIVE;
}

/** Transport security of a port that accepts mutual TLS only. */
export const STRICT = "mutual TLS only";
/** Transport security of a port that accepts plaintext, too. */
export const PERMISSIVE = "plaintext, too";

const RBAC = "envoy.filters.http.rbac";

/** Permissions of a policy without rules, which admits nothing. Source: Istio's builder.go */
const NOTHING = JSON.stringify([{ not_rule: { any: true } }]);

/**
 * Returns the names of the rules that admit calls to a port, sorted; undefined if the port answers
 * every caller.
 */
export function allowRules(chains: readonly FilterChain[]): string[] | undefined {
  const filters = chains
    .flatMap(({ filters: network }) => network)
    .flatMap(({ typed_config: config }) => config?.http_filters ?? [])
    .filter(({ name }) => name === RBAC)
    .flatMap(({ typed_config: config }) => rbac.parse(config).rules ?? [])
    .filter(({ action }) => action === "ALLOW");
  if (filters.length === 0) return undefined;
  const names = filters.flatMap(({ policies }) =>
    Object.entries(policies).flatMap(([name, { permissions }]) =>
      JSON.stringify(permissions) === NOTHING ? [] : [name],
    ),
  );
  return [...new Set(names)].sort();
}
