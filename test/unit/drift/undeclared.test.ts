import { describe, expect, it } from "vitest";
import { ApiServer } from "../../../common/kubeconfig.ts";
import type { KubernetesObject } from "../../../common/kubernetes-object.ts";
import { findUndeclared, type Found } from "../../../tools/drift/undeclared.ts";
import { userError } from "../tools/user-error.ts";
import { type Answer, withApiServer } from "./api-server.ts";

const NAMESPACE = "dubbo-demo";
const TIME = "2026-11-28T14:00:00Z";

/** Paths of all lists that are read. */
const MESH_LISTS = [
  "networking.istio.io/v1/NS/destinationrules",
  "networking.istio.io/v1/NS/serviceentries",
  "networking.istio.io/v1/NS/sidecars",
  "networking.istio.io/v1/NS/virtualservices",
  "networking.istio.io/v1alpha3/NS/envoyfilters",
  "networking.istio.io/v1beta1/NS/proxyconfigs",
  "security.istio.io/v1/NS/authorizationpolicies",
  "security.istio.io/v1/NS/peerauthentications",
  "security.istio.io/v1/NS/requestauthentications",
  "telemetry.istio.io/v1/NS/telemetries",
  "extensions.istio.io/v1alpha1/NS/trafficextensions",
  "extensions.istio.io/v1alpha1/NS/wasmplugins",
];
const NAMESPACE_LISTS = [
  "networking.k8s.io/v1/NS/networkpolicies",
  "networking.istio.io/v1/NS/workloadentries",
  "gateway.networking.k8s.io/v1/NS/grpcroutes",
  "gateway.networking.k8s.io/v1/NS/httproutes",
];

const pathOf = (list: string, namespace: string): string =>
  `/apis/${list.replace("NS", `namespaces/${namespace}`)}`;

/** A cluster that serves all kinds, and has no objects but these. */
function cluster(others: Readonly<Record<string, Answer>>): Record<string, Answer> {
  const lists = [
    ...[...MESH_LISTS, ...NAMESPACE_LISTS].map((list) => pathOf(list, NAMESPACE)),
    ...MESH_LISTS.map((list) => pathOf(list, "istio-system")),
  ];
  return { ...Object.fromEntries(lists.map((path) => [path, []])), ...others };
}

async function find(
  answers: Readonly<Record<string, Answer>>,
  declared: readonly KubernetesObject[] = [],
): Promise<Found> {
  return withApiServer(answers, async (kubeconfig) => {
    const server = await ApiServer.of({ cluster: "existing", context: "x", kubeconfig });
    return findUndeclared(server, NAMESPACE, declared);
  });
}

function object(name: string, more: object = {}, namespace = NAMESPACE): object {
  const managedFields = [{ manager: "kubectl-client-side-apply", operation: "Update" }];
  return { metadata: { name, namespace, creationTimestamp: TIME, managedFields, ...more } };
}

const FILTERS = pathOf("networking.istio.io/v1alpha3/NS/envoyfilters", NAMESPACE);
const POLICIES = pathOf("networking.k8s.io/v1/NS/networkpolicies", NAMESPACE);
const ROOT_FILTERS = pathOf("networking.istio.io/v1alpha3/NS/envoyfilters", "istio-system");

describe("objects that no stack declares", () => {
  it("are those of the namespace that the stack does not have, in any version of their kind", async () => {
    const declared = { apiVersion: "networking.istio.io/v1beta1", kind: "EnvoyFilter" };
    const found = await find(
      cluster({ [FILTERS]: [object("own"), object("slow")], [POLICIES]: [object("own")] }),
      [{ ...declared, metadata: { name: "own", namespace: NAMESPACE } }],
    );
    expect(found.notes).toEqual([]);
    expect(
      found.undeclared.map(({ object: { apiVersion, kind, metadata }, managers, time }) => ({
        ...{ apiVersion, kind, name: metadata.name, namespace: metadata.namespace, managers, time },
      })),
    ).toEqual([
      {
        apiVersion: "networking.istio.io/v1alpha3",
        kind: "EnvoyFilter",
        name: "slow",
        namespace: NAMESPACE,
        managers: ["kubectl-client-side-apply"],
        time: TIME,
      },
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        name: "own",
        namespace: NAMESPACE,
        managers: ["kubectl-client-side-apply"],
        time: TIME,
      },
    ]);
  });

  it("are not those that another object owns", async () => {
    const owned = object("owned", { ownerReferences: [{ kind: "Gateway", name: "g" }] });
    expect(await find(cluster({ [FILTERS]: [owned] }))).toEqual({ undeclared: [], notes: [] });
  });

  it("are not routes of gateways, but those between services", async () => {
    const virtualServices = pathOf("networking.istio.io/v1/NS/virtualservices", NAMESPACE);
    const grpc = pathOf("gateway.networking.k8s.io/v1/NS/grpcroutes", NAMESPACE);
    const route = (name: string, spec: object): object => ({ ...object(name), spec });
    const { undeclared } = await find(
      cluster({
        [virtualServices]: [
          route("ingress", { gateways: ["istio-system/gateway"] }),
          route("both", { gateways: ["istio-system/gateway", "mesh"] }),
          route("mesh", { hosts: ["a"] }),
        ],
        [grpc]: [
          route("ingress", { parentRefs: [{ kind: "Gateway", name: "g" }, { name: "h" }] }),
          route("service", { parentRefs: [{ kind: "Service", group: "", name: "provider" }] }),
        ],
      }),
    );
    expect(undeclared.map(({ object: { kind, metadata } }) => `${kind}/${metadata.name}`)).toEqual([
      "VirtualService/both",
      "VirtualService/mesh",
      "GRPCRoute/service",
    ]);
  });

  it("are only noted where another stack has made them, or where they are in the root namespace", async () => {
    const pulumis = [
      object("a", { managedFields: [{ manager: "pulumi-kubernetes-1a2b3c4d" }] }),
      object("b", { labels: { "app.kubernetes.io/managed-by": "pulumi" } }),
    ];
    const root = object("all", {}, "istio-system");
    expect(await find(cluster({ [FILTERS]: pulumis, [ROOT_FILTERS]: [root] }))).toEqual({
      undeclared: [],
      notes: [
        "namespace dubbo-demo has objects of another stack: EnvoyFilter/a, EnvoyFilter/b",
        "namespace istio-system has rules that may apply here: EnvoyFilter/all",
      ],
    });
  });
});

describe("kinds that cannot be listed", () => {
  it("are noted once where the cluster does not serve them", async () => {
    const served = Object.entries(cluster({})).filter(([path]) => !/routes$|trafficextensions$/.test(path));
    expect(await find(Object.fromEntries(served))).toEqual({
      undeclared: [],
      notes: ["the cluster has no kind TrafficExtension, GRPCRoute, HTTPRoute"],
    });
  });

  it("are noted where the account lacks the right, and the others are listed", async () => {
    const forbidden = { code: 403, message: "envoyfilters is forbidden" };
    const found = await find(cluster({ [FILTERS]: forbidden, [POLICIES]: [object("deny")] }));
    expect(found.undeclared.map(({ object: { kind } }) => kind)).toEqual(["NetworkPolicy"]);
    expect(found.notes).toEqual([
      "namespace dubbo-demo is not checked for EnvoyFilter: HTTP 403: envoyfilters is forbidden. " +
        "This needs the right: kubectl auth can-i list envoyfilters --namespace dubbo-demo.",
    ]);
  });

  it("are an error where the cluster fails", async () => {
    const failing = cluster({ [FILTERS]: { code: 500, message: "etcd is gone" } });
    expect(await userError(find(failing))).toEqual({
      message: "the cluster of context x refuses or does not answer: HTTP 500: etcd is gone",
      fix: "Check that it runs and that the context's credentials are valid (kubectl version), then run the command again.",
    });
  });
});
