import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Tracing } from "../settings/observability.ts";
import type { TelemetrySpec } from "./generated/istio.ts";
import { istioResource } from "./istio-resource.ts";

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
  /** Traces of calls; without it, as the mesh is set up. */
  tracing?: pulumi.Input<Tracing> | undefined;
  /** Name of the applications' rights, and of their ServiceAccount unless they have their own; the seed's is `dubbo-sa`. */
  serviceAccount: pulumi.Input<string>;
  /** Applications that have a ServiceAccount each, of their name; plain, since resources are named after them. Default: none. */
  identities?: readonly string[];
  /** Pod Security level that the namespace enforces; without it, the cluster's default. */
  podSecurity?: pulumi.Input<string> | undefined;
  /** Whether Pulumi refuses to delete or replace the namespace; plain, since it is an option of the resource. Default: false. */
  protect?: boolean;
}

/**
 * The namespace's labels that decide on injection. A revision takes the place of `istio-injection`, which would win over it.
 * Source: https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/
 */
export function injectionLabels(injection: boolean, revision?: string): Record<string, string> {
  if (!injection) return { "istio-injection": "disabled" };
  return revision === undefined ? { "istio-injection": "enabled" } : { "istio.io/rev": revision };
}

/**
 * The namespace's label that refuses pods which may do more. A sidecar whose rules istio-init sets is refused by `baseline`, too.
 * Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/
 */
export function podSecurityLabels(level?: string): Record<string, string> {
  return level === undefined ? {} : { "pod-security.kubernetes.io/enforce": level };
}

/** What Dubbo's Kubernetes registry reads of its namespace. Source: the seed, 3.2. */
export const REGISTRY_RULES: kubernetes.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: [""], resources: ["services", "endpoints", "pods"], verbs: ["get", "list", "watch"] },
  { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["get", "list", "watch"] },
];

type TraceProviders = Pick<NonNullable<TelemetrySpec["tracing"]>[number], "providers">;

/** Turns access logs on through Istio's built-in `envoy` provider. Source: https://istio.io/latest/docs/tasks/observability/logs/access-log/ */
export const ACCESS_LOGGING: TelemetrySpec = { accessLogging: [{ providers: [{ name: "envoy" }] }] };

/**
 * What a namespace's proxies tell: of several Telemetries for a whole namespace Istio takes one, so this is all in one.
 * Source: Istio's pilot/pkg/model/telemetry.go, namespaceWideTelemetryConfig; https://istio.io/latest/docs/reference/config/telemetry/
 */
export function telemetrySpec(accessLogs: boolean, tracing?: Tracing): TelemetrySpec {
  const logs: TelemetrySpec = accessLogs ? ACCESS_LOGGING : { accessLogging: [{ disabled: true }] };
  if (tracing === undefined) return logs;
  const { sampling, provider } = tracing;
  const providers: TraceProviders = provider === undefined ? {} : { providers: [{ name: provider }] };
  return { ...logs, tracing: [{ ...providers, randomSamplingPercentage: sampling }] };
}

/** The mesh's namespace: injection, the applications' accounts and their rights, access logs. */
export class MeshNamespace extends pulumi.ComponentResource {
  /** The namespace's name; who uses it is created after the namespace and removed before it. */
  readonly namespace: pulumi.Output<string>;
  readonly #own: ReadonlyMap<string, pulumi.Output<string>>;
  readonly #shared: pulumi.Output<string> | undefined;

  constructor(name: string, args: MeshNamespaceArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:namespace:MeshNamespace", name, {}, opts);
    const namespace = new kubernetes.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: args.name,
          labels: pulumi
            .all([args.injection, args.revision, args.podSecurity])
            .apply(([injection, revision, level]) => ({
              ...injectionLabels(injection, revision),
              ...podSecurityLabels(level),
            })),
        },
      },
      { parent: this, protect: args.protect ?? false },
    );
    this.namespace = namespace.metadata.name;
    const { identities = [], serviceAccount } = args;
    this.#own = new Map(
      identities.map((application) => [
        application,
        this.#account(`${name}-${application}-account`, application),
      ]),
    );
    this.#shared = this.#own.size === 0 ? this.#account(`${name}-account`, serviceAccount) : undefined;
    const accounts = this.#shared === undefined ? [...this.#own.values()] : [this.#shared];
    this.#rights(name, serviceAccount, accounts);
    this.#telemetry(name, args);
    this.registerOutputs({ namespace: this.namespace, serviceAccounts: accounts });
  }

  /**
   * The account of an application, its own or that of all; who uses it is created after the account.
   * @throws pulumi.ResourceError where only others have one
   */
  accountOf(application: string): pulumi.Output<string> {
    const account = this.#own.get(application) ?? this.#shared;
    if (account === undefined)
      throw new pulumi.ResourceError(`identities: ${application} is none of them`, this, true);
    return account;
  }

  #account(resource: string, name: pulumi.Input<string>): pulumi.Output<string> {
    const metadata = { name, namespace: this.namespace };
    return new kubernetes.core.v1.ServiceAccount(resource, { metadata }, { parent: this }).metadata.name;
  }

  #rights(name: string, role: pulumi.Input<string>, accounts: readonly pulumi.Output<string>[]): void {
    const metadata = { name: role, namespace: this.namespace };
    const rights = new kubernetes.rbac.v1.Role(
      `${name}-role`,
      { metadata, rules: REGISTRY_RULES },
      { parent: this },
    );
    new kubernetes.rbac.v1.RoleBinding(
      `${name}-role-binding`,
      {
        metadata,
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: rights.metadata.name },
        subjects: accounts.map((account) => ({
          kind: "ServiceAccount",
          name: account,
          namespace: this.namespace,
        })),
      },
      { parent: this },
    );
  }

  #telemetry(name: string, { accessLogs, tracing }: MeshNamespaceArgs): void {
    const spec = pulumi.all([accessLogs, tracing]).apply(([logs, traces]) => telemetrySpec(logs, traces));
    const args = { name: "access-logs", namespace: this.namespace, spec };
    istioResource(`${name}-access-logs`, "Telemetry", args, { parent: this });
  }
}
