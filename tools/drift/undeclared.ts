/** Finds objects that change calls of a stack, but that no stack declares. */
import { z } from "zod";
import { Forbidden, type ApiServer } from "../../common/kubeconfig.ts";
import { type KubernetesObject, objectName } from "../../common/kubernetes-object.ts";
import { at, items, texts } from "../../policy/fields.ts";
import { ISTIO_NAMESPACE } from "../../settings/istio.ts";
import { madeByPulumi, marks } from "../../stack/checks.ts";

/** Kinds that change calls from or to the pods of their namespace: API version, kind, plural. */
const NAMESPACE_KINDS = [
  ["networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"],
  ["networking.istio.io/v1", "WorkloadEntry", "workloadentries"],
  ["gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes"],
  ["gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"],
] as const;

/**
 * Kinds that do the same, and that in Istio's root namespace apply to all namespaces or to all that
 * import them.
 * Source: https://istio.io/latest/docs/reference/config/
 */
const MESH_KINDS = [
  ["networking.istio.io/v1", "DestinationRule", "destinationrules"],
  ["networking.istio.io/v1alpha3", "EnvoyFilter", "envoyfilters"],
  ["networking.istio.io/v1beta1", "ProxyConfig", "proxyconfigs"],
  ["networking.istio.io/v1", "ServiceEntry", "serviceentries"],
  ["networking.istio.io/v1", "Sidecar", "sidecars"],
  ["networking.istio.io/v1", "VirtualService", "virtualservices"],
  ["security.istio.io/v1", "AuthorizationPolicy", "authorizationpolicies"],
  ["security.istio.io/v1", "PeerAuthentication", "peerauthentications"],
  ["security.istio.io/v1", "RequestAuthentication", "requestauthentications"],
  ["telemetry.istio.io/v1", "Telemetry", "telemetries"],
  ["extensions.istio.io/v1alpha1", "TrafficExtension", "trafficextensions"],
  ["extensions.istio.io/v1alpha1", "WasmPlugin", "wasmplugins"],
] as const;

type ListedKind = readonly [apiVersion: string, kind: string, plural: string];

const list = z.object({
  items: z.array(
    z.object({
      metadata: marks.extend({
        name: z.string(),
        namespace: z.string(),
        creationTimestamp: z.string(),
        ownerReferences: z.array(z.unknown()).default([]),
      }),
      spec: z.unknown().optional(),
    }),
  ),
});

/** Object of a list, with its metadata. */
type Listed = KubernetesObject & z.infer<typeof list>["items"][number];

/** Answer for one kind: its objects, or why there are none. */
type Answer = { readonly kind: ListedKind } & (
  { readonly objects: readonly Listed[] } | { readonly refusal: string } | { readonly unknown: true }
);

/**
 * Reports whether an object changes calls inside the mesh. Routes of gateways do not.
 * Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/ (gateways);
 * https://gateway-api.sigs.k8s.io/mesh/ (a Service as parent)
 */
function isOfMesh({ kind, spec }: Listed): boolean {
  if (kind.endsWith("Route"))
    return items(at(spec, "parentRefs")).some((parent) => at(parent, "kind") === "Service");
  const gateways = texts(at(spec, "gateways"));
  return gateways.length === 0 || gateways.includes("mesh");
}

async function listed(server: ApiServer, kind: ListedKind, namespace: string): Promise<Answer> {
  const [apiVersion, name, plural] = kind;
  try {
    const found = await server.object(list, `/apis/${apiVersion}/namespaces/${namespace}/${plural}`);
    if (found === undefined) return { kind, unknown: true };
    return { kind, objects: found.items.map((item) => ({ apiVersion, kind: name, ...item })) };
  } catch (error) {
    if (!(error instanceof Forbidden)) throw error;
    return { kind, refusal: error.message };
  }
}

/** Returns a text that identifies an object in all versions of its kind. */
function identity({ apiVersion, kind, metadata: { name, namespace } }: KubernetesObject): string {
  return [apiVersion.replace(/\/.*/, ""), kind, namespace, name].join("/");
}

/** Returns a note about the kinds that the cluster does not serve, if any. */
function unknownKinds(answers: readonly Answer[]): string[] {
  const kinds = answers.flatMap((answer) => ("unknown" in answer ? [answer.kind[1]] : []));
  return kinds.length === 0 ? [] : [`the cluster has no kind ${kinds.join(", ")}`];
}

/** Returns a note about the kinds that the account may not list, if any. */
function refusedKinds(namespace: string, answers: readonly Answer[]): string[] {
  const refused = answers.flatMap((answer) => ("refusal" in answer ? [answer] : []));
  const [first] = refused;
  if (first === undefined) return [];
  const kinds = refused.map(({ kind: [, kind] }) => kind).join(", ");
  const can = `kubectl auth can-i list ${first.kind[2]} --namespace ${namespace}`;
  return [
    `namespace ${namespace} is not checked for ${kinds}: ${first.refusal}. This needs the right: ${can}.`,
  ];
}

function noteOf(text: string, objects: readonly KubernetesObject[]): string[] {
  return objects.length === 0 ? [] : [`${text}: ${objects.map(objectName).join(", ")}`];
}

/** Object that no stack declares. */
export interface Undeclared {
  readonly object: KubernetesObject;
  /** Field managers of the object. */
  readonly managers: readonly string[];
  /** Time of its creation. */
  readonly time: string;
}

/** Result of {@link findUndeclared}. */
export interface Found {
  readonly undeclared: readonly Undeclared[];
  /** Facts that are no drift: objects of others, and checks that could not be made. */
  readonly notes: readonly string[];
}

/**
 * Lists the objects in a stack's namespace that change calls and that no stack declares. Objects of
 * Istio's root namespace and of other stacks are notes.
 * @param declared all objects of the stack
 * @throws UserError if the cluster does not answer
 */
export async function findUndeclared(
  server: ApiServer,
  namespace: string,
  declared: readonly KubernetesObject[],
): Promise<Found> {
  const own = new Set(declared.map(identity));
  const read = async (kinds: readonly ListedKind[], where: string): Promise<Answer[]> =>
    Promise.all(kinds.map((kind) => listed(server, kind, where)));
  const others = (answers: readonly Answer[]): Listed[] =>
    answers
      .flatMap((answer) => ("objects" in answer ? answer.objects : []))
      .filter(({ metadata }) => metadata.ownerReferences.length === 0)
      .filter((object) => isOfMesh(object) && !own.has(identity(object)));
  const [here, root] = await Promise.all([
    read([...MESH_KINDS, ...NAMESPACE_KINDS], namespace),
    read(MESH_KINDS, ISTIO_NAMESPACE),
  ]);
  const pulumis = others(here).filter(({ metadata }) => madeByPulumi(metadata));
  return {
    undeclared: others(here)
      .filter(({ metadata }) => !madeByPulumi(metadata))
      .map(undeclared),
    notes: [
      ...noteOf(`namespace ${namespace} has objects of another stack`, pulumis),
      ...noteOf(`namespace ${ISTIO_NAMESPACE} has rules that may apply here`, others(root)),
      ...unknownKinds(here),
      ...refusedKinds(namespace, here),
      ...refusedKinds(ISTIO_NAMESPACE, root),
    ],
  };
}

function undeclared(object: Listed): Undeclared {
  const { managedFields = [], creationTimestamp } = object.metadata;
  const managers = [...new Set(managedFields.flatMap(({ manager }) => manager ?? []))];
  return { object, managers, time: creationTimestamp };
}
