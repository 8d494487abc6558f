import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { check } from "../../../policy/rules.ts";
import { ANYBODY } from "./anybody.ts";
import { all, type Change, lines, put, set, without } from "./support.ts";

const LEDGER = "StatefulSet pay/ledger";
const TILL = "Deployment shop/till";
const FILTER = "EnvoyFilter checks";

const CASES: readonly (readonly [title: string, change: Change, found: readonly string[]])[] = [
  [
    "a VirtualService that names the Service by its short name",
    set("VirtualService ledger", "spec/hosts", ["ledger"]),
    [
      "warning host-qualified VirtualService pay/ledger spec.hosts[0]: ledger names a Service of the rule's own namespace, wherever the rule is moved",
    ],
  ],
  [
    "no VirtualService: calls flow through the cluster without a subset",
    without("VirtualService ledger"),
    [],
  ],
  ["a VirtualService for a gateway alone", set("VirtualService ledger", "spec/gateways", ["shop/edge"]), []],
  [
    "a check of another port",
    set(FILTER, "spec/configPatches/0/match/cluster/portNumber", 80),
    [
      `error check-covers-calls ${TILL}: calls flow through outbound|9000||ledger.pay, which no health check of its Envoy watches`,
      'error check-hits-calls EnvoyFilter shop/checks spec.configPatches[0].match: watches {"service":"ledger.pay.svc.mesh.test","portNumber":80}, a cluster that carries no call',
    ],
  ],
  [
    "a check of every cluster",
    set(FILTER, "spec/configPatches/0/match", {}),
    [
      "warning check-only-calls EnvoyFilter shop/checks spec.configPatches[0].match: watches also every other cluster, without any call",
    ],
  ],
  [
    "an EnvoyFilter of the whole mesh",
    all(set(FILTER, "metadata/namespace", "istio-system"), set(FILTER, "spec/workloadSelector", undefined)),
    [
      "warning envoyfilter-scoped EnvoyFilter istio-system/checks spec.workloadSelector: changes every proxy of its namespace",
      `warning check-sees-traffic ${LEDGER} spec.template.metadata.annotations: its Envoy does not keep upstream_cx_total, so it checks at the intervals for clusters without traffic`,
      `error authorization-admits-check ${LEDGER}: no AuthorizationPolicy lets ${LEDGER} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
    ],
  ],
  [
    "an EnvoyFilter whose pods are elsewhere",
    all(without("Deployment till"), without("Sidecar default")),
    [`warning sidecar-scope ${LEDGER}: no Sidecar names the services that its proxy is told of`],
  ],
  [
    "a namespace's own PERMISSIVE over the mesh's STRICT",
    (objects) => [
      ...objects,
      {
        apiVersion: "security.istio.io/v1",
        kind: "PeerAuthentication",
        metadata: { name: "own", namespace: "pay" },
        spec: { mtls: { mode: "PERMISSIVE" } },
      },
    ],
    ["error mtls-strict PeerAuthentication pay/own spec.mtls.mode: is PERMISSIVE: pods take plaintext"],
  ],
  [
    "a policy that takes another namespace in",
    set("AuthorizationPolicy ledger", "spec/rules/0/from/0/source/namespaces", ["other"]),
    [
      `error authorization-admits-check ${LEDGER}: no AuthorizationPolicy lets ${TILL} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
    ],
  ],
  [
    "a policy by principal with a star for the trust domain",
    set("AuthorizationPolicy ledger", "spec/rules/0/from/0/source", { principals: ["*/ns/shop/sa/till"] }),
    [],
  ],
  [
    "a policy that denies is no leave",
    set("AuthorizationPolicy ledger", "spec/action", "DENY"),
    [
      `error authorization-covers-calls ${LEDGER}: is called, and no AuthorizationPolicy says by whom: anybody may`,
    ],
  ],
  [
    "a check over HTTP that the policy does not know",
    set(FILTER, "spec/configPatches/0/patch/value/health_checks/0", {
      http_health_check: { path: "/health?deep=1" },
    }),
    [
      `error authorization-admits-check ${LEDGER}: no AuthorizationPolicy lets ${TILL} ask for /health: each of its checks fails`,
    ],
  ],
  [
    "an external host",
    set("VirtualService ledger", "spec", {
      hosts: ["www.example.com"],
      http: [{ route: [{ destination: { host: "www.example.com" } }], timeout: "5s" }],
    }),
    [],
  ],
  [
    "probes that are not rewritten, on a port that bypasses the proxy",
    all(
      set("StatefulSet ledger", "spec/template/metadata/annotations", {
        "sidecar.istio.io/rewriteAppHTTPProbers": "false",
        "traffic.sidecar.istio.io/excludeInboundPorts": "9001, 22222",
      }),
      set("StatefulSet ledger", "spec/template/spec/containers/0/livenessProbe", {
        httpGet: { port: 22222, path: "/live" },
      }),
    ),
    [],
  ],
  [
    "an autoscaler's lower bound in place of the replicas",
    (objects) => [
      ...without("PodDisruptionBudget ledger")(objects),
      {
        apiVersion: "autoscaling/v2",
        kind: "HorizontalPodAutoscaler",
        metadata: { name: "ledger", namespace: "pay" },
        spec: { minReplicas: 1, maxReplicas: 9, scaleTargetRef: { kind: "StatefulSet", name: "ledger" } },
      },
    ],
    [],
  ],
  [
    "a namespace without injection, whose pods ask for the sidecar",
    all(
      set("Namespace shop", "metadata/labels", {}),
      set("Deployment till", "spec/template/metadata/labels/sidecar.istio.io~1inject", "true"),
    ),
    [],
  ],
  [
    "a namespace without injection",
    set("Namespace shop", "metadata/labels", {}),
    ["error namespace-injects Namespace shop metadata.labels: its pods get no sidecar"],
  ],
];

/** The paths of an object's fields, its name aside. */
function paths(object: object): fc.Arbitrary<(string | number)[]> {
  const below = (value: unknown, path: (string | number)[]): (string | number)[][] =>
    typeof value !== "object" || value === null
      ? [path]
      : [path, ...Object.entries(value).flatMap(([key, each]) => below(each, [...path, key]))];
  const own = below(object, []).filter(
    ([first, second]) =>
      first !== undefined &&
      !["kind", "apiVersion"].includes(String(first)) &&
      !(first === "metadata" && second !== "labels"),
  );
  return fc.constantFrom(...own);
}

describe("somebody else's mesh", () => {
  it("keeps the rules under other names, in two namespaces, without versions", () => {
    expect(lines(ANYBODY)).toEqual([]);
  });

  test.each(CASES)("%s", (_title, change, found) => {
    expect(lines(change(ANYBODY))).toEqual(found);
  });

  it("is judged as far as its objects go", () => {
    const alone = ANYBODY.filter(({ kind }) => ["EnvoyFilter", "VirtualService"].includes(kind));
    expect(alone).toHaveLength(2);
    expect(lines(alone)).toEqual([]);
    expect(lines([])).toEqual([]);
  });

  it("may hold whatever YAML can say: no object makes a rule throw", () => {
    const kinds = [...new Set(ANYBODY.map(({ kind }) => kind))];
    expect(kinds).toHaveLength(11);
    const inner = fc.jsonValue({ maxDepth: 3 });
    const object = fc
      .constantFrom(...ANYBODY)
      .chain((known) => fc.tuple(fc.constant(known), paths(known), inner));
    fc.assert(
      fc.property(object, ([known, path, value]) => {
        const changed = put(known, path, value);
        const found = check(ANYBODY.map((each) => (each === known ? changed : each)));
        return found.every(({ message }) => message !== "");
      }),
      { numRuns: 2000 },
    );
  });
});
