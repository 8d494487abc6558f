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
  /** ServiceAccount of the callers; without one, nobody may call. */
  caller?: string;
  /** gRPC services that they may call, each of its methods. */
  services: readonly string[];
  /** The active check, which the callers' Envoys make under the same identity. */
  healthCheck: HealthCheck;
}

/** A service, and all who may call it. */
export type ServiceCallers = { [K in keyof Omit<AllowedCalls, "caller">]: pulumi.Input<AllowedCalls[K]> } & {
  /** Names of the ServiceAccounts of its callers; where there are none, nobody may call. Plain, since resources are named after them. */
  callers: ReadonlyMap<string, pulumi.Input<string>>;
};

/** Arguments of {@link MeshSecurity}. */
export interface MeshSecurityArgs {
  /** Namespace of the mesh. */
  namespace: pulumi.Input<string>;
  /** Whether pods refuse plaintext; Istio's default is PERMISSIVE. */
  mtls: pulumi.Input<Security["mtls"]>;
  /** Who may call each service, by its name; a service that is not named answers everybody. Plain, since a policy is there or is not. */
  allowed: ReadonlyMap<string, ServiceCallers>;
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
 * Lets an identity call the services and ask for health, on the Triple port; whatever no policy allows that arrives at the pods through their
 * Envoy is refused. The kubelet's probes do not: Istio has them answered by its agent on 15020, which asks the application inside the pod.
 * `cluster.local` stands for the mesh's trust domain, whatever its name. Source: Istio's trustdomain/bundle.go;
 * https://istio.io/latest/docs/reference/config/security/authorization-policy/
 */
export function authorizationPolicySpec(calls: AllowedCalls): object {
  const { callee, namespace, caller, services, healthCheck } = calls;
  const selected = { selector: { matchLabels: { app: callee } }, action: "ALLOW" };
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
    const policies = [...args.allowed].flatMap(([service, allowed]) =>
      this.#allow(`${name}-${service}`, namespace, allowed),
    );
    // A policy without rules allows nothing: https://istio.io/latest/docs/concepts/security/#allow-nothing-deny-all-and-allow-all-policy
    if (args.defaultDeny) this.#policy(`${name}-default-deny`, namespace, "default-deny", {}, policies);
    this.registerOutputs({});
  }

  /**
   * A policy for each identity that may call: Pulumi makes new ones before the callers' pods and removes old ones after them, and what one of
   * several allows is allowed. In a list, an identity would go while pods still have it.
   */
  #allow(
    name: string,
    namespace: pulumi.Input<string>,
    { callers, ...allowed }: ServiceCallers,
  ): pulumi.Resource[] {
    const { callee } = allowed;
    const port = checked(this, "port", allowed.port, portNumber);
    const specOf = (caller?: pulumi.Input<string>): pulumi.Output<object> =>
      (pulumi.output({ ...allowed, port, caller }) as pulumi.Output<AllowedCalls>).apply(
        authorizationPolicySpec,
      );
    if (callers.size === 0) return [this.#policy(`${name}-calls`, namespace, callee, specOf())];
    return [...callers].map(([account, caller]) => {
      // A Service's name has no dot.
      const policy = pulumi.interpolate`${callee}.${caller}`;
      return this.#policy(`${name}.${account}-calls`, namespace, policy, specOf(caller));
    });
  }

  #policy(
    resource: string,
    namespace: pulumi.Input<string>,
    policy: pulumi.Input<string>,
    spec: pulumi.Input<object>,
    dependsOn: pulumi.Resource[] = [],
  ): pulumi.Resource {
    return new kubernetes.apiextensions.CustomResource(
      resource,
      {
        apiVersion: "security.istio.io/v1",
        kind: "AuthorizationPolicy",
        metadata: { name: policy, namespace },
        spec,
      },
      { parent: this, dependsOn },
    );
  }
}
