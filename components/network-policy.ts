import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { portNumber } from "../lib/port.ts";
import { checked } from "./check.ts";

type NetworkPolicySpec = kubernetes.types.input.networking.v1.NetworkPolicySpec;
type IngressRule = kubernetes.types.input.networking.v1.NetworkPolicyIngressRule;
type EgressRule = kubernetes.types.input.networking.v1.NetworkPolicyEgressRule;

/** Arguments of {@link MeshNetworkPolicy}. */
export interface MeshNetworkPolicyArgs {
  /** Namespace of the mesh. */
  namespace: pulumi.Input<string>;
  /** Label `app` of the consumer. */
  caller: pulumi.Input<string>;
  /** Label `app` of the provider. */
  callee: pulumi.Input<string>;
  /** Triple port of the provider. */
  port: pulumi.Input<number>;
  /** Whether all other pods of the namespace send and take nothing; plain, since a policy is there or is not. */
  defaultDeny: boolean;
}

function podsOf(app: pulumi.Input<string>): { podSelector: { matchLabels: { app: pulumi.Input<string> } } } {
  return { podSelector: { matchLabels: { app } } };
}

function tcp(...ports: pulumi.Input<number>[]): { protocol: string; port: pulumi.Input<number> }[] {
  return ports.map((port) => ({ protocol: "TCP", port }));
}

/** Merged metrics and rewritten probes, health, Envoy's metrics. Source: https://istio.io/latest/docs/ops/deployment/application-requirements/ */
const PROXY_PORTS = [15020, 15021, 15090];
/** DNS, wherever it runs: a node-local cache has no pod that could be selected. */
const DNS = { ports: [{ protocol: "UDP", port: 53 }, ...tcp(53)] };
/** Configuration and certificates, from istiod in whatever namespace. */
const ISTIOD = { to: [{ namespaceSelector: {}, ...podsOf("istiod") }], ports: tcp(15012) };

/** A policy of the pods of `app`: they talk to DNS, istiod and `calls`, and are called by metrics and `callers`. */
function policyOf(app: pulumi.Input<string>, callers: IngressRule[], calls: EgressRule[]): NetworkPolicySpec {
  return {
    ...podsOf(app),
    policyTypes: ["Ingress", "Egress"],
    ingress: [...callers, { from: [{ namespaceSelector: {} }], ports: tcp(...PROXY_PORTS) }],
    egress: [...calls, DNS, ISTIOD],
  };
}

/**
 * What the pod network passes of the mesh, where the cluster's CNI enforces it. A sidecar's mTLS goes to the port that is called: 15008 is of
 * the ambient mode alone. The kubelet's probes need no rule, since a pod's own node may always reach it.
 * Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
 */
export class MeshNetworkPolicy extends pulumi.ComponentResource {
  constructor(name: string, args: MeshNetworkPolicyArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:network-policy:MeshNetworkPolicy", name, {}, opts);
    const { namespace, caller, callee } = args;
    const ports = tcp(checked(this, "port", args.port, portNumber));
    const policies: [string, pulumi.Input<string>, NetworkPolicySpec][] = [
      ["callee", callee, policyOf(callee, [{ from: [podsOf(caller)], ports }], [])],
      ["caller", caller, policyOf(caller, [], [{ to: [podsOf(callee)], ports }])],
    ];
    if (args.defaultDeny)
      policies.push([
        "default-deny",
        "default-deny",
        { podSelector: {}, policyTypes: ["Ingress", "Egress"] },
      ]);
    for (const [suffix, policy, spec] of policies) {
      new kubernetes.networking.v1.NetworkPolicy(
        `${name}-${suffix}`,
        { metadata: { name: policy, namespace }, spec },
        { parent: this },
      );
    }
    this.registerOutputs({});
  }
}
