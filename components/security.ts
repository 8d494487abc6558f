import * as pulumi from "@pulumi/pulumi";
import type { HealthCheck } from "../settings/health-check.ts";
import type { Security } from "../settings/security.ts";
import type { AuthorizationPolicySpec, PeerAuthenticationSpec } from "./generated/istio.ts";
import { istioResource } from "./istio-resource.ts";

/** Who may call a service. */
export interface AllowedCalls {
  /** Label `app` of the pods that are called. */
  callee: string;
  /** Port that is called. */
  port: number;
  /** Namespace of the callers. */
  namespace: string;
  /** ServiceAccount of the callers; without one, nobody may call. */
  caller?: string | undefined;
  /** gRPC services that they may call, each of its methods. */
  services: readonly string[];
  /** The active check, which the callers' Envoys make under the same identity. */
  healthCheck: HealthCheck;
}

/** A service, and all who may call it. Plain, since resources are named after the callers. */
export interface ServiceCallers extends Omit<AllowedCalls, "namespace" | "caller"> {
  /** ServiceAccounts of its callers; where there are none, nobody may call. */
  callers: readonly string[];
}

/** Arguments of {@link MeshSecurity}. */
export interface MeshSecurityArgs {
  /** Namespace of the mesh. */
  namespace: pulumi.Input<string>;
  /** Whether pods refuse plaintext; Istio's default is PERMISSIVE. */
  mtls: Security["mtls"];
  /** Who may call each service, by its name; a service that is not named answers everybody. Plain, since a policy is there or is not. */
  allowed: ReadonlyMap<string, ServiceCallers>;
  /** Whether all other pods of the namespace refuse every call; plain, since a policy is there or is not. */
  defaultDeny: boolean;
}

type Rule = NonNullable<AuthorizationPolicySpec["rules"]>[number];
type Operation = NonNullable<Rule["to"]>[number];

const HEALTH_PATH = "/grpc.health.v1.Health/Check";

/** A check over HTTP asks at a path of its own; one over gRPC where every caller may ask. */
function checkOperations({ http_health_check: http }: HealthCheck, port: string): Operation[] {
  if (http === undefined) return [];
  const path = http.path.replace(/[?#].*$/, "");
  return [{ operation: { ports: [port], methods: [http.method ?? "GET"], paths: [path] } }];
}

/**
 * Lets an identity call the services and ask for health, on the Triple port; whatever no policy allows that arrives at the pods through their
 * Envoy is refused. The kubelet's probes do not: Istio has them answered by its agent on 15020, which asks the application inside the pod.
 * `cluster.local` stands for the mesh's trust domain, whatever its name. Source: Istio's trustdomain/bundle.go;
 * https://istio.io/latest/docs/reference/config/security/authorization-policy/
 */
export function authorizationPolicySpec(calls: AllowedCalls): AuthorizationPolicySpec {
  const { callee, namespace, caller, services, healthCheck } = calls;
  const selected: AuthorizationPolicySpec = { selector: { matchLabels: { app: callee } }, action: "ALLOW" };
  // Without a rule, nobody may call.
  if (caller === undefined) return selected;
  const port = String(calls.port);
  const paths = [...services.map((service) => `/${service}/*`), HEALTH_PATH];
  const principals = [`cluster.local/ns/${namespace}/sa/${caller}`];
  return {
    ...selected,
    rules: [
      {
        from: [{ source: { principals } }],
        to: [
          { operation: { ports: [port], methods: ["POST"], paths } },
          ...checkOperations(healthCheck, port),
        ],
      },
    ],
  };
}

function peerAuthenticationSpec(mode: Security["mtls"]): PeerAuthenticationSpec {
  return { mtls: { mode } };
}

/** Mutual TLS of the namespace, and who may call whom in it. */
export class MeshSecurity extends pulumi.ComponentResource {
  /** Rules of every call: mutual TLS and, if there is one, the default deny. */
  readonly common: readonly pulumi.Resource[];
  /** AuthorizationPolicies by callee, then by the ServiceAccount that may call. */
  readonly #allowed: ReadonlyMap<string, ReadonlyMap<string, pulumi.Resource>>;

  constructor(name: string, args: MeshSecurityArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:security:MeshSecurity", name, {}, opts);
    const { namespace } = args;
    const mtls = istioResource(
      `${name}-mtls`,
      "PeerAuthentication",
      { name: "default", namespace, spec: pulumi.output(args.mtls).apply(peerAuthenticationSpec) },
      { parent: this },
    );
    this.#allowed = new Map(
      [...args.allowed].map(([service, allowed]) => [
        service,
        this.#allow(`${name}-${service}`, namespace, allowed),
      ]),
    );
    this.common = [mtls, ...(args.defaultDeny ? [this.#denyOthers(name, namespace)] : [])];
    this.registerOutputs({});
  }

  /** Policies that select the pods of `callee`; none for a service that answers every caller. */
  policiesOf(callee: string): pulumi.Resource[] {
    return [...(this.#allowed.get(callee)?.values() ?? [])];
  }

  /** Policy that lets the ServiceAccount `caller` call `callee`; none if no policy is needed. */
  policyFor(callee: string, caller: string): pulumi.Resource[] {
    const policy = this.#allowed.get(callee)?.get(caller);
    return policy === undefined ? [] : [policy];
  }

  /**
   * Refuses calls that no other policy allows.
   * Source: https://istio.io/latest/docs/concepts/security/#allow-nothing-deny-all-and-allow-all-policy
   */
  #denyOthers(name: string, namespace: pulumi.Input<string>): pulumi.Resource {
    const policies = [...this.#allowed.keys()].flatMap((callee) => this.policiesOf(callee));
    return this.#policy(`${name}-default-deny`, namespace, "default-deny", {}, policies);
  }

  /**
   * Declares a policy for each identity that may call: Pulumi creates new ones before the callers' pods and
   * deletes old ones after them, and a call passes if any policy allows it. In one shared list, an identity would
   * be removed while pods still have it.
   */
  #allow(
    name: string,
    namespace: pulumi.Input<string>,
    { callers, ...allowed }: ServiceCallers,
  ): ReadonlyMap<string, pulumi.Resource> {
    const { callee } = allowed;
    const specOf = (caller?: string): pulumi.Output<AuthorizationPolicySpec> =>
      pulumi
        .output(namespace)
        .apply((home) => authorizationPolicySpec({ ...allowed, namespace: home, caller }));
    if (callers.length === 0)
      return new Map([["", this.#policy(`${name}-calls`, namespace, callee, specOf())]]);
    const policies = callers.map((caller) => {
      // The name of a Service has no dot.
      const policy = `${callee}.${caller}`;
      const resource = this.#policy(`${name}.${caller}-calls`, namespace, policy, specOf(caller));
      return [caller, resource] as const;
    });
    return new Map(policies);
  }

  #policy(
    resource: string,
    namespace: pulumi.Input<string>,
    policy: string,
    spec: pulumi.Input<AuthorizationPolicySpec>,
    dependsOn: pulumi.Resource[] = [],
  ): pulumi.Resource {
    const args = { name: policy, namespace, spec };
    return istioResource(resource, "AuthorizationPolicy", args, { parent: this, dependsOn });
  }
}
