import { seconds } from "../../settings/duration.ts";
import { deploymentName, type Edge, edgesOf, mostPods, type Service } from "../../settings/graph.ts";
import { detectionBounds, type HealthCheck, unusedBound } from "../../settings/health-check.ts";
import { most, type Scale } from "../../settings/scale.ts";
import type { Settings } from "../../settings/settings.ts";

const GRPC_CHECK_PATH = "/grpc.health.v1.Health/Check";

/** A Deployment of a service, and its pods. */
interface ExpectedDeployment {
  /** Its name. */
  readonly deployment: string;
  /** Label `version` of its pods. */
  readonly version: string;
  /** How many pods it has. */
  readonly scale: Scale;
}

/** What the mesh has to be like between a caller and a provider that it calls. */
export interface Expected {
  /** Label `app` of the provider. */
  readonly provider: string;
  /** The provider's versions: subsets, shares of the calls in percent. */
  readonly versions: readonly { readonly name: string; readonly weight: number }[];
  /** Label `app` of the caller. */
  readonly consumer: string;
  /** The Deployments of both. */
  readonly deployments: readonly (ExpectedDeployment & { readonly side: "provider" | "consumer" })[];
  /** Time from one call to the next, seconds; undefined where the caller calls only when it is called, or nobody knows. */
  readonly interval: number | undefined;
  /** gRPC services that are called. */
  readonly services: readonly string[];
  /** DNS name of the provider's Service. */
  readonly host: string;
  /** Port of the provider. */
  readonly port: number;
  /** How Envoy picks an endpoint. */
  readonly loadBalancer: string;
  /** Path at which the health check asks; undefined where it leaves no line in an access log. */
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

/** The edges of the call graph whose callers run. */
function runningEdges({ services }: Settings): Edge[] {
  return edgesOf(services).filter(({ caller }) => mostPods(caller) > 0);
}

/** What the configuration says that the mesh is like, for each caller and each provider that it calls. */
export function expectedOf(settings: Settings): Expected[] {
  const { namespace, clusterDomain } = settings;
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
    host: `${callee.name}.${namespace}.svc.${clusterDomain}`,
    port: callee.port,
    loadBalancer: callee.traffic.loadBalancer,
    checkPath: checkPathOf(callee.healthCheck),
  }));
}

/** The provider's cluster of a subset; the empty subset is all of its pods. */
export function clusterName({ host, port }: Expected, subset: string): string {
  return `outbound|${port}|${subset}|${host}`;
}

/** Whether a cluster is one of the provider's. */
export function isProviderCluster({ host, port }: Expected, name: string): boolean {
  return name.startsWith(`outbound|${port}|`) && name.endsWith(`|${host}`);
}

/** The subset of a cluster's name; empty for the cluster without one. */
export function subsetOf(cluster: string): string {
  return cluster.split("|")[2] ?? "";
}

/** A cluster's name without the host, for people. */
export function shortName(cluster: string): string {
  return cluster.replace(/[^|]*$/, "");
}

/** Time for logs to be written and read, seconds. */
const MARGIN_S = 3;
/** Calls an endpoint is given, on average, to be picked once at least. */
const CALLS_PER_ENDPOINT = 5;
/** The longest wait for a rarely called endpoint, seconds. */
const MAX_CALLS_S = 120;

/** Until each endpoint has been called, seconds; a caller that waits to be called itself need not call. */
function callsWindow({ caller, callee }: Edge): number {
  const { interval } = caller;
  if (interval === undefined) return 0;
  const waits = callee.versions
    .filter(({ weight }) => weight > 0)
    .map(({ weight, ...scale }) => (seconds(interval) * CALLS_PER_ENDPOINT * most(scale) * 100) / weight);
  return Math.min(MAX_CALLS_S, Math.max(...waits));
}

/** Until each endpoint has been checked, seconds. */
function checksWindow({ caller, callee: { healthCheck } }: Edge): number {
  return caller.interval === undefined ? unusedBound(healthCheck) : detectionBounds(healthCheck).answering;
}

/**
 * How long to watch at most, seconds: until each endpoint has been checked once, and called, at the configured pace.
 * A version with a small share of few calls may need longer than is waited for.
 */
export function windowSeconds(settings: Settings): number {
  const waits = runningEdges(settings).map((edge) => Math.max(callsWindow(edge), checksWindow(edge)));
  return MARGIN_S + Math.max(0, ...waits);
}
