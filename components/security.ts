import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { HealthCheck } from "../lib/health-check.ts";
import { portNumber } from "../lib/port.ts";
import type { Security } from "../lib/security.ts";
import { checked } from "./check.ts";

/** Who may call a service. */
export interface AllowedCalls {
  /** Label `app` of the pods that are called. */
  callee: string;
  /** Port that is called. */
  port: number;
  /** Namespace of the callers. */
  namespace: string;
  /** ServiceAccounts of the callers; where there are none, nobody may call. */
  callers: readonly string[];
  /** gRPC services that they may call, each of its methods. */
  services: readonly string[];
  /** The active check, which the callers' Envoys make under the same identity. */
  healthCheck: HealthCheck;
}

/** Arguments of {@link MeshSecurity}. */
export interface MeshSecurityArgs {
  /** Namespace of the mesh. */
  namespace: pulumi.Input<string>;
  /** Whether pods refuse plaintext; Istio's default is PERMISSIVE. */
  mtls: pulumi.Input<Security["mtls"]>;
  /** Who may call each service, by its name; a service that is not named answers everybody. Plain, since a policy is there or is not. */
  allowed: ReadonlyMap<string, { [K in keyof AllowedCalls]: pulumi.Input<AllowedCalls[K]> }>;
  /** Whether all other pods of the namespace refuse every call; plain, since a policy is there or is not. */
  defaultDeny: boolean;
}

const HEALTH_PATH = "/grpc.health.v1.Health/Check";

/** A check over HTTP asks at a path of its own; one over gRPC where every caller may ask. */
function checkOperations({ http_health_check: http }: HealthCheck, port: string): object[] {
  if (http === undefined) return [];
  const path = http.path.replace(/[?#].*$/, "");
  return [{ operation: { ports: [port], methods: [http.method ?? "GET"], paths: [path] } }];
}

/**
 * Lets the callers' identities call the services and ask for health, on the Triple port; whatever else arrives at the pods through their
 * Envoy is refused. The kubelet's probes do not: Istio has them answered by its agent on 15020, which asks the application inside the pod.
 * `cluster.local` stands for the mesh's trust domain, whatever its name. Source: Istio's trustdomain/bundle.go;
 * https://istio.io/latest/docs/reference/config/security/authorization-policy/
 */
export function authorizationPolicySpec(calls: AllowedCalls): object {
  const { callee, namespace, callers, services, healthCheck } = calls;
  const selected = { selector: { matchLabels: { app: callee } }, action: "ALLOW" };
  // Without a rule, nobody may call.
  if (callers.length === 0) return selected;
  const port = String(calls.port);
  const paths = [...services.map((service) => `/${service}/*`), HEALTH_PATH];
  const principals = [...new Set(callers)].map((account) => `cluster.local/ns/${namespace}/sa/${account}`);
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

/** mTLS of the namespace, and who may call whom in it. */
export class MeshSecurity extends pulumi.ComponentResource {
  constructor(name: string, args: MeshSecurityArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:security:MeshSecurity", name, {}, opts);
    const { namespace } = args;
    new kubernetes.apiextensions.CustomResource(
      `${name}-mtls`,
      {
        apiVersion: "security.istio.io/v1",
        kind: "PeerAuthentication",
        metadata: { name: "default", namespace },
        spec: { mtls: { mode: args.mtls } },
      },
      { parent: this },
    );
    for (const [service, allowed] of args.allowed) {
      const port = checked(this, "port", allowed.port, portNumber);
      const calls = pulumi.output({ ...allowed, port }) as pulumi.Output<AllowedCalls>;
      this.#policy(
        `${name}-${service}-calls`,
        namespace,
        allowed.callee,
        calls.apply(authorizationPolicySpec),
      );
    }
    // A policy without rules allows nothing: https://istio.io/latest/docs/concepts/security/#allow-nothing-deny-all-and-allow-all-policy
    if (args.defaultDeny) this.#policy(`${name}-default-deny`, namespace, "default-deny", {});
    this.registerOutputs({});
  }

  #policy(
    resource: string,
    namespace: pulumi.Input<string>,
    policy: pulumi.Input<string>,
    spec: pulumi.Input<object>,
  ): void {
    new kubernetes.apiextensions.CustomResource(
      resource,
      {
        apiVersion: "security.istio.io/v1",
        kind: "AuthorizationPolicy",
        metadata: { name: policy, namespace },
        spec,
      },
      { parent: this },
    );
  }
}
