import type { HealthCheck } from "../settings/health-check.ts";

/**
 * Fields of Envoy's cluster that an EnvoyFilter sets; the health check has the fields of the settings.
 * Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto
 */
export interface ClusterPatch {
  health_checks: HealthCheck[];
  /** Removes an endpoint that is gone at once, not only when its checks fail. Default: false. */
  ignore_health_on_host_removal?: boolean;
}
