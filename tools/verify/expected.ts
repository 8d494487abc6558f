import { seconds } from "../../settings/duration.ts";
import { deploymentName, type Edge, edgesOf, maxPods, type Service } from "../../settings/graph.ts";
import { detectionBounds, type HealthCheck, unusedBound } from "../../settings/health-check.ts";
import { maxReplicas, type Scale } from "../../settings/scale.ts";
import { hostOf } from "../../settings/model.ts";
import type { Settings } from "../../settings/settings.ts";

const GRPC_CHECK_PATH = "/grpc.health.v1.Health/Check";

/** A Deployment of a service, and its pods. */
interface ExpectedDeployment {
  /** Name of the Deployment. */
  readonly deployment: string;
  /** Label `version` of its pods. */
  readonly version: string;
  /** Number of pods. */
  readonly scale: Scale;
}

/** Expected state of the mesh between a caller and one of its callees. */
export interface Expected {
  /** Label `app` of the callee. */
  readonly provider: string;
  /** Versions of the callee: subsets and shares of the calls in percent. */
  readonly versions: readonly { readonly name: string; readonly weight: number }[];
  /** Label `app` of the caller. */
  readonly consumer: string;
  /** Deployments of caller and callee. */
  readonly deployments: readonly (ExpectedDeployment & { readonly side: "provider" | "consumer" })[];
  /**
   * Time between calls, seconds. Undefined if the caller calls only when it is called, or if its
   * pace is unknown.
   */
  readonly interval: number | undefined;
  /** gRPC services of the callee. */
  readonly services: readonly string[];
  /** DNS name of the callee's Service. */
  readonly host: string;
  /** Port of the callee. */
  readonly port: number;
  /** Load balancing policy of Envoy. */
  readonly loadBalancer: string;
  /** Path of the health check; undefined if it leaves no line in an access log. */
  readonly checkPath: string | undefined;
}

function checkPathOf(check: HealthCheck): string | undefined {
  if (check.grpc_health_check !== undefined) return GRPC_CHECK_PATH;
  return check.http_health_check?.path;
}

function deploymentsOf(service: Service): ExpectedDeployment[] {
  return service.versions.map(({ name: version, replicas, autoscale }) => ({
    deployment: deploymentName(service, version),
    version,
    scale: { replicas, autoscale },
  }));
}

/** Returns the edges of the call graph whose callers run. */
function runningEdges({ services }: Settings): Edge[] {
  return edgesOf(services).filter(({ caller }) => maxPods(caller) > 0);
}

/** Returns the expected state for each caller and each of its callees. */
export function expectedOf(settings: Settings): Expected[] {
  return runningEdges(settings).map(({ caller, callee }) => ({
    provider: callee.name,
    versions: callee.versions,
    consumer: caller.name,
    deployments: [
      ...deploymentsOf(callee).map((each) => ({ ...each, side: "provider" as const })),
      ...deploymentsOf(caller).map((each) => ({ ...each, side: "consumer" as const })),
    ],
    interval: caller.interval === undefined ? undefined : seconds(caller.interval),
    services: callee.offers,
    host: hostOf(callee, settings),
    port: callee.port,
    loadBalancer: callee.traffic.loadBalancer,
    checkPath: checkPathOf(callee.healthCheck),
  }));
}

/** Returns the name of the callee's cluster for a subset. The empty subset is all of its pods. */
export function clusterName({ host, port }: Pick<Expected, "host" | "port">, subset: string): string {
  return `outbound|${port}|${subset}|${host}`;
}

/** Reports whether a cluster belongs to the callee. */
export function isProviderCluster({ host, port }: Expected, name: string): boolean {
  return name.startsWith(`outbound|${port}|`) && name.endsWith(`|${host}`);
}

/** Returns the subset in a cluster's name; empty for the cluster without a subset. */
export function subsetOf(cluster: string): string {
  return cluster.split("|")[2] ?? "";
}

/** Returns a cluster's name without the host, for messages. */
export function shortName(cluster: string): string {
  return cluster.replace(/[^|]*$/, "");
}

/** Time to write and read logs, seconds. */
const MARGIN_S = 3;
/** Average number of calls per endpoint until each one has probably been picked. */
const CALLS_PER_ENDPOINT = 5;
/** Longest wait for a rarely called endpoint, seconds. */
const MAX_CALLS_S = 120;

/**
 * Returns the time in which each endpoint is probably called, seconds, at most MAX_CALLS_S. It is 0
 * if the caller has no interval.
 */
function callsWindow({ caller, callee }: Edge): number {
  const { interval } = caller;
  if (interval === undefined) return 0;
  const waits = callee.versions
    .filter(({ weight }) => weight > 0)
    .map(
      ({ weight, ...scale }) => (seconds(interval) * CALLS_PER_ENDPOINT * maxReplicas(scale) * 100) / weight,
    );
  return Math.min(MAX_CALLS_S, Math.max(...waits));
}

/** Returns the time until each endpoint has been checked, seconds. */
function checksWindow({ caller, callee: { healthCheck } }: Edge): number {
  return caller.interval === undefined ? unusedBound(healthCheck) : detectionBounds(healthCheck).answering;
}

/**
 * Returns the longest observation time, seconds. Within it, each endpoint is checked and called
 * once, at the configured pace. A version with a small share of few calls may need longer.
 */
export function windowSeconds(settings: Settings): number {
  const waits = runningEdges(settings).map((edge) => Math.max(callsWindow(edge), checksWindow(edge)));
  return MARGIN_S + Math.max(0, ...waits);
}
