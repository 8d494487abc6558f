import { seconds } from "../../lib/duration.ts";
import { detectionBounds, type HealthCheck } from "../../lib/health-check.ts";
import { most, type Scale } from "../../lib/scale.ts";
import type { Settings } from "../../settings.ts";

/** The call of the seed. */
export const GREET_PATH = "/org.apache.dubbo.samples.Greeter/greet";
const GRPC_CHECK_PATH = "/grpc.health.v1.Health/Check";

/** What a stack's mesh has to be like. */
export interface Expected {
  /** Label `app` of the provider. */
  readonly provider: string;
  /** The provider's versions: Deployments, subsets, shares of the calls in percent. */
  readonly versions: readonly (Scale & { readonly name: string; readonly weight: number })[];
  /** Label `app` of the consumer. */
  readonly consumer: string;
  /** Pods of the consumer. */
  readonly consumers: Scale;
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

/** What the configuration says that the mesh is like. */
export function expectedOf(settings: Settings): Expected {
  const { provider, consumer, namespace, clusterDomain, traffic, healthCheck } = settings;
  return {
    provider: provider.name,
    versions: provider.versions,
    consumer: consumer.name,
    consumers: consumer,
    host: `${provider.name}.${namespace}.svc.${clusterDomain}`,
    port: provider.port,
    loadBalancer: traffic.loadBalancer,
    checkPath: checkPathOf(healthCheck),
  };
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

/**
 * How long to watch at most, seconds: until each endpoint has been checked once, and called, at the configured pace.
 * A version with a small share of few calls may need longer than is waited for.
 */
export function windowSeconds({ healthCheck, consumer, provider }: Settings): number {
  const waits = provider.versions
    .filter(({ weight }) => weight > 0)
    .map(
      ({ weight, ...scale }) =>
        (seconds(consumer.interval) * CALLS_PER_ENDPOINT * most(scale) * 100) / weight,
    );
  return (
    MARGIN_S + Math.max(detectionBounds(healthCheck).answering, Math.min(MAX_CALLS_S, Math.max(...waits)))
  );
}
