import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { HealthCheck } from "../lib/health-check.ts";
import type { ListOperation } from "../lib/istio.ts";
import { portNumber } from "../lib/port.ts";
import { checked } from "./check.ts";

/** Plain values of the health check's EnvoyFilter. */
export interface HealthCheckRules {
  /** Label `app` of the callers whose Envoys check. */
  caller: string;
  /** DNS name of the provider's Service. */
  host: string;
  /** Port of the provider's Service. */
  port: number;
  /** The subsets that calls are routed to: the clusters that carry traffic. */
  subsets: readonly string[];
  /** The check, in Envoy's words. */
  healthCheck: HealthCheck;
  /** How it is merged into a cluster: before Istio 1.31, MERGE is the only way. */
  operation: ListOperation;
}

/** Arguments of {@link ActiveHealthCheck}. */
export interface ActiveHealthCheckArgs {
  /** Name of the EnvoyFilter; the seed's is `cluster`. */
  name: pulumi.Input<string>;
  /** Namespace of the callers. */
  namespace: pulumi.Input<string>;
  /** What is checked, and how. */
  rules: { [K in keyof HealthCheckRules]: pulumi.Input<HealthCheckRules[K]> };
}

/** The check with its authority, as Envoy takes it. */
function healthCheckOf({ host, healthCheck }: HealthCheckRules): HealthCheck {
  const grpc = healthCheck.grpc_health_check;
  return grpc === undefined
    ? healthCheck
    : { ...healthCheck, grpc_health_check: { ...grpc, authority: grpc.authority ?? host } };
}

/** Patches of the default priority, 0, come before those of this one, whenever they were made: what replaces has to be the last. */
const LAST = 10;

/**
 * An EnvoyFilter that gives each cluster that carries calls one health check. MERGE appends to `health_checks`, so a cluster
 * must be matched by one patch only: one a subset, and none for the cluster without subset, which carries no call.
 * MERGE_AND_REPLACE_LIST takes the place of what earlier patches have put there.
 * Source: https://istio.io/latest/docs/reference/config/networking/envoy-filter/
 */
export function envoyFilterSpec(rules: HealthCheckRules): object {
  const { caller, host, port, subsets, operation } = rules;
  const value = {
    health_checks: [healthCheckOf(rules)],
    // Without it, a pod that is gone stays in the cluster for as long as its checks pass.
    ignore_health_on_host_removal: true,
  };
  return {
    ...(operation === "MERGE_AND_REPLACE_LIST" && { priority: LAST }),
    workloadSelector: { labels: { app: caller } },
    configPatches: subsets.map((subset) => ({
      applyTo: "CLUSTER",
      match: { context: "SIDECAR_OUTBOUND", cluster: { service: host, portNumber: port, subset } },
      patch: { operation, value },
    })),
  };
}

/** Lets the callers' Envoys check a provider actively, on every cluster that carries calls to it. */
export class ActiveHealthCheck extends pulumi.ComponentResource {
  /** The EnvoyFilter's name. */
  readonly envoyFilterName: pulumi.Output<string>;

  constructor(name: string, args: ActiveHealthCheckArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:health-check:ActiveHealthCheck", name, {}, opts);
    const port = checked(this, "port", args.rules.port, portNumber);
    const rules = pulumi.output({ ...args.rules, port }) as pulumi.Output<HealthCheckRules>;
    const filter = new kubernetes.apiextensions.CustomResource(
      `${name}-envoy-filter`,
      {
        apiVersion: "networking.istio.io/v1alpha3",
        kind: "EnvoyFilter",
        metadata: { name: args.name, namespace: args.namespace },
        spec: rules.apply((plain) => {
          this.#warnOfPlaintext(plain.healthCheck);
          return envoyFilterSpec(plain);
        }),
      },
      { parent: this },
    );
    this.envoyFilterName = filter.metadata.apply(({ name: filterName }) => filterName);
    this.registerOutputs({ envoyFilterName: this.envoyFilterName });
  }

  #warnOfPlaintext(healthCheck: HealthCheck): void {
    if (healthCheck.transport_socket_match_criteria === undefined) return;
    void pulumi.log.warn(
      "healthCheck.transport_socket_match_criteria: unless it matches Istio's own tlsMode: istio, the check goes out in plaintext " +
        "and fails under STRICT mTLS; leave it out to check over mTLS",
      this,
    );
  }
}
