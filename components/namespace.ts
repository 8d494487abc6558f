import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

/** Arguments of {@link MeshNamespace}. */
export interface MeshNamespaceArgs {
  /** The namespace's name. */
  name: pulumi.Input<string>;
  /** Whether Istio injects its sidecar into new pods; the pods that run are left as they are. */
  injection: pulumi.Input<boolean>;
  /** Istio revision that injects; without it, the default revision by `istio-injection`. */
  revision?: pulumi.Input<string> | undefined;
  /** Whether the proxies write access logs; Istio's default profile writes none. */
  accessLogs: pulumi.Input<boolean>;
  /** ServiceAccount of the applications; the seed's is `dubbo-sa`. */
  serviceAccount: pulumi.Input<string>;
}

/**
 * The namespace's labels that decide on injection. A revision takes the place of `istio-injection`, which would win over it.
 * Source: https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/
 */
export function injectionLabels(injection: boolean, revision?: string): Record<string, string> {
  if (!injection) return { "istio-injection": "disabled" };
  return revision === undefined ? { "istio-injection": "enabled" } : { "istio.io/rev": revision };
}

/** What Dubbo's Kubernetes registry reads of its namespace. Source: the seed, 3.2. */
export const REGISTRY_RULES: kubernetes.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: [""], resources: ["services", "endpoints", "pods"], verbs: ["get", "list", "watch"] },
  { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["get", "list", "watch"] },
];

/** Turns access logs on through Istio's built-in `envoy` provider. Source: https://istio.io/latest/docs/tasks/observability/logs/access-log/ */
export const ACCESS_LOGGING = { accessLogging: [{ providers: [{ name: "envoy" }] }] };

/** The mesh's namespace: injection, the applications' account and its rights, access logs. */
export class MeshNamespace extends pulumi.ComponentResource {
  /** The namespace's name; who uses it is created after the namespace and removed before it. */
  readonly namespace: pulumi.Output<string>;
  /** The account's name; who uses it is created after the account. */
  readonly serviceAccount: pulumi.Output<string>;

  constructor(name: string, args: MeshNamespaceArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:namespace:MeshNamespace", name, {}, opts);
    const namespace = new kubernetes.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: args.name,
          labels: pulumi
            .all([args.injection, args.revision])
            .apply(([injection, revision]) => injectionLabels(injection, revision)),
        },
      },
      { parent: this },
    );
    this.namespace = namespace.metadata.name;
    this.serviceAccount = this.#account(name, args.serviceAccount);
    this.#accessLogs(name, args.accessLogs);
    this.registerOutputs({ namespace: this.namespace, serviceAccount: this.serviceAccount });
  }

  #account(name: string, serviceAccount: pulumi.Input<string>): pulumi.Output<string> {
    const metadata = { name: serviceAccount, namespace: this.namespace };
    const account = new kubernetes.core.v1.ServiceAccount(`${name}-account`, { metadata }, { parent: this });
    const role = new kubernetes.rbac.v1.Role(
      `${name}-role`,
      { metadata, rules: REGISTRY_RULES },
      { parent: this },
    );
    new kubernetes.rbac.v1.RoleBinding(
      `${name}-role-binding`,
      {
        metadata,
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: role.metadata.name },
        subjects: [{ kind: "ServiceAccount", name: account.metadata.name, namespace: this.namespace }],
      },
      { parent: this },
    );
    return account.metadata.name;
  }

  #accessLogs(name: string, accessLogs: pulumi.Input<boolean>): void {
    new kubernetes.apiextensions.CustomResource(
      `${name}-access-logs`,
      {
        apiVersion: "telemetry.istio.io/v1",
        kind: "Telemetry",
        metadata: { name: "access-logs", namespace: this.namespace },
        spec: pulumi
          .output(accessLogs)
          .apply((on) => (on ? ACCESS_LOGGING : { accessLogging: [{ disabled: true }] })),
      },
      { parent: this },
    );
  }
}
