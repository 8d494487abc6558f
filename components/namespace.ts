import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Tracing } from "../settings/observability.ts";
import type { TelemetrySpec } from "./generated/istio.ts";
import { IstioResource } from "./istio-resource.ts";

/** Arguments of {@link MeshNamespace}. */
export interface MeshNamespaceArgs {
  /** Name of the namespace. */
  name: pulumi.Input<string>;
  /** Makes Istio inject its sidecar into new pods. Running pods stay unchanged. */
  injection: pulumi.Input<boolean>;
  /** Istio revision that injects. Default: the default revision, by the label `istio-injection`. */
  revision?: pulumi.Input<string> | undefined;
  /** Makes the proxies write access logs. Istio's default profile writes none. */
  accessLogs: pulumi.Input<boolean>;
  /** Traces of calls. Default: the settings of Istio's mesh config. */
  tracing?: pulumi.Input<Tracing> | undefined;
  /**
   * Name of the applications' Role, and of the ServiceAccount that they share unless `identities`
   * is set. The sample uses `dubbo-sa`.
   */
  serviceAccount: pulumi.Input<string>;
  /**
   * Applications with their own ServiceAccount, of the same name. Plain, since resources are named
   * after them. Default: none.
   */
  identities?: readonly string[];
  /** Pod Security level that the namespace enforces. Default: the cluster's. */
  podSecurity?: pulumi.Input<string> | undefined;
  /**
   * Makes Pulumi refuse to delete or replace the namespace. Plain, since it is a resource option.
   * Default: false.
   */
  protect?: boolean;
}

/**
 * Returns the namespace's labels for injection. A revision replaces `istio-injection`, which would
 * take precedence over it.
 * Source: https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/
 */
export function injectionLabels(injection: boolean, revision?: string): Record<string, string> {
  if (!injection) return { "istio-injection": "disabled" };
  return revision === undefined ? { "istio-injection": "enabled" } : { "istio.io/rev": revision };
}

/**
 * Returns the namespace's label that limits the privileges of its pods. Even `baseline` rejects a
 * pod in which istio-init sets the sidecar's traffic rules.
 * Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/
 */
export function podSecurityLabels(level?: string): Record<string, string> {
  return level === undefined ? {} : { "pod-security.kubernetes.io/enforce": level };
}

/** Objects that Dubbo's Kubernetes registry reads in its namespace. Source: the sample, 3.2. */
export const REGISTRY_RULES: kubernetes.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: [""], resources: ["services", "endpoints", "pods"], verbs: ["get", "list", "watch"] },
  { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["get", "list", "watch"] },
];

type TraceProviders = Pick<NonNullable<TelemetrySpec["tracing"]>[number], "providers">;

/**
 * Enables access logs through Istio's built-in provider `envoy`.
 * Source: https://istio.io/latest/docs/tasks/observability/logs/access-log/
 */
export const ACCESS_LOGGING: TelemetrySpec = { accessLogging: [{ providers: [{ name: "envoy" }] }] };

/**
 * Returns the access logs and traces of a namespace's proxies. Istio uses only one Telemetry for a
 * whole namespace, so one object has both.
 * Source: Istio's pilot/pkg/model/telemetry.go, namespaceWideTelemetryConfig;
 * https://istio.io/latest/docs/reference/config/telemetry/
 */
export function telemetrySpec(accessLogs: boolean, tracing?: Tracing): TelemetrySpec {
  const logs: TelemetrySpec = accessLogs ? ACCESS_LOGGING : { accessLogging: [{ disabled: true }] };
  if (tracing === undefined) return logs;
  const { sampling, provider } = tracing;
  const providers: TraceProviders = provider === undefined ? {} : { providers: [{ name: provider }] };
  return { ...logs, tracing: [{ ...providers, randomSamplingPercentage: sampling }] };
}

/** Namespace of the mesh, with injection, ServiceAccounts, their Role, access logs and traces. */
export class MeshNamespace extends pulumi.ComponentResource {
  /**
   * Name of the namespace. A resource that uses it is created after the namespace, and deleted
   * before it.
   */
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
   * Returns the ServiceAccount of an application: its own or the shared one. A resource that uses
   * it is created after the account.
   * @throws pulumi.ResourceError if only other applications have an account
   */
  accountOf(application: string): pulumi.Output<string> {
    const account = this.#own.get(application) ?? this.#shared;
    if (account === undefined)
      throw new pulumi.ResourceError(`identities: ${application} is not in the list`, this, true);
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
    new IstioResource(`${name}-access-logs`, "Telemetry", args, { parent: this });
  }
}
