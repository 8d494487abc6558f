import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

type NetworkPolicySpec = kubernetes.types.input.networking.v1.NetworkPolicySpec;
type IngressRule = kubernetes.types.input.networking.v1.NetworkPolicyIngressRule;
type EgressRule = kubernetes.types.input.networking.v1.NetworkPolicyEgressRule;

/** A service, as the pod network sees it. */
export interface NetworkedService {
  /** Label `app` of its pods. */
  application: string;
  /** Its Triple port. */
  port: number;
  /** Names of the services that it calls. */
  calls: readonly string[];
}

/** Arguments of {@link MeshNetworkPolicy}. */
export interface MeshNetworkPolicyArgs {
  /** Namespace of the mesh. */
  namespace: pulumi.Input<string>;
  /** The services by their names; plain, since resources are named after them. */
  services: ReadonlyMap<string, NetworkedService>;
  /** Namespaces whose pods, all of them, the proxies themselves send to, at any port, such as that of a collector of traces. Default: none. */
  collectors?: readonly string[];
  /** Whether all other pods of the namespace send and take nothing; plain, since a policy is there or is not. */
  defaultDeny: boolean;
}

function podsOf(app: string): { podSelector: { matchLabels: { app: string } } } {
  return { podSelector: { matchLabels: { app } } };
}

function tcp(...ports: number[]): { protocol: string; port: number }[] {
  return ports.map((port) => ({ protocol: "TCP", port }));
}

/** Merged metrics and rewritten probes, health, Envoy's metrics. Source: https://istio.io/latest/docs/ops/deployment/application-requirements/ */
const PROXY_PORTS = [15020, 15021, 15090];
/** DNS, wherever it runs: a node-local cache has no pod that could be selected. */
const DNS = { ports: [{ protocol: "UDP", port: 53 }, ...tcp(53)] };
/**
 * OpenShift's DNS: a policy sees the port of the pod behind a Service, which is another one there.
 * Source: https://github.com/nmstate/kubernetes-nmstate/pull/1570
 */
const OPENSHIFT_DNS = {
  to: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "openshift-dns" } } }],
  ports: [{ protocol: "UDP", port: 5353 }, ...tcp(5353)],
};
/** Configuration and certificates, from istiod in whatever namespace. */
const ISTIOD = { to: [{ namespaceSelector: {}, ...podsOf("istiod") }], ports: tcp(15012) };

function toNamespace(namespace: string): EgressRule {
  return { to: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } } }] };
}

/** Pods of a service talk to DNS, istiod, collectors and what they call, and are called by metrics and their callers. */
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
 * What the pod network passes of the mesh, where the cluster's CNI enforces it. A sidecar's mTLS goes to the port that is called: 15008 is of
 * the ambient mode alone. The kubelet's probes need no rule, since a pod's own node may always reach it.
 * Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
 */
export class MeshNetworkPolicy extends pulumi.ComponentResource {
  /** The default deny, if there is one. */
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

  /** Policy of the pods of a service. */
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
