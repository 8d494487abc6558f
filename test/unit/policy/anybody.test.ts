import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { check } from "../../../policy/rules.ts";
import { ANYBODY } from "./anybody.ts";
import { all, type Change, lines, put, set, without } from "./support.ts";

const LEDGER = "StatefulSet pay/ledger";
const TILL = "Deployment shop/till";
const FILTER = "EnvoyFilter checks";

const CHECK = "EnvoyFilter shop/checks spec.configPatches[0].patch.value.health_checks[0]";

const CASES: readonly (readonly [title: string, change: Change, found: readonly string[]])[] = [
  [
    "a VirtualService that names the Service by its short name",
    set("VirtualService ledger", "spec/hosts", ["ledger"]),
    [],
  ],
  [
    "no VirtualService: calls flow through the cluster without a subset",
    without("VirtualService ledger"),
    [],
  ],
  [
    "a check of another port",
    set(FILTER, "spec/configPatches/0/match/cluster/portNumber", 80),
    [
      `error check-fits-port ${CHECK}: asks by gRPC at a port that Istio does not take for HTTP/2: Envoy refuses the cluster`,
      `error authorization-admits-check ${LEDGER}: no AuthorizationPolicy lets ${TILL} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
    ],
  ],
  [
    "a check of every cluster",
    set(FILTER, "spec/configPatches/0/match", {}),
    [`error check-fits-port ${CHECK}: asks every cluster by gRPC: Envoy refuses those without HTTP/2`],
  ],
  [
    "an EnvoyFilter of the whole mesh, where the callee's own scope leaves it out",
    all(set(FILTER, "metadata/namespace", "istio-system"), set(FILTER, "spec/workloadSelector", undefined)),
    [
      `warning check-sees-traffic EnvoyFilter istio-system/checks spec.configPatches[0].patch.value.health_checks[0]: goes out every 60 s: ${LEDGER} does not keep upstream_cx_total`,
    ],
  ],
  [
    "an EnvoyFilter whose pods are elsewhere",
    all(without("Deployment till"), without("Sidecar default")),
    [],
  ],
  ["a scope of the callee's whole namespace", set("Sidecar default", "spec/egress/0/hosts", ["pay/*"]), []],
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
    [
      "error mtls-strict PeerAuthentication pay/own spec.mtls.mode: is PERMISSIVE: a Triple port takes plaintext",
    ],
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
    "a check over HTTP/2 that the policy does not know",
    set(FILTER, "spec/configPatches/0/patch/value/health_checks/0", {
      no_traffic_interval: "1s",
      http_health_check: { path: "/health?deep=1", codec_client_type: "HTTP2" },
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
    "a Service that is a name alone",
    all(
      set("Service ledger", "spec/type", "ExternalName"),
      set("VirtualService ledger", "spec/http/0/route/0/destination/port/number", 1),
    ),
    [],
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
