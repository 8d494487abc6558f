import * as pulumi from "@pulumi/pulumi";
import type { HealthCheck } from "../settings/health-check.ts";
import type { ListOperation } from "../settings/istio.ts";
import type { ClusterPatch } from "./envoy.ts";
import type { EnvoyFilterSpec } from "./generated/istio.ts";
import { istioResource } from "./istio-resource.ts";

/** A provider whose pods are checked. */
export interface CheckedProvider {
  /** DNS name of its Service. */
  host: string;
  /** Port of its Service. */
  port: number;
  /** The subsets that calls are routed to: the clusters that carry traffic. */
  subsets: readonly string[];
  /** The gRPC service that is asked for where the check names none. */
  service: string;
  /** The check, in Envoy's words. */
  healthCheck: HealthCheck;
}

/** Arguments of {@link ActiveHealthCheck}. */
export interface ActiveHealthCheckArgs {
  /** Name of the EnvoyFilter; the sample's is `cluster`. */
  name: string;
  /** Namespace of the callers. */
  namespace: pulumi.Input<string>;
  /** Label `app` of the callers whose Envoys check. */
  caller: string;
  /** Providers to check, each once: Envoy refuses two checks on one cluster. */
  providers: readonly CheckedProvider[];
  /** Way to merge a check into a cluster. MERGE_AND_REPLACE_LIST needs Istio 1.31 or newer. */
  operation: ListOperation;
}

/** Values of the EnvoyFilter of a health check. */
export type HealthCheckRules = Pick<ActiveHealthCheckArgs, "caller" | "providers" | "operation">;

type ConfigPatch = NonNullable<EnvoyFilterSpec["configPatches"]>[number];

/** The check with its authority and its service, as Envoy takes it. */
function healthCheckOf({ host, service, healthCheck }: CheckedProvider): HealthCheck {
  const grpc = healthCheck.grpc_health_check;
  if (grpc === undefined) return healthCheck;
  const named: typeof grpc = { service_name: service, authority: host };
  return { ...healthCheck, grpc_health_check: { ...named, ...grpc } };
}

/** One patch a subset. */
function patchesOf(provider: CheckedProvider, operation: ListOperation): ConfigPatch[] {
  const { host, port, subsets } = provider;
  const value: ClusterPatch = {
    health_checks: [healthCheckOf(provider)],
    // Without it, a pod that is gone stays in the cluster for as long as its checks pass.
    ignore_health_on_host_removal: true,
  };
  return subsets.map((subset): ConfigPatch => ({
    applyTo: "CLUSTER",
    match: { context: "SIDECAR_OUTBOUND", cluster: { service: host, portNumber: port, subset } },
    patch: { operation, value },
  }));
}

/** Patches of the default priority, 0, come before those of this one, whenever they were made: what replaces has to be the last. */
const LAST = 10;

/**
 * An EnvoyFilter that gives each cluster that carries calls one health check. MERGE appends to `health_checks`, so a cluster
 * must be matched by one patch only: one a subset, and none for the cluster without subset, which carries no call.
 * MERGE_AND_REPLACE_LIST takes the place of what earlier patches have put there.
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

/** Lets the callers' Envoys check what they call, actively, on every cluster that carries their calls. */
export class ActiveHealthCheck extends pulumi.ComponentResource {
  /** The EnvoyFilter's name. */
  readonly envoyFilterName: pulumi.Output<string>;

  constructor(name: string, args: ActiveHealthCheckArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:health-check:ActiveHealthCheck", name, {}, opts);
    const { name: filterName, namespace, providers } = args;
    const plaintext = providers.some(({ healthCheck }) => healthCheck.transport_socket_match_criteria);
    if (plaintext) this.#warnOfPlaintext();
    const filter = istioResource(
      `${name}-envoy-filter`,
      "EnvoyFilter",
      { name: filterName, namespace, spec: envoyFilterSpec(args) },
      { parent: this },
    );
    this.envoyFilterName = filter.metadata.apply((metadata) => metadata.name);
    this.registerOutputs({ envoyFilterName: this.envoyFilterName });
  }

  #warnOfPlaintext(): void {
    void pulumi.log.warn(
      "healthCheck.transport_socket_match_criteria: unless it matches Istio's own tlsMode: istio, the check goes out in plaintext " +
        "and fails under STRICT mTLS; leave it out to check over mTLS",
      this,
    );
  }
}
