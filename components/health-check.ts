import * as pulumi from "@pulumi/pulumi";
import type { HealthCheck } from "../settings/health-check.ts";
import type { ListOperation } from "../settings/istio.ts";
import type { ClusterPatch } from "./envoy.ts";
import type { EnvoyFilterSpec } from "./generated/istio.ts";
import { IstioResource } from "./istio-resource.ts";

/** Provider with a health check. */
export interface CheckedProvider {
  /** DNS name of the provider's Service. */
  host: string;
  /** Port of the provider's Service. */
  port: number;
  /** Subsets that calls are routed to. Their clusters carry the traffic. */
  subsets: readonly string[];
  /** gRPC service to check, unless the health check names another one. */
  service: string;
  /** Health check, with Envoy's fields. */
  healthCheck: HealthCheck;
  /**
   * True if a DestinationRule sets outlier detection for these clusters. An ejected endpoint then
   * stays out for its time, even if its check passes. Must be false otherwise, because Envoy would
   * detect outliers by its own defaults.
   */
  outlierDetection: boolean;
}

/** Arguments of {@link ActiveHealthCheck}. */
export interface ActiveHealthCheckArgs {
  /** Name of the EnvoyFilter; the sample's is `cluster`. */
  name: string;
  /** Namespace of the callers. */
  namespace: pulumi.Input<string>;
  /** Label `app` of the callers whose Envoys make the checks. */
  caller: string;
  /** Providers to check, each only once: Envoy rejects two checks on one cluster. */
  providers: readonly CheckedProvider[];
  /**
   * Operation that merges a check into a cluster. MERGE_AND_REPLACE_LIST needs Istio 1.31 or newer.
   */
  operation: ListOperation;
}

/** Values of the EnvoyFilter of a health check. */
export type HealthCheckRules = Pick<ActiveHealthCheckArgs, "caller" | "providers" | "operation">;

type ConfigPatch = NonNullable<EnvoyFilterSpec["configPatches"]>[number];

/** Returns the health check with defaults for its authority and its gRPC service. */
function healthCheckOf({ host, service, healthCheck }: CheckedProvider): HealthCheck {
  const grpc = healthCheck.grpc_health_check;
  if (grpc === undefined) return healthCheck;
  const named: typeof grpc = { service_name: service, authority: host };
  return { ...healthCheck, grpc_health_check: { ...named, ...grpc } };
}

/** Returns the fields that a check adds to a cluster of the provider. */
export function clusterPatch(provider: CheckedProvider): ClusterPatch {
  // By default, the next passing check would return an endpoint whose calls fail. Source: Envoy's
  // OutlierDetection.successful_active_health_check_uneject_host
  const lasting: Pick<ClusterPatch, "outlier_detection"> = provider.outlierDetection
    ? { outlier_detection: { successful_active_health_check_uneject_host: false } }
    : {};
  return {
    health_checks: [healthCheckOf(provider)],
    // Otherwise, a deleted pod stays in the cluster while its checks pass.
    ignore_health_on_host_removal: true,
    ...lasting,
  };
}

function patchesOf(provider: CheckedProvider, operation: ListOperation): ConfigPatch[] {
  const { host, port, subsets } = provider;
  const value = clusterPatch(provider);
  return subsets.map((subset): ConfigPatch => ({
    applyTo: "CLUSTER",
    match: { context: "SIDECAR_OUTBOUND", cluster: { service: host, portNumber: port, subset } },
    patch: { operation, value },
  }));
}

/**
 * Priority of an EnvoyFilter whose patch must come last because it replaces the list. EnvoyFilters
 * of the default priority, 0, come before it, whatever their age.
 */
const LAST = 10;

/**
 * Returns an EnvoyFilter that gives one health check to each cluster that carries calls.
 *
 * MERGE appends to `health_checks`, so only one patch may match a cluster. Each subset has one
 * patch. The cluster without a subset carries no calls and has none. MERGE_AND_REPLACE_LIST
 * replaces the checks of earlier patches.
 * Source: https://istio.io/latest/docs/reference/config/networking/envoy-filter/
 */
export function envoyFilterSpec({ caller, providers, operation }: HealthCheckRules): EnvoyFilterSpec {
  const order: EnvoyFilterSpec = operation === "MERGE_AND_REPLACE_LIST" ? { priority: LAST } : {};
  return {
    ...order,
    workloadSelector: { labels: { app: caller } },
    configPatches: providers.flatMap((provider) => patchesOf(provider, operation)),
  };
}

/**
 * Active health checks of a caller's callees. The caller's Envoys check each cluster that carries
 * its calls.
 */
export class ActiveHealthCheck extends IstioResource<"EnvoyFilter"> {
  constructor(name: string, args: ActiveHealthCheckArgs, opts?: pulumi.CustomResourceOptions) {
    const { name: filterName, namespace, providers } = args;
    super(name, "EnvoyFilter", { name: filterName, namespace, spec: envoyFilterSpec(args) }, opts);
    const plaintext = providers.some(({ healthCheck }) => healthCheck.transport_socket_match_criteria);
    if (plaintext) this.#warnOfPlaintext();
  }

  #warnOfPlaintext(): void {
    void pulumi.log.warn(
      "healthCheck.transport_socket_match_criteria: without tlsMode: istio, the check is sent in plaintext " +
        "and fails under STRICT mTLS; leave it out to check over mTLS",
      this,
    );
  }
}
