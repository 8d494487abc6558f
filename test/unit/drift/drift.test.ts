import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { parseSettings } from "../../../settings/settings.ts";
import { drift, driftingFields, type DriftReport, driftText, isDrift } from "../../../tools/drift/drift.ts";
import type { LiveObject, Refreshed } from "../../../tools/engine/engine.ts";
import { withApiServer } from "./api-server.ts";

/**
 * Objects of a stack, as Pulumi's refresh read them from Kubernetes 1.35 after changes by kubectl.
 * They are cut down: no status, and of Deployments only some fields.
 */
const RECORDED = JSON.parse(
  readFileSync(new URL("recorded/objects.json", import.meta.url), "utf8"),
) as Readonly<Record<string, LiveObject>>;

const TARGET = { cluster: "existing", context: "x", kubeconfig: undefined } as const;
const DEPLOY_AGAIN = "make repair STACK=prod && make up STACK=prod";

function recorded(...names: string[]): LiveObject[] {
  return names.map((name) => {
    const found = RECORDED[name];
    if (found === undefined) throw new Error(`no recorded object ${name}`);
    return found;
  });
}

const fieldsOf = (...objects: LiveObject[]): unknown => driftingFields(objects, "prod", TARGET);

/** A command that patches an object of the namespace. */
const patch = (object: string, operations: readonly object[]): string =>
  `kubectl --context x patch ${object} --namespace dubbo-try --type=json '--patch=${JSON.stringify(operations)}'`;

/** An object with an encrypted spec: the engine leaves it out. */
function encrypted({ live, declared, isChanged }: LiveObject): LiveObject {
  return {
    live: { ...live, spec: undefined },
    declared: { ...(declared as object), spec: undefined },
    isChanged,
  };
}

describe("a field that another manager added", () => {
  it("is found in an Istio object, and a patch removes it", () => {
    expect(fieldsOf(...recorded("addedToDestinationRule"))).toEqual([
      {
        what: "added",
        object: "DestinationRule/dubbo-samples-mesh-provider",
        field: "spec.trafficPolicy.tls",
        value: { mode: "DISABLE" },
        manager: "kubectl-patch",
        operation: "Update",
        time: "2026-11-29T00:19:42Z",
        mend: patch("destinationrule.networking.istio.io dubbo-samples-mesh-provider", [
          { op: "remove", path: "/spec/trafficPolicy/tls" },
        ]),
      },
    ]);
  });

  it("is found in a list, by the element's keys", () => {
    expect(fieldsOf(...recorded("portOfService"))).toEqual([
      {
        what: "added",
        object: "Service/dubbo-samples-mesh-provider",
        field: "spec.ports[1]",
        value: { name: "x", port: 9999, protocol: "TCP", targetPort: 1 },
        manager: "kubectl-patch",
        operation: "Update",
        time: "2026-11-29T00:19:44Z",
        mend: patch("service dubbo-samples-mesh-provider", [
          { op: "test", path: "/spec/ports/1/port", value: 9999 },
          { op: "test", path: "/spec/ports/1/protocol", value: "TCP" },
          { op: "remove", path: "/spec/ports/1" },
        ]),
      },
    ]);
  });

  it("is found in an object of the whole cluster, and a label that takes it over is none", () => {
    expect(fieldsOf(...recorded("labelledNamespace"))).toEqual([
      {
        what: "added",
        object: "Namespace/dubbo-try",
        field: "metadata.labels.team",
        value: "x",
        manager: "kubectl-label",
        operation: "Update",
        time: "2026-11-29T00:19:44Z",
        mend: `kubectl --context x patch namespace dubbo-try --type=json '--patch=[{"op":"remove","path":"/metadata/labels/team"}]'`,
      },
    ]);
    expect(fieldsOf(...recorded("takenOverNamespace"))).toEqual([]);
  });

  it("by `kubectl apply` is an annotation and what the stack lacks, but not what it declares, too", () => {
    const by = {
      object: "PodDisruptionBudget/dubbo-samples-mesh-provider-v1",
      manager: "kubectl-client-side-apply",
      operation: "Update",
      time: "2026-11-29T00:19:45Z",
      mend: patch("poddisruptionbudget.policy dubbo-samples-mesh-provider-v1", [
        { op: "remove", path: "/metadata/labels" },
        { op: "remove", path: "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration" },
      ]),
    };
    expect(fieldsOf(...recorded("appliedBudget"))).toEqual([
      { what: "added", field: "metadata.labels", value: { by: "hand" }, ...by },
      {
        what: "added",
        field: 'metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]',
        value: "{}",
        ...by,
      },
    ]);
  });
});

describe("a declared field that another manager changed", () => {
  it("is restored by `make up` where the refresh sees it, beside what a patch removes", () => {
    const removal = patch("deployment.apps dubbo-samples-mesh-consumer", [
      { op: "test", path: "/spec/template/spec/containers/0/name", value: "app" },
      { op: "test", path: "/spec/template/spec/containers/0/env/2/name", value: "BY_HAND" },
      { op: "test", path: "/spec/template/spec/containers/0/env/3/name", value: "OTHER" },
      { op: "remove", path: "/spec/template/spec/containers/0/resources/limits/cpu" },
      { op: "remove", path: "/spec/template/spec/containers/0/env/3" },
      { op: "remove", path: "/spec/template/spec/containers/0/env/2" },
    ]);
    const container = "spec.template.spec.containers[0]";
    const object = "Deployment/dubbo-samples-mesh-consumer";
    const set = { object, manager: "kubectl-set", operation: "Update", time: "2026-11-29T00:19:43Z" };
    expect(fieldsOf(...recorded("changedDeployment"))).toEqual([
      {
        what: "changed",
        object,
        field: "spec.template.spec.terminationGracePeriodSeconds",
        value: 30,
        manager: "kubectl-patch",
        operation: "Update",
        time: "2026-11-29T00:21:08Z",
        mend: DEPLOY_AGAIN,
      },
      { what: "changed", field: `${container}.image`, value: "r.test/evil:1", ...set, mend: DEPLOY_AGAIN },
      {
        what: "added",
        field: `${container}.env[2]`,
        value: { name: "BY_HAND", value: "1" },
        ...set,
        mend: removal,
      },
      {
        what: "added",
        field: `${container}.env[3]`,
        value: { name: "OTHER", value: "2" },
        ...set,
        mend: removal,
      },
      { what: "added", field: `${container}.resources.limits.cpu`, value: "2", ...set, mend: removal },
    ]);
  });

  // Seen: a refresh does not compare the fields that an element of a list has in addition.
  it("is restored by a patch where the refresh does not see it, and is none with its declared value", () => {
    const [routes] = recorded("changedVirtualService");
    if (routes === undefined) throw new Error("no VirtualService");
    const { spec } = routes.declared as { spec: { http: object[] } };
    expect(fieldsOf(routes)).toMatchObject([
      {
        what: "changed",
        object: "VirtualService/dubbo-samples-mesh-provider",
        field: "spec.http",
        value: [{ name: "idempotent", timeout: "1s" }, { name: "default" }],
        mend: patch("virtualservice.networking.istio.io dubbo-samples-mesh-provider", [
          { op: "replace", path: "/spec/http", value: spec.http },
        ]),
      },
    ]);
    expect(fieldsOf({ ...routes, live: { ...routes.live, spec } })).toEqual([]);
  });

  it("is told where its object is encrypted, without its value", () => {
    const by = {
      what: "set",
      object: "DestinationRule/dubbo-samples-mesh-provider",
      field: "spec.trafficPolicy.tls",
      manager: "kubectl-patch",
      operation: "Update",
      time: "2026-11-29T00:19:42Z",
    };
    const [rule] = recorded("addedToDestinationRule").map(encrypted);
    if (rule === undefined) throw new Error("no DestinationRule");
    const edit =
      "kubectl --context x edit destinationrule.networking.istio.io dubbo-samples-mesh-provider --namespace dubbo-try";
    expect(fieldsOf(rule)).toEqual([{ ...by, mend: edit }]);
    expect(fieldsOf({ ...rule, isChanged: true })).toEqual([{ ...by, mend: DEPLOY_AGAIN }]);
    const containers = 'spec.template.spec.containers["name=app"]';
    expect(fieldsOf(...recorded("changedDeployment").map(encrypted))).toMatchObject(
      ["terminationGracePeriodSeconds", 'containers["name=app"].image']
        .map((field) => ({
          field: `spec.template.spec.${field}`,
        }))
        .concat(
          ['env["name=BY_HAND"]', 'env["name=OTHER"]', "resources.limits.cpu"].map((field) => ({
            field: `${containers}.${field}`,
          })),
        ),
    );
  });
});

describe("what controllers and a restart of pods set", () => {
  it("is no drift, while a number of pods by hand is", () => {
    expect(fieldsOf(...recorded("scaledAndRestarted"))).toEqual([
      {
        what: "changed",
        object: "Deployment/dubbo-samples-mesh-provider-v1",
        field: "spec.replicas",
        value: 3,
        manager: "kubectl",
        operation: "Update",
        subresource: "scale",
        mend: DEPLOY_AGAIN,
      },
    ]);
  });

  it("is the number of pods where the stack has an autoscaler for them", () => {
    expect(fieldsOf(...recorded("autoscaled", "autoscaler"))).toEqual([]);
    const [autoscaled] = recorded("autoscaled");
    if (autoscaled === undefined) throw new Error("no Deployment");
    const live = { ...autoscaled.live, spec: { ...(autoscaled.live["spec"] as object), replicas: 4 } };
    expect(fieldsOf({ ...autoscaled, live }, ...recorded("autoscaler"))).toEqual([]);
    expect(fieldsOf({ ...autoscaled, live })).toMatchObject([
      { what: "changed", field: "spec.replicas", value: 4, manager: "kube-controller-manager" },
    ]);
  });
});

describe("a report of drift", () => {
  beforeEach(() => {
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  async function report(refreshed: Refreshed, filters: readonly object[] = []): Promise<DriftReport> {
    const path = "/apis/networking.istio.io/v1alpha3/namespaces/dubbo-try/envoyfilters";
    return withApiServer({ [path]: filters }, async (kubeconfig) => {
      const services = "[{ app: provider, image: 'r/p:1' }, { app: consumer, image: 'r/c:1' }]";
      const settings = parseSettings({ context: "x", namespace: "dubbo-try", services, kubeconfig });
      const found = await drift({ stack: "prod", settings }, { drift: () => Promise.resolve(refreshed) });
      const text = JSON.stringify(found).replaceAll(` --kubeconfig ${kubeconfig}`, "");
      return JSON.parse(text) as DriftReport;
    });
  }

  const NO_KIND =
    "the cluster has no kind DestinationRule, ProxyConfig, ServiceEntry, Sidecar, VirtualService, AuthorizationPolicy, PeerAuthentication, " +
    "RequestAuthentication, Telemetry, TrafficExtension, WasmPlugin, NetworkPolicy, WorkloadEntry, GRPCRoute, HTTPRoute";

  it("is one line where there is none, and the notes", async () => {
    const [budget] = recorded("autoscaler");
    if (budget === undefined) throw new Error("no object");
    const found = await report({ changes: [], objects: [budget] });
    expect(found).toEqual({ changes: [], fields: [], undeclared: [], notes: [NO_KIND] });
    expect(isDrift(found)).toBe(false);
    expect(driftText(found)).toBe(`no change\nnote: ${NO_KIND}`);
  });

  it("is a table of all differences, and each command once", async () => {
    const changes = [
      { operation: "delete" as const, target: "kubernetes:core/v1:Service mesh-a" },
      { operation: "update" as const, target: "kubernetes:apps/v1:Deployment mesh-b", detail: "spec" },
    ];
    const managedFields = [
      { manager: "kubectl-create" },
      { manager: "kubectl-edit" },
      { manager: "kubectl-create" },
    ];
    const metadata = { name: "slow", namespace: "dubbo-try", creationTimestamp: "2026-11-29T00:17:26Z" };
    const found = await report(
      { changes, objects: recorded("scaledAndRestarted", "addedToDestinationRule") },
      [{ metadata: { ...metadata, managedFields } }],
    );
    expect(isDrift(found)).toBe(true);
    expect(found.changes).toEqual(changes.map((change) => ({ ...change, mend: DEPLOY_AGAIN })));
    expect(found.undeclared).toEqual([
      {
        object: "EnvoyFilter/slow",
        managers: ["kubectl-create", "kubectl-edit"],
        time: "2026-11-29T00:17:26Z",
        mend: "kubectl --context x delete envoyfilter.networking.istio.io slow --namespace dubbo-try",
      },
    ]);
    expect(driftText(found).split("\n")).toEqual([
      "what        object                                       field                   value               by                            since",
      "missing     kubernetes:core/v1:Service mesh-a",
      "changed     kubernetes:apps/v1:Deployment mesh-b         spec",
      "changed     Deployment/dubbo-samples-mesh-provider-v1    spec.replicas           3                   kubectl (Update, scale)",
      'added       DestinationRule/dubbo-samples-mesh-provider  spec.trafficPolicy.tls  {"mode":"DISABLE"}  kubectl-patch (Update)        2026-11-29T00:19:42Z',
      "undeclared  EnvoyFilter/slow                                                                         kubectl-create, kubectl-edit  2026-11-29T00:17:26Z",
      "",
      "these commands undo it, in this order:",
      "  kubectl --context x delete envoyfilter.networking.istio.io slow --namespace dubbo-try",
      `  ${patch("destinationrule.networking.istio.io dubbo-samples-mesh-provider", [{ op: "remove", path: "/spec/trafficPolicy/tls" }])}`,
      `  ${DEPLOY_AGAIN}`,
      `note: ${NO_KIND}`,
    ]);
  });

  it("shortens a long value", () => {
    const field = {
      what: "added" as const,
      object: "A/a",
      field: "f",
      manager: "m",
      operation: "Apply",
      mend: "x",
    };
    const text = (value: string): string =>
      driftText({ changes: [], fields: [{ ...field, value }], undeclared: [], notes: [] }).split("\n")[1] ??
      "";
    expect(text("v".repeat(58))).toBe(`added  A/a     f      "${"v".repeat(58)}"  m (Apply)`);
    expect(text("v".repeat(59))).toBe(`added  A/a     f      "${"v".repeat(58)}…  m (Apply)`);
  });
});
