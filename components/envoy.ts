import type { HealthCheck } from "../settings/health-check.ts";

/**
 * Fields of Envoy's cluster that an EnvoyFilter sets. The type of the health check comes from the
 * settings.
 * Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto
 */
export interface ClusterPatch {
  health_checks: HealthCheck[];
  /** Removes an endpoint as soon as discovery drops it, before its checks fail. Default: false. */
  ignore_health_on_host_removal?: boolean;
  /** Passive checks of the cluster. Istio fills in all other fields from the DestinationRule. */
  outlier_detection?: {
    /** Returns an ejected endpoint when its active check passes. Default: true. */
    successful_active_health_check_uneject_host: boolean;
  };
}
