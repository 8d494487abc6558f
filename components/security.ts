import * as pulumi from "@pulumi/pulumi";
import type { HealthCheck } from "../settings/health-check.ts";
import type { Security } from "../settings/security.ts";
import type { AuthorizationPolicySpec, PeerAuthenticationSpec } from "./generated/istio.ts";
import { IstioResource } from "./istio-resource.ts";

/** Calls that one caller may make to a service. */
export interface AllowedCalls {
  /** Label `app` of the callee's pods. */
  callee: string;
  /** Triple port of the callee. */
  port: number;
  /** Namespace of the caller. */
  namespace: string;
  /** ServiceAccount of the caller; undefined to refuse every call. */
  caller?: string | undefined;
  /** gRPC services that the caller may call, with all their methods. */
  services: readonly string[];
  /** Active health check of the callee. The caller's Envoy makes it under the same identity. */
  healthCheck: HealthCheck;
}

/** Service and its permitted callers. Plain, since resources are named after the callers. */
export interface ServiceCallers extends Omit<AllowedCalls, "namespace" | "caller"> {
  /** ServiceAccounts of the callers. If there are none, the service refuses every call. */
  callers: readonly string[];
}

/** Arguments of {@link MeshSecurity}. */
export interface MeshSecurityArgs {
  /** Namespace of the mesh. */
  namespace: pulumi.Input<string>;
  /** STRICT makes pods refuse plaintext. Istio's default is PERMISSIVE. */
  mtls: Security["mtls"];
  /**
   * Permitted callers of each service, by its name. A service without an entry accepts every
   * caller. Plain, since it decides which policies exist.
   */
  allowed: ReadonlyMap<string, ServiceCallers>;
  /**
   * Makes all other pods of the namespace refuse every call. Plain, since it decides whether a
   * policy exists.
   */
  defaultDeny: boolean;
}

type Rule = NonNullable<AuthorizationPolicySpec["rules"]>[number];
type Operation = NonNullable<Rule["to"]>[number];

const HEALTH_PATH = "/grpc.health.v1.Health/Check";

/**
 * Returns the permission for a check over HTTP, which has its own path. A check over gRPC needs
 * none, because every caller may call the health service.
 */
function checkOperations({ http_health_check: http }: HealthCheck, port: string): Operation[] {
  if (http === undefined) return [];
  const path = http.path.replace(/[?#].*$/, "");
  return [{ operation: { ports: [port], methods: [http.method ?? "GET"], paths: [path] } }];
}

/**
 * Returns a policy that lets an identity call the services and the health check, on the Triple
 * port. Envoy refuses all other calls to the pods unless another policy allows them.
 *
 * The kubelet's probes bypass Envoy. Istio's agent answers them on 15020, and asks the application
 * inside the pod. `cluster.local` stands for the mesh's trust domain, whatever its name is.
 * Source: Istio's trustdomain/bundle.go;
 * https://istio.io/latest/docs/reference/config/security/authorization-policy/
 */
export function authorizationPolicySpec(calls: AllowedCalls): AuthorizationPolicySpec {
  const { callee, namespace, caller, services, healthCheck } = calls;
  const selected: AuthorizationPolicySpec = { selector: { matchLabels: { app: callee } }, action: "ALLOW" };
  // A policy without rules refuses every call.
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

/**
 * Returns the name of the policy that lets an account call a service. A Service's name has no dot,
 * so this name is unique.
 */
export function policyName(callee: string, caller: string): string {
  return `${callee}.${caller}`;
}

function peerAuthenticationSpec(mode: Security["mtls"]): PeerAuthenticationSpec {
  return { mtls: { mode } };
}

/** Mutual TLS of the namespace, and the policies of the calls in it. */
export class MeshSecurity extends pulumi.ComponentResource {
  /** Rules of every call: mutual TLS and, if enabled, the default deny. */
  readonly common: readonly pulumi.Resource[];
  /** AuthorizationPolicies by callee, then by the caller's ServiceAccount. */
  readonly #allowed: ReadonlyMap<string, ReadonlyMap<string, pulumi.Resource>>;

  constructor(name: string, args: MeshSecurityArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:security:MeshSecurity", name, {}, opts);
    const { namespace } = args;
    const mtls = new IstioResource(
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
   * Source:
   * https://istio.io/latest/docs/concepts/security/#allow-nothing-deny-all-and-allow-all-policy
   */
  #denyOthers(name: string, namespace: pulumi.Input<string>): pulumi.Resource {
    const policies = [...this.#allowed.keys()].flatMap((callee) => this.policiesOf(callee));
    return this.#policy(`${name}-default-deny`, namespace, "default-deny", {}, policies);
  }

  /**
   * Declares a policy for each identity that may call. Pulumi creates new policies before the
   * callers' pods, and deletes old ones after them. A call passes if any policy allows it. A shared
   * list would lose an identity while pods still have it.
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
      const policy = policyName(callee, caller);
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
    return new IstioResource(resource, "AuthorizationPolicy", args, { parent: this, dependsOn });
  }
}
