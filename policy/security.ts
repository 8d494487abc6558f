import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { at, type Fields, fields, items, labels, number, text, texts } from "./fields.ts";
import {
  appliesTo,
  calledServices,
  type CallerManifest,
  callersOf,
  filterAppliesTo,
  hits,
  type ManifestMesh,
  namespaceOf,
  ofKind,
  selects,
  type ServiceManifest,
  serviceKey,
  type WorkloadManifest,
} from "./mesh.ts";
import { type Fault, type Rule, titleOf } from "./rule.ts";

const AUTHORIZATION = "https://istio.io/latest/docs/reference/config/security/authorization-policy/";

/**
 * Returns the PeerAuthentication that applies to the pods. A policy for the workload overrides one
 * for its namespace, which overrides one for the mesh.
 */
export function peerAuthentication(
  mesh: ManifestMesh,
  workload: WorkloadManifest,
): KubernetesObject | undefined {
  const selector = (object: KubernetesObject): Readonly<Record<string, string>> =>
    labels(at(object, "spec", "selector", "matchLabels"));
  const rank = (object: KubernetesObject): number =>
    Object.keys(selector(object)).length > 0 ? 0 : namespaceOf(object) === workload.namespace ? 1 : 2;
  return ofKind(mesh, "PeerAuthentication")
    .filter((object) => appliesTo(object, selector(object), workload))
    .filter((object) => !["UNSET", undefined].includes(text(at(object, "spec", "mtls", "mode"))))
    .sort((one, other) => rank(one) - rank(other))[0];
}

/** Returns the container port behind a Service's first Dubbo port. Policies name that port. */
function podPort(service: ServiceManifest, workload: WorkloadManifest): number | undefined {
  const target = service.ports.find(({ dubbo }) => dubbo)?.targetPort ?? "";
  const named = workload.containers
    .flatMap(({ fields: container }) => items(container["ports"]))
    .find((port) => text(at(port, "name")) === target);
  return number(target) ?? number(at(named, "containerPort"));
}

/** Returns the pods' ports that speak Dubbo. */
function dubboPorts(mesh: ManifestMesh, workload: WorkloadManifest): Set<number | undefined> {
  const services = mesh.services.filter((service) => selects(service, workload));
  return new Set(services.map((service) => podPort(service, workload)));
}

function notStrict(mesh: ManifestMesh): Fault[] {
  const faults = mesh.workloads.flatMap((workload): Fault[] => {
    const policy = peerAuthentication(mesh, workload);
    if (policy === undefined) {
      const object = `Namespace ${workload.namespace}`;
      return [
        { object, message: "no PeerAuthentication: its pods take plaintext (PERMISSIVE, Istio's default)" },
      ];
    }
    const mode = text(at(policy, "spec", "mtls", "mode"));
    if (mode !== "STRICT")
      return [{ object: policy, path: "spec.mtls.mode", message: `is ${mode ?? ""}: pods take plaintext` }];
    const ports = dubboPorts(mesh, workload);
    return Object.entries(fields(at(policy, "spec", "portLevelMtls")))
      .filter(([port, own]) => ports.has(Number(port)) && text(at(own, "mode")) !== "STRICT")
      .map(([port]) => ({
        object: policy,
        path: `spec.portLevelMtls.${port}`,
        message: "takes plaintext on a Dubbo port",
      }));
  });
  return [...new Map(faults.map((fault) => [titleOf(fault.object) + (fault.path ?? ""), fault])).values()];
}

/** Matches a value as Istio's policies do: `*` at one end stands for any text. */
function glob(pattern: string, value: string): boolean {
  if (pattern === "*") return value !== "";
  if (pattern.endsWith("*")) return value.startsWith(pattern.slice(0, -1));
  return pattern.startsWith("*") ? value.endsWith(pattern.slice(1)) : pattern === value;
}

/** Reports whether one of `patterns` matches. Undefined patterns match everything. */
function fits(patterns: unknown, value: string): boolean {
  return patterns === undefined || texts(patterns).some((pattern) => glob(pattern, value));
}

/** Returns the AuthorizationPolicies of the pods that have one of `actions`. */
function policiesOf(
  mesh: ManifestMesh,
  workload: WorkloadManifest,
  actions: readonly string[],
): readonly KubernetesObject[] {
  return ofKind(mesh, "AuthorizationPolicy").filter(
    (object) =>
      actions.includes(text(at(object, "spec", "action")) ?? "ALLOW") &&
      appliesTo(object, at(object, "spec", "selector", "matchLabels"), workload),
  );
}

function unauthorizedCallees(mesh: ManifestMesh): Fault[] {
  return mesh.workloads
    .filter(
      (workload) =>
        calledServices(mesh, workload).length > 0 &&
        policiesOf(mesh, workload, ["ALLOW", "CUSTOM"]).length === 0,
    )
    .map(({ object }) => ({
      object,
      message: "is called, and no AuthorizationPolicy says by whom: anybody may",
    }));
}

function anonymousPolicies(mesh: ManifestMesh): Fault[] {
  const policies = new Set(
    mesh.workloads
      .filter((workload) => calledServices(mesh, workload).length > 0)
      .flatMap((workload) => policiesOf(mesh, workload, ["ALLOW"])),
  );
  return [...policies].flatMap((object) =>
    items(at(object, "spec", "rules")).flatMap((rule, index) =>
      items(at(rule, "from")).length > 0 || items(at(rule, "when")).length > 0
        ? []
        : [{ object, path: `spec.rules[${index}].from`, message: "lets anybody in" }],
    ),
  );
}

/** The request of a health check. */
interface CheckRequest {
  readonly method: string;
  readonly path: string;
}

function requestOf(check: Fields): CheckRequest | undefined {
  const http = check["http_health_check"];
  if (check["grpc_health_check"] !== undefined)
    return { method: "POST", path: "/grpc.health.v1.Health/Check" };
  if (http === undefined) return undefined;
  return {
    method: text(at(http, "method")) ?? "GET",
    path: (text(at(http, "path")) ?? "").replace(/[?#].*$/, ""),
  };
}

/** Reports whether a rule's sources include the caller. */
function admitsCaller(sources: readonly unknown[], { namespace, workload }: CallerManifest): boolean {
  if (sources.length === 0 || workload === undefined) return true;
  const account = text(workload.pod["serviceAccountName"]) ?? "default";
  return sources.some((from) => {
    const source = fields(at(from, "source"));
    const accounts = source["serviceAccounts"];
    return (
      fits(source["principals"], `cluster.local/ns/${namespace}/sa/${account}`) &&
      fits(source["namespaces"], namespace) &&
      (accounts === undefined ||
        texts(accounts).some((each) => [account, `${namespace}/${account}`].includes(each)))
    );
  });
}

function admits(
  policy: KubernetesObject,
  caller: CallerManifest,
  asked: CheckRequest,
  port: number | undefined,
): boolean {
  return items(at(policy, "spec", "rules")).some((rule) => {
    const operations = items(at(rule, "to"));
    const operation = operations.some((to) => {
      const own = fields(at(to, "operation"));
      return (
        fits(own["paths"], asked.path) &&
        fits(own["methods"], asked.method) &&
        (port === undefined || fits(own["ports"], String(port)))
      );
    });
    return admitsCaller(items(at(rule, "from")), caller) && (operations.length === 0 || operation);
  });
}

/** Returns the requests of a caller's health checks to a Service's pods, without duplicates. */
function requestsOf(mesh: ManifestMesh, service: ServiceManifest, caller: CallerManifest): CheckRequest[] {
  const clusters = [...mesh.routed.values()].flat().filter(({ key }) => key === service.key);
  const asked = mesh.checks
    .filter(({ object }) => object === caller.object || filterAppliesTo(object, caller))
    .filter((patch) => clusters.some((cluster) => hits(patch, cluster)))
    .flatMap(({ checks }) => checks.flatMap((check) => requestOf(check.fields) ?? []));
  return [...new Map(asked.map((each) => [`${each.method} ${each.path}`, each])).values()];
}

function deniedChecks(mesh: ManifestMesh): Fault[] {
  return mesh.workloads.flatMap((workload) => {
    const policies = policiesOf(mesh, workload, ["ALLOW"]);
    if (policies.length === 0) return [];
    return calledServices(mesh, workload).flatMap((service) =>
      callersOf(mesh, service.key).flatMap((caller) =>
        requestsOf(mesh, service, caller)
          .filter(
            (asked) => !policies.some((policy) => admits(policy, caller, asked, podPort(service, workload))),
          )
          .map(({ path }) => ({
            object: workload.object,
            message: `no AuthorizationPolicy lets ${titleOf(caller.object)} ask for ${path}: each of its checks fails`,
          })),
      ),
    );
  });
}

/** Returns the trafficPolicies of a DestinationRule, with their paths. */
export function trafficPolicies(
  rule: KubernetesObject,
): readonly { readonly path: string; readonly policy: Fields }[] {
  const whole = { path: "spec.trafficPolicy", policy: fields(at(rule, "spec", "trafficPolicy")) };
  const subsets = items(at(rule, "spec", "subsets")).map((subset, index) => ({
    path: `spec.subsets[${index}].trafficPolicy`,
    policy: fields(at(subset, "trafficPolicy")),
  }));
  return [whole, ...subsets].flatMap((each) => [
    each,
    ...items(each.policy["portLevelSettings"]).map((port, index) => ({
      path: `${each.path}.portLevelSettings[${index}]`,
      policy: fields(port),
    })),
  ]);
}

function overriddenMtls(mesh: ManifestMesh): Fault[] {
  return ofKind(mesh, "DestinationRule")
    .filter((rule) => {
      const host = text(at(rule, "spec", "host")) ?? "";
      return serviceKey(host, namespaceOf(rule)) !== undefined || host.startsWith("*");
    })
    .flatMap((object) =>
      trafficPolicies(object).flatMap(({ path, policy }) => {
        const mode = text(at(policy, "tls", "mode"));
        return mode === undefined || mode === "ISTIO_MUTUAL"
          ? []
          : [{ object, path: `${path}.tls.mode`, message: `${mode} takes the place of Istio's mTLS` }];
      }),
    );
}

/** Rules for mTLS and authorization. */
export const SECURITY_RULES: readonly Rule[] = [
  {
    id: "mtls-strict",
    severity: "error",
    text: "Pods of the mesh refuse plaintext.",
    fix: "Set mtls.mode: STRICT in a PeerAuthentication of the namespace, and leave portLevelMtls out.",
    source: "https://istio.io/latest/docs/reference/config/security/peer_authentication/",
    faults: notStrict,
  },
  {
    id: "destination-keeps-mtls",
    severity: "error",
    text: "A DestinationRule of the mesh leaves mTLS to Istio.",
    fix: "Take tls away, or set mode: ISTIO_MUTUAL.",
    source:
      "https://istio.io/latest/docs/ops/common-problems/network-issues/#503-errors-after-setting-destination-rule",
    faults: overriddenMtls,
  },
  {
    id: "authorization-covers-calls",
    severity: "error",
    text: "An AuthorizationPolicy says who may call each workload that is called.",
    fix: "Add one with action: ALLOW, the callers' principals, and the methods that they call.",
    source: AUTHORIZATION,
    faults: unauthorizedCallees,
  },
  {
    id: "authorization-admits-check",
    severity: "error",
    text: "Where calls are authorized, the callers' health checks are, too.",
    fix: "Allow POST /grpc.health.v1.Health/Check on the Dubbo port to the callers' principals.",
    source: AUTHORIZATION,
    faults: deniedChecks,
  },
  {
    id: "authorization-names-callers",
    severity: "warning",
    text: "What an AuthorizationPolicy allows, it allows to somebody.",
    fix: "Name the callers in from.source, such as by principals.",
    source: AUTHORIZATION,
    faults: anonymousPolicies,
  },
];
