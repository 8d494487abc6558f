import { beforeAll, describe, expect, it, test } from "vitest";
import { check, RULES } from "../../../policy/rules.ts";
import type { KubernetesObject } from "../../../common/kubernetes-object.ts";
import { all, type Change, lines, set, stackObjects, twice, without } from "./support.ts";

const P = "dubbo-samples-mesh-provider";
const V1 = `Deployment ${P}-v1`;
const CONSUMER = "Deployment dubbo-samples-mesh-consumer";
const SERVICE = `Service ${P}`;
const ROUTES = `VirtualService ${P}`;
const SUBSET = `DestinationRule ${P}.v2`;
const CALLS = `AuthorizationPolicy ${P}.dubbo-sa`;
const FILTER = "EnvoyFilter cluster";
const HOST = `${P}.dubbo-canary.svc.cluster.local`;
const POD = "spec/template/spec";
const APP = `${POD}/containers/0`;
const ANNOTATIONS = "spec/template/metadata/annotations";
const CHECK = "spec/configPatches/0/patch/value/health_checks/0";

/** Objects and fields as findings name them. */
const AT = {
  consumer: "Deployment dubbo-canary/dubbo-samples-mesh-consumer",
  v1: `Deployment dubbo-canary/${P}-v1`,
  v2: `Deployment dubbo-canary/${P}-v2`,
  service: `Service dubbo-canary/${P}`,
  routes: `VirtualService dubbo-canary/${P}`,
  subset: `DestinationRule dubbo-canary/${P}.v2`,
  filter: "EnvoyFilter dubbo-canary/cluster",
  check: "spec.configPatches[0].patch.value.health_checks[0]",
  second: "spec.configPatches[1].patch.value.health_checks[0]",
};

const UNCHECKED = (subset: string): string =>
  `error check-covers-calls ${AT.filter}: calls flow through outbound|*|${subset}|${HOST}, which no check of the same Envoy watches`;
const REFUSED = ["v1", "v2"].map(
  (version) =>
    `error authorization-admits-check Deployment dubbo-canary/${P}-${version}: no AuthorizationPolicy lets ${AT.consumer} ask for /grpc.health.v1.Health/Check: each of its checks fails`,
);
const OTHER_PROTOCOL = [AT.check, AT.second].map(
  (path) =>
    `error check-fits-port ${AT.filter} ${path}: asks by gRPC at a port that Istio does not take for HTTP/2: Envoy refuses the cluster`,
);

/** A change of the objects that adds one. */
function plus(apiVersion: string, kind: string, name: string, spec: object): Change {
  const metadata = { name, namespace: "dubbo-canary" };
  return (objects) => [...objects, { apiVersion, kind, metadata, spec }];
}

/** A PeerAuthentication for the provider's pods, beside the namespace's STRICT. */
function ownMode(spec: object): Change {
  const selector = { matchLabels: { app: P } };
  return plus("security.istio.io/v1", "PeerAuthentication", "own", { selector, ...spec });
}

/** An AuthorizationPolicy for the provider's pods, beside the one that lets the consumer in. */
function denial(rule: object): Change {
  const spec = { selector: { matchLabels: { app: P } }, action: "DENY", rules: [rule] };
  return plus("security.istio.io/v1", "AuthorizationPolicy", "deny", spec);
}

function allowed(rule: object): Change {
  return set(CALLS, "spec/rules/0", rule);
}

const FROM = { from: [{ source: { namespaces: ["dubbo-canary"] } }] };

/** A rule, what is changed in the stack canary, the change, and all that is found then. */
const CASES: readonly (readonly [rule: string, title: string, change: Change, found: readonly string[]])[] = [
  [
    "port-is-grpc",
    "another appProtocol",
    set(SERVICE, "spec/ports/0/appProtocol", "tcp"),
    [
      `error port-is-grpc ${AT.service} spec.ports[0]: speaks Triple by its name, but Istio takes it for TCP: its routes do nothing`,
      ...OTHER_PROTOCOL,
    ],
  ],
  [
    "port-is-grpc",
    "a name that says http",
    all(set(SERVICE, "spec/ports/0/appProtocol", undefined), set(SERVICE, "spec/ports/0/name", "http-tri")),
    [
      `error port-is-grpc ${AT.service} spec.ports[0]: speaks Triple by its name, but Istio sends it HTTP/1.1`,
      ...OTHER_PROTOCOL,
    ],
  ],
  [
    "service-selects-all-versions",
    "a selector by version",
    set(SERVICE, "spec/selector/version", "v1"),
    [
      `error service-selects-all-versions ${AT.service} spec.selector.version: is v1: the subset v2 of v2 has no pods`,
    ],
  ],
  [
    "subset-exists",
    "an unknown subset",
    set(SUBSET, "spec/subsets/0/name", "v3"),
    [
      ...[0, 1].map(
        (index) =>
          `error subset-exists ${AT.routes} spec.http[${index}].route[1].destination: no DestinationRule has the subset v2 of ${HOST}: its calls are answered 503`,
      ),
      `error check-hits-calls ${AT.filter} ${AT.second}: watches the subset v2, which no DestinationRule has`,
    ],
  ],
  [
    "destination-port-exists",
    "the port of the container",
    set(ROUTES, "spec/http/1/route/0/destination/port", { number: 22222 }),
    [
      `error destination-port-exists ${AT.routes} spec.http[1].route[0].destination: ${HOST} has no port 22222: its calls are answered 503`,
    ],
  ],
  [
    "host-known",
    "a name that Istio does not complete",
    set(ROUTES, "spec/hosts", [`${P}.dubbo-canary`]),
    [
      `error host-known ${AT.routes} spec: names ${P}.dubbo-canary, which Istio does not complete: it matches no Service`,
    ],
  ],
  [
    "host-known",
    "a scope by a short name",
    set("Sidecar dubbo-samples-mesh-consumer", "spec/egress/0/hosts", [`./${P}`, "istio-system/*"]),
    [
      `error host-known Sidecar dubbo-canary/dubbo-samples-mesh-consumer spec: names ${P}, which Istio does not complete: it matches no Service`,
      ...[AT.check, AT.second].map(
        (path) =>
          `error check-hits-calls ${AT.filter} ${path}: watches dubbo-canary/${P}, which the Sidecar of ${AT.consumer} leaves out`,
      ),
    ],
  ],
  [
    "one-virtual-service",
    "another one for the same host",
    twice(ROUTES, "second"),
    [
      `error one-virtual-service VirtualService dubbo-canary/second spec.hosts: has a host that ${AT.routes} has, too: sidecars follow one of them`,
    ],
  ],
  [
    "retries-only-unary",
    "a try's time on all methods",
    set(ROUTES, "spec/http/1/retries/perTryTimeout", "1s"),
    [
      `warning retries-only-unary ${AT.routes} spec.http[1].retries: repeats calls that the provider may have run: perTryTimeout`,
    ],
  ],
  [
    "retries-only-unary",
    "reset on a stream",
    set(ROUTES, "spec/http/0/match/0/uri/exact", "/org.apache.dubbo.samples.Greeter/greetStream"),
    [
      `warning retries-only-unary ${AT.routes} spec.http[0].retries: repeats calls that the provider may have run: unavailable, cancelled, deadline-exceeded, reset, perTryTimeout`,
    ],
  ],
  [
    "retries-only-unary",
    "Istio's default conditions",
    set(ROUTES, "spec/http/1/retries", { attempts: 1 }),
    [
      `warning retries-only-unary ${AT.routes} spec.http[1].retries: repeats calls that the provider may have run: unavailable, cancelled`,
    ],
  ],
  [
    "retries-said",
    "no retries",
    set(ROUTES, "spec/http/1/retries", undefined),
    [
      `warning retries-said ${AT.routes} spec.http[1].retries: is not set: Istio makes two, on unavailable and cancelled too, times Dubbo's own`,
    ],
  ],
  [
    "retries-said",
    "retries at a gateway alone",
    set(ROUTES, "spec/gateways", ["istio-system/edge"]),
    [0, 1].map(
      (index) =>
        `warning retries-said ${AT.routes} spec.http[${index}].retries: holds at gateways alone: sidecars that call this host make Istio's two retries`,
    ),
  ],
  [
    "timeout-spares-streams",
    "a timeout of a stream",
    all(
      set(ROUTES, "spec/http/0/match/0/uri/exact", "/org.apache.dubbo.samples.Greeter/greetStream"),
      set(ROUTES, "spec/http/0/retries", { attempts: 0 }),
      set(ROUTES, "spec/http/0/timeout", "30s"),
    ),
    [
      `error timeout-spares-streams ${AT.routes} spec.http[0].timeout: cuts /org.apache.dubbo.samples.Greeter/greetStream after 30s`,
    ],
  ],
  [
    "check-covers-calls",
    "a subset without a check",
    set(FILTER, "spec/configPatches/1/match/cluster/subset", "v1"),
    [
      UNCHECKED("v2"),
      `error check-one-owner ${AT.filter} ${AT.second}: is the second of a cluster, beside ${AT.filter} ${AT.check}: Envoy refuses both`,
    ],
  ],
  [
    "check-covers-calls",
    "inbound clusters",
    set(FILTER, "spec/configPatches/1/match/context", "SIDECAR_INBOUND"),
    [UNCHECKED("v2")],
  ],
  [
    "check-covers-calls",
    "the cluster without a subset",
    set(FILTER, "spec/configPatches/1/match/cluster", { name: `outbound|50052||${HOST}` }),
    [UNCHECKED("v2")],
  ],
  [
    "check-hits-calls",
    "a short name",
    set(FILTER, "spec/configPatches/1/match/cluster/service", P),
    [
      UNCHECKED("v2"),
      `error check-hits-calls ${AT.filter} ${AT.second}: watches ${P}: Istio completes no name here, so no cluster matches`,
    ],
  ],
  [
    "check-hits-calls",
    "the port of the probes",
    set(FILTER, "spec/configPatches/1/match/cluster/portNumber", 22222),
    [`error check-hits-calls ${AT.filter} ${AT.second}: watches port 22222, which the Service does not have`],
  ],
  [
    "check-one-owner",
    "two patches for one cluster",
    set(FILTER, "spec/configPatches/1/match/cluster/subset", ""),
    [
      `error check-one-owner ${AT.filter} ${AT.second}: is the second of a cluster, beside ${AT.filter} ${AT.check}: Envoy refuses both`,
    ],
  ],
  [
    "check-one-owner",
    "two checks in one patch",
    set(FILTER, "spec/configPatches/0/patch/value/health_checks/1", {
      interval: "5s",
      no_traffic_interval: "5s",
      grpc_health_check: { service_name: "x" },
    }),
    [
      `error check-one-owner ${AT.filter} spec.configPatches[0].patch.value.health_checks[1]: is the second of a cluster, beside ${AT.filter} ${AT.check}: Envoy refuses both`,
    ],
  ],
  [
    "check-one-owner",
    "another EnvoyFilter for the same pods",
    all(
      twice(FILTER, "second"),
      set("EnvoyFilter second", "spec/workloadSelector/labels", {
        app: "dubbo-samples-mesh-consumer",
        version: "v1",
      }),
    ),
    [AT.check, AT.second].map(
      (path) =>
        `error check-one-owner EnvoyFilter dubbo-canary/second ${path}: is the second of a cluster, beside ${AT.filter} ${path}: Envoy refuses both`,
    ),
  ],
  [
    "check-over-mtls",
    "the documentation's criteria",
    set(FILTER, `${CHECK}/transport_socket_match_criteria`, { useMTLS: true }),
    [
      `error check-over-mtls ${AT.filter} ${AT.check}: has transport_socket_match_criteria of no socket for mTLS: STRICT resets plaintext`,
      ...REFUSED,
    ],
  ],
  [
    "check-over-mtls",
    "ALPN ids at a PERMISSIVE port",
    all(
      set("PeerAuthentication default", "spec/mtls/mode", "PERMISSIVE"),
      set(FILTER, `${CHECK}/tls_options`, { alpn_protocols: ["http1.1", "h2"] }),
    ),
    [
      `error check-over-mtls ${AT.filter} ${AT.check}: offers tls_options.alpn_protocols http1.1: no protocol that a sidecar listens for: PERMISSIVE closes the connection`,
      "error mtls-strict PeerAuthentication dubbo-canary/default spec.mtls.mode: is PERMISSIVE: a Triple port takes plaintext",
    ],
  ],
  [
    "check-fits-port",
    "HTTP/1.1 at the Triple port",
    all(
      set(FILTER, `${CHECK}/grpc_health_check`, undefined),
      set(FILTER, `${CHECK}/http_health_check`, {
        path: "/org.apache.dubbo.samples.Greeter/x",
        method: "POST",
      }),
    ),
    [
      `error check-fits-port ${AT.filter} ${AT.check}: asks by HTTP/1.1 at a port that speaks HTTP/2: it always fails`,
    ],
  ],
  [
    "check-fits-port",
    "every cluster",
    set(FILTER, "spec/configPatches/0/match/cluster", {}),
    [
      `error check-one-owner ${AT.filter} ${AT.second}: is the second of a cluster, beside ${AT.filter} ${AT.check}: Envoy refuses both`,
      `error check-fits-port ${AT.filter} ${AT.check}: asks every cluster by gRPC: Envoy refuses those without HTTP/2`,
    ],
  ],
  [
    "check-recovers-soon",
    "the sample's healthy_threshold",
    set(FILTER, `${CHECK}/healthy_threshold`, 20),
    [
      `warning check-recovers-soon ${AT.filter} ${AT.check}: healthy_threshold is 20: a peer that serves again gets no calls for 195 s`,
    ],
  ],
  [
    "check-sees-traffic",
    "Istio's default statistics, and no interval for them",
    all(
      set(CONSUMER, `${ANNOTATIONS}/proxy.istio.io~1config`, "holdApplicationUntilProxyStarts: true"),
      set(FILTER, `${CHECK}/no_traffic_interval`, undefined),
    ),
    [
      `warning check-sees-traffic ${AT.filter} ${AT.check}: goes out every 60 s: ${AT.consumer} does not keep upstream_cx_total`,
    ],
  ],
  [
    "check-drops-removed",
    "pods that stay",
    set(FILTER, "spec/configPatches/0/patch/value/ignore_health_on_host_removal", undefined),
    [
      `warning check-drops-removed ${AT.filter} ${AT.check}: keeps a pod that is gone in the cluster for as long as it passes`,
    ],
  ],
  [
    "authorization-admits-check",
    "no Health/Check",
    set(CALLS, "spec/rules/0/to/0/operation/paths", ["/org.apache.dubbo.samples.Greeter/*"]),
    REFUSED,
  ],
  [
    "authorization-admits-check",
    "another caller",
    set(CALLS, "spec/rules/0/from/0/source/principals", ["cluster.local/ns/dubbo-canary/sa/other"]),
    REFUSED,
  ],
  [
    "authorization-admits-check",
    "another port",
    set(CALLS, "spec/rules/0/to/0/operation/ports", ["20880"]),
    REFUSED,
  ],
  [
    "authorization-admits-check",
    "a token, which no check has",
    allowed({ when: [{ key: "request.auth.claims[iss]", values: ["x"] }] }),
    REFUSED,
  ],
  [
    "authorization-admits-check",
    "all paths but that of the check",
    allowed({ to: [{ operation: { notPaths: ["/grpc.health.v1.Health/{*}"] } }] }),
    REFUSED,
  ],
  [
    "authorization-admits-check",
    "all callers but this one",
    allowed({ from: [{ source: { notPrincipals: ["cluster.local/ns/dubbo-canary/sa/*"] } }] }),
    REFUSED,
  ],
  [
    "authorization-admits-check",
    "all namespaces but this one",
    allowed({ from: [{ source: { notNamespaces: ["dubbo-*"] } }] }),
    REFUSED,
  ],
  [
    "authorization-admits-check",
    "an account of another namespace, by its short name",
    all(allowed({ from: [{ source: { serviceAccounts: ["dubbo-sa"] } }] }), (objects) =>
      objects.map((object) =>
        object.kind === "AuthorizationPolicy"
          ? { ...object, metadata: { ...object.metadata, namespace: "istio-system" } }
          : object,
      ),
    ),
    REFUSED,
  ],
  ["authorization-admits-check", "a policy that allows nothing", set(CALLS, "spec/rules", []), REFUSED],
  [
    "authorization-admits-check",
    "a policy that denies checks",
    denial({ to: [{ operation: { paths: ["/grpc.health.*"] } }] }),
    REFUSED.map((line) =>
      line.replace("no AuthorizationPolicy lets", "AuthorizationPolicy dubbo-canary/deny does not let"),
    ),
  ],
  [
    "mtls-strict",
    "PERMISSIVE",
    set("PeerAuthentication default", "spec/mtls/mode", "PERMISSIVE"),
    [
      "error mtls-strict PeerAuthentication dubbo-canary/default spec.mtls.mode: is PERMISSIVE: a Triple port takes plaintext",
    ],
  ],
  [
    "mtls-strict",
    "plaintext on the Triple port",
    ownMode({ portLevelMtls: { "50052": { mode: "DISABLE" } } }),
    [
      "error mtls-strict PeerAuthentication dubbo-canary/own spec.portLevelMtls.50052.mode: is DISABLE: a Triple port takes plaintext",
    ],
  ],
  [
    "mtls-policy-applies",
    "a selector in the root namespace",
    all(ownMode({ mtls: { mode: "STRICT" } }), (objects) =>
      objects.map((object) =>
        object.metadata.name === "own"
          ? { ...object, metadata: { ...object.metadata, namespace: "istio-system" } }
          : object,
      ),
    ),
    [
      `error mtls-policy-applies PeerAuthentication istio-system/own spec.selector: is ignored: it selects no pods of ${AT.v1}, ${AT.v2}`,
    ],
  ],
  [
    "probes-survive-mtls",
    "probes that are not rewritten",
    set(V1, `${ANNOTATIONS}/sidecar.istio.io~1rewriteAppHTTPProbers`, "false"),
    [
      `error probes-survive-mtls ${AT.v1} spec.template.metadata.annotations["sidecar.istio.io/rewriteAppHTTPProbers"]: the kubelet asks in plaintext, which STRICT mTLS resets: the pods never become ready`,
    ],
  ],
  [
    "grace-covers-drain",
    "a grace as long as the drain",
    set(V1, `${POD}/terminationGracePeriodSeconds`, 40),
    [
      `error grace-covers-drain ${AT.v1} spec.template.spec.terminationGracePeriodSeconds: is 40, but the pod takes up to 40 s to end: the kubelet kills its last calls`,
    ],
  ],
  [
    "grace-covers-drain",
    "the default grace and a longer drain of the proxy",
    all(
      set(CONSUMER, `${POD}/terminationGracePeriodSeconds`, undefined),
      set(CONSUMER, `${APP}/env`, []),
      set(
        CONSUMER,
        `${ANNOTATIONS}/proxy.istio.io~1config`,
        "proxyStatsMatcher: {}\nproxyMetadata: { MINIMUM_DRAIN_DURATION: 31s }",
      ),
    ),
    [
      `error grace-covers-drain ${AT.consumer} spec.template.spec.terminationGracePeriodSeconds: is 30, but the pod takes up to 31 s to end: the kubelet kills its last calls`,
    ],
  ],
  [
    "grace-covers-drain",
    "the default grace and a longer sleep",
    all(
      set(CONSUMER, `${POD}/terminationGracePeriodSeconds`, undefined),
      set(CONSUMER, `${APP}/env`, []),
      set(CONSUMER, `${APP}/lifecycle`, { preStop: { exec: { command: ["sh", "-c", "sleep 31"] } } }),
    ),
    [
      `error grace-covers-drain ${AT.consumer} spec.template.spec.terminationGracePeriodSeconds: is 30, but the pod takes up to 31 s to end: the kubelet kills its last calls`,
    ],
  ],
];

/** Changes that break nothing for sure. */
const SOUND: readonly (readonly [title: string, change: Change])[] = [
  ["weights that add up to something else", set(ROUTES, "spec/http/1/route/0/weight", 999)],
  ["no check at all", without(FILTER)],
  [
    "a host of a ServiceEntry that is like a Service's",
    all(
      set("Sidecar dubbo-samples-mesh-consumer", "spec/egress/0/hosts/2", `./${P}`),
      plus("networking.istio.io/v1", "ServiceEntry", "alias", { hosts: [P] }),
    ),
  ],
  ["no AuthorizationPolicy", without(CALLS)],
  ["no PeerAuthentication", without("PeerAuthentication default")],
  [
    "a condition that only a request tells",
    allowed({ ...FROM, when: [{ key: "request.headers[x-a]", values: ["b"] }] }),
  ],
  ["addresses that only a cluster tells", allowed({ from: [{ source: { ipBlocks: ["10.0.0.0/8"] } }] })],
  [
    "empty lists, which match anything",
    allowed({ ...FROM, to: [{ operation: { paths: [], methods: [] } }] }),
  ],
  [
    "a trust domain that only the mesh tells",
    allowed({ from: [{ source: { principals: ["corp.example/ns/dubbo-canary/sa/dubbo-sa"] } }] }),
  ],
  ["an account by its short name", allowed({ from: [{ source: { serviceAccounts: ["dubbo-sa"] } }] })],
  ["a policy that denies other paths", denial({ to: [{ operation: { notPaths: ["/*"] } }] })],
  ["a policy that denies other callers", denial({ from: [{ source: { notNamespaces: ["dubbo-canary"] } }] })],
  [
    "a policy that denies as a trial",
    all(denial({}), set("AuthorizationPolicy deny", "metadata/annotations", { "istio.io/dry-run": "true" })),
  ],
  [
    "a port of the namespace's policy, which counts only beside a selector",
    set("PeerAuthentication default", "spec/portLevelMtls", { "50052": { mode: "DISABLE" } }),
  ],
  [
    "a policy without a mode, which inherits",
    ownMode({ portLevelMtls: { "22222": { mode: "PERMISSIVE" } } }),
  ],
  [
    "UNSET, which inherits",
    ownMode({ mtls: { mode: "UNSET" }, portLevelMtls: { "50052": { mode: "UNSET" } } }),
  ],
  [
    "probes that are not rewritten, on a port that takes plaintext",
    all(
      set(V1, `${ANNOTATIONS}/sidecar.istio.io~1rewriteAppHTTPProbers`, "false"),
      ownMode({ portLevelMtls: { "22222": { mode: "PERMISSIVE" } } }),
    ),
  ],
  [
    "probes that are not rewritten, on a port that bypasses the proxy",
    all(
      set(V1, `${ANNOTATIONS}/sidecar.istio.io~1rewriteAppHTTPProbers`, "false"),
      set(V1, `${ANNOTATIONS}/traffic.sidecar.istio.io~1includeInboundPorts`, "50052"),
    ),
  ],
  [
    "probes that are not rewritten, with policies elsewhere",
    all(
      set(V1, `${ANNOTATIONS}/sidecar.istio.io~1rewriteAppHTTPProbers`, "false"),
      without("PeerAuthentication default"),
    ),
  ],
  [
    "a check of a proxy version, beside that of all",
    all(twice(FILTER, "second"), (objects) =>
      objects.map((object) =>
        object.metadata.name === "second"
          ? {
              ...object,
              spec: JSON.parse(
                JSON.stringify(object["spec"]).replaceAll(
                  '"context"',
                  '"proxy":{"proxyVersion":"^1.3"},"context"',
                ),
              ) as object,
            }
          : object,
      ),
    ),
  ],
  [
    "another VirtualService of the host, for another namespace alone",
    all(twice(ROUTES, "second"), set("VirtualService second", "spec/exportTo", ["shop"])),
  ],
];

let objects: readonly KubernetesObject[] = [];
beforeAll(async () => {
  objects = await stackObjects("canary");
}, 30_000);

describe("a rule", () => {
  test.each(RULES)("$id is kept by the stack canary", ({ id }) => {
    expect(objects).toHaveLength(21);
    expect(check(objects).filter(({ rule }) => rule === id)).toEqual([]);
  });

  test.each(CASES)("%s finds %s", (rule, _title, change, found) => {
    expect(found.some((line) => line.split(" ")[1] === rule)).toBe(true);
    expect(lines(change(objects))).toEqual(found);
  });

  test.each(SOUND)("finds nothing in %s", (_title, change) => {
    expect(lines(change(objects))).toEqual([]);
  });

  it("has an id of its own, a case that fails, and sentences", () => {
    const ids = RULES.map(({ id }) => id);
    expect(new Set(ids).size).toBe(22);
    expect([...new Set(CASES.map(([rule]) => rule))].sort()).toEqual([...ids].sort());
    for (const { id, text, fix, source } of RULES) {
      expect({
        id: /^[a-z]+(-[a-z]+)+$/.test(id),
        text: text.endsWith("."),
        fix: fix.endsWith("."),
        source: source !== "",
      }).toEqual({
        id: true,
        text: true,
        fix: true,
        source: true,
      });
    }
  });
});

describe("a finding", () => {
  it("names severity, object, field, fix and source, in the order of the rules", () => {
    const [finding, ...others] = check(set(V1, `${POD}/terminationGracePeriodSeconds`, 10)(objects));
    expect(finding).toEqual({
      rule: "grace-covers-drain",
      severity: "error",
      object: AT.v1,
      path: "spec.template.spec.terminationGracePeriodSeconds",
      message: "is 10, but the pod takes up to 40 s to end: the kubelet kills its last calls",
      fix: "Raise terminationGracePeriodSeconds above the preStop sleep, Dubbo's shutdown waits and MINIMUM_DRAIN_DURATION.",
      source: "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
    });
    expect(others).toEqual([]);
  });

  it("is the same whatever the order of the objects", () => {
    const changed = all(set(CALLS, "spec/rules", []), set(ROUTES, "spec/http/1/retries", undefined))(objects);
    expect(lines([...changed].reverse()).sort()).toEqual(lines(changed).sort());
    expect(lines(changed)).toHaveLength(3);
  });
});
