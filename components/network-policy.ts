import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

type NetworkPolicySpec = kubernetes.types.input.networking.v1.NetworkPolicySpec;
type IngressRule = kubernetes.types.input.networking.v1.NetworkPolicyIngressRule;
type EgressRule = kubernetes.types.input.networking.v1.NetworkPolicyEgressRule;

/** Service, with the values that its NetworkPolicy needs. */
export interface NetworkedService {
  /** Label `app` of the pods. */
  application: string;
  /** Triple port. */
  port: number;
  /** Names of the callees. */
  calls: readonly string[];
}

/** Arguments of {@link MeshNetworkPolicy}. */
export interface MeshNetworkPolicyArgs {
  /** Namespace of the mesh. */
  namespace: pulumi.Input<string>;
  /** Services by name. Plain, since resources are named after them. */
  services: ReadonlyMap<string, NetworkedService>;
  /**
   * Namespaces that the proxies send data to, such as that of a trace collector. All their pods and
   * ports are allowed. Default: none.
   */
  collectors?: readonly string[];
  /**
   * Blocks all traffic of the other pods in the namespace. Plain, since it decides whether a policy
   * exists.
   */
  defaultDeny: boolean;
}

function podsOf(app: string): { podSelector: { matchLabels: { app: string } } } {
  return { podSelector: { matchLabels: { app } } };
}

function tcp(...ports: number[]): { protocol: string; port: number }[] {
  return ports.map((port) => ({ protocol: "TCP", port }));
}

/**
 * Ports of the proxy: merged metrics and rewritten probes, health, Envoy's metrics.
 * Source: https://istio.io/latest/docs/ops/deployment/application-requirements/
 */
const PROXY_PORTS = [15020, 15021, 15090];
/** DNS at any address, because a node-local cache has no pod to select. */
const DNS = { ports: [{ protocol: "UDP", port: 53 }, ...tcp(53)] };
/**
 * DNS of OpenShift. A policy applies to the port of the pod, which differs from the Service's port
 * there.
 * Source: https://github.com/nmstate/kubernetes-nmstate/pull/1570
 */
const OPENSHIFT_DNS = {
  to: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "openshift-dns" } } }],
  ports: [{ protocol: "UDP", port: 5353 }, ...tcp(5353)],
};
/** Configuration and certificates from istiod, in any namespace. */
const ISTIOD = { to: [{ namespaceSelector: {}, ...podsOf("istiod") }], ports: tcp(15012) };

function toNamespace(namespace: string): EgressRule {
  return { to: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } } }] };
}

/**
 * Returns the policy of a service's pods.
 * - Egress: callees, DNS, istiod and trace collectors.
 * - Ingress: callers, and any namespace on the ports of the proxy.
 */
function policyOf(
  { application, port }: NetworkedService,
  callers: readonly NetworkedService[],
  callees: readonly NetworkedService[],
  collectors: readonly string[],
): NetworkPolicySpec {
  const ingress: IngressRule[] = callers.map((caller) => ({
    from: [podsOf(caller.application)],
    ports: tcp(port),
  }));
  const egress: EgressRule[] = callees.map((callee) => ({
    to: [podsOf(callee.application)],
    ports: tcp(callee.port),
  }));
  return {
    ...podsOf(application),
    policyTypes: ["Ingress", "Egress"],
    ingress: [...ingress, { from: [{ namespaceSelector: {} }], ports: tcp(...PROXY_PORTS) }],
    egress: [...egress, DNS, OPENSHIFT_DNS, ISTIOD, ...collectors.map(toNamespace)],
  };
}

/**
 * NetworkPolicies of the mesh. The cluster's CNI must enforce them. A sidecar's mTLS uses the
 * callee's port; only the ambient mode uses 15008. The kubelet's probes need no rule, because a
 * node can always reach its pods.
 * Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
 */
export class MeshNetworkPolicy extends pulumi.ComponentResource {
  /** Default deny, if enabled. */
  readonly common: readonly pulumi.Resource[];
  readonly #policies: ReadonlyMap<string, pulumi.Resource>;

  constructor(name: string, args: MeshNetworkPolicyArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:network-policy:MeshNetworkPolicy", name, {}, opts);
    const { services } = args;
    this.#policies = new Map(
      [...services].map(([key, service]) => {
        const callers = [...services.values()].filter(({ calls }) => calls.includes(key));
        const callees = service.calls.flatMap((callee) => services.get(callee) ?? []);
        const spec = policyOf(service, callers, callees, args.collectors ?? []);
        return [key, this.#policy(`${name}-${key}`, args.namespace, service.application, spec)];
      }),
    );
    this.common = args.defaultDeny ? [this.#denyOthers(name, args.namespace)] : [];
    this.registerOutputs({});
  }

  /** Returns the policy of a service's pods; none for an unknown service. */
  policiesOf(service: string): pulumi.Resource[] {
    const policy = this.#policies.get(service);
    return policy === undefined ? [] : [policy];
  }

  #denyOthers(name: string, namespace: pulumi.Input<string>): pulumi.Resource {
    const nothing = { podSelector: {}, policyTypes: ["Ingress", "Egress"] };
    const policies = [...this.#policies.values()];
    return this.#policy(`${name}-default-deny`, namespace, "default-deny", nothing, policies);
  }

  #policy(
    resource: string,
    namespace: pulumi.Input<string>,
    policy: string,
    spec: NetworkPolicySpec,
    dependsOn: pulumi.Resource[] = [],
  ): pulumi.Resource {
    const metadata = { name: policy, namespace };
    const opts = { parent: this, dependsOn };
    return new kubernetes.networking.v1.NetworkPolicy(resource, { metadata, spec }, opts);
  }
}
