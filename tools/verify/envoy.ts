import { z } from "zod";

/** An endpoint of a cluster, as the caller's Envoy sees it. */
export interface EnvoyHost {
  /** `ip:port`. */
  readonly address: string;
  /**
   * True if the endpoint is ready in Kubernetes. Istio passes this on, and Envoy sends no calls to
   * one that is not.
   */
  readonly discovered: boolean;
  /** Successful calls since Envoy started. */
  readonly succeeded: number;
  /** Failed calls since Envoy started. */
  readonly failed: number;
  /** Reasons, in Envoy's words, why it sends no calls here. Empty if the endpoint is healthy. */
  readonly problems: readonly string[];
}

/** A cluster of an Envoy. */
export interface EnvoyCluster {
  /** Name, such as `outbound|50052|v1|HOST`. */
  readonly name: string;
  /** Prefix of its counter names after `cluster.`. Istio appends a semicolon to the name. */
  readonly statsName: string;
  /** Endpoints of the cluster. */
  readonly hosts: readonly EnvoyHost[];
}

// Envoy omits zero, false and empty values, and writes 64-bit numbers as text.
const stat = z.object({ name: z.string(), value: z.coerce.number().default(0) });
const hostStatus = z.object({
  address: z.object({ socket_address: z.object({ address: z.string(), port_value: z.number() }) }),
  stats: z.array(stat).default([]),
  health_status: z.record(z.string(), z.union([z.boolean(), z.string()])).default({}),
});
const clusterStatus = z.object({
  name: z.string(),
  observability_name: z.string().optional(),
  host_statuses: z.array(z.unknown()).default([]),
});
const clusterStatuses = z.object({ cluster_statuses: z.array(clusterStatus).default([]) });

/** Discovery state of a healthy endpoint. */
const HEALTHY = "HEALTHY";

type Health = z.infer<typeof hostStatus>["health_status"];

function discoveredAs(health: Health): string {
  return String(health["eds_health_status"] ?? HEALTHY);
}

function problemsOf(health: Health): string[] {
  const flags = Object.entries(health).flatMap(([flag, value]) => (value === true ? [flag] : []));
  const discovered = discoveredAs(health);
  return discovered === HEALTHY ? flags : [...flags, `eds_health_status ${discovered}`];
}

function hostOf(status: unknown): EnvoyHost {
  const { address, stats, health_status: health } = hostStatus.parse(status);
  const { address: ip, port_value: port } = address.socket_address;
  const counter = (name: string): number => stats.find((entry) => entry.name === name)?.value ?? 0;
  return {
    address: `${ip}:${port}`,
    discovered: discoveredAs(health) === HEALTHY,
    succeeded: counter("rq_success"),
    failed: counter("rq_error"),
    problems: problemsOf(health),
  };
}

/**
 * Returns the clusters whose names `wanted` accepts. It parses Envoy's `/clusters?format=json`.
 * Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/clusters.proto
 */
export function parseClusters(json: string, wanted: (name: string) => boolean): EnvoyCluster[] {
  return clusterStatuses
    .parse(JSON.parse(json))
    .cluster_statuses.filter(({ name }) => wanted(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, observability_name: statsName = name, host_statuses: hosts }) => ({
      name,
      statsName,
      hosts: hosts.map(hostOf).sort((a, b) => (a.address < b.address ? -1 : 1)),
    }));
}

/**
 * Returns counters and gauges by name. It parses the text of Envoy's `/stats` and skips histograms.
 */
export function parseStats(text: string): ReadonlyMap<string, number> {
  const entries = text.split("\n").flatMap((line): [string, number][] => {
    const [, name, value] = /^(\S+): (\d+)$/.exec(line) ?? [];
    return name === undefined ? [] : [[name, Number(value)]];
  });
  return new Map(entries);
}

const listenerDump = z.object({
  configs: z.array(z.object({ error_state: z.object({ details: z.string() }).optional() })).default([]),
});

/** State of the listeners that Envoy received. */
export interface Listeners {
  /** Number of listeners, including those whose last update Envoy rejected. */
  readonly count: number;
  /** Reasons for rejected updates, without duplicates. */
  readonly refused: readonly string[];
}

/**
 * Returns the listeners that istiod has sent. It parses Envoy's `/config_dump` of listeners. If
 * Envoy rejects an update, the listener keeps its old state or does not exist.
 * Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump_shared.proto,
 * ListenersConfigDump.DynamicListener
 */
export function parseListeners(json: string): Listeners {
  const { configs } = listenerDump.parse(JSON.parse(json));
  const reasons = configs.flatMap(({ error_state: error }) => error?.details ?? []);
  return { count: configs.length, refused: [...new Set(reasons)] };
}
