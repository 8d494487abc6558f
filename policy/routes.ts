import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { at, text, texts } from "./fields.ts";
import {
  type Destination,
  destinationRules,
  egressHosts,
  hostKeys,
  isForMesh,
  type ManifestMesh,
  meantService,
  namespaceOf,
  ofKind,
  subsetsOf,
} from "./mesh.ts";
import { fault, type Fault, type Rule, titleOf } from "./rule.ts";

const VIRTUAL_SERVICE = "https://istio.io/latest/docs/reference/config/networking/virtual-service/";

/** Finds the destinations with calls for which `wrong` has a message. */
function destinationFaults(
  wrong: (destination: Destination, mesh: ManifestMesh) => string | undefined,
): (mesh: ManifestMesh) => Fault[] {
  return (mesh) =>
    mesh.routes.flatMap(({ object, destinations }) =>
      destinations
        .filter(({ calls }) => calls)
        .flatMap((destination) => fault(object, destination.path, wrong(destination, mesh))),
    );
}

function unknownSubset({ key, host, subset }: Destination, mesh: ManifestMesh): string | undefined {
  if (subset === "" || destinationRules(mesh, key).length === 0) return undefined;
  return subsetsOf(mesh, key).some((each) => each["name"] === subset)
    ? undefined
    : `no DestinationRule has the subset ${subset} of ${host}: its calls are answered 503`;
}

function unknownPort({ key, host, port }: Destination, mesh: ManifestMesh): string | undefined {
  const ports = mesh.services.get(key)?.ports.map(({ number }) => number);
  return ports === undefined || port === undefined || ports.includes(port)
    ? undefined
    : `${host} has no port ${port}: its calls are answered 503`;
}

/** Returns the hosts that Istio does not complete, with the namespaces that they are meant for. */
function plainHosts(object: KubernetesObject): (readonly [string, string])[] {
  if (object.kind === "Sidecar") return egressHosts(object);
  const hosts = [text(at(object, "spec", "host")) ?? "", ...texts(at(object, "spec", "hosts"))];
  return hosts.filter((host) => host.includes(".")).map((host) => [namespaceOf(object), host]);
}

function partialHosts(mesh: ManifestMesh): Fault[] {
  const routes = ofKind(mesh, "VirtualService").filter(isForMesh);
  return [...routes, ...ofKind(mesh, "DestinationRule"), ...ofKind(mesh, "Sidecar")].flatMap((object) =>
    plainHosts(object).flatMap(([namespace, host]) => {
      const message = `names ${host}, which Istio does not complete: it matches no Service`;
      return fault(object, "spec", meantService(mesh, host, namespace) && message);
    }),
  );
}

function ignoredVirtualServices(mesh: ManifestMesh): Fault[] {
  const scope = (object: KubernetesObject): string =>
    JSON.stringify(at(object, "spec", "exportTo") ?? ["*"]).replace('"."', `"${namespaceOf(object)}"`);
  const all = ofKind(mesh, "VirtualService").filter(isForMesh);
  return all.flatMap((object, index) => {
    const rival = all
      .slice(0, index)
      .filter((earlier) => scope(earlier) === scope(object) && titleOf(earlier) !== titleOf(object))
      .find((earlier) => hostKeys(earlier).some((key) => hostKeys(object).includes(key)));
    return fault(
      object,
      "spec.hosts",
      rival && `has a host that ${titleOf(rival)} has, too: sidecars follow one of them`,
    );
  });
}

/** Rules for routes. */
export const ROUTE_RULES: readonly Rule[] = [
  {
    id: "subset-exists",
    severity: "error",
    text: "Each subset that a route names is one of the host's DestinationRules.",
    fix: "Add the subset to the host's DestinationRule, or mend its name.",
    source: "https://istio.io/latest/docs/reference/config/networking/destination-rule/#Subset",
    faults: destinationFaults(unknownSubset),
  },
  {
    id: "destination-port-exists",
    severity: "error",
    text: "Each port that a route names is one of the Service's.",
    fix: "Write the port of the Service, not of the container.",
    source: `${VIRTUAL_SERVICE}#Destination`,
    faults: destinationFaults(unknownPort),
  },
  {
    id: "host-known",
    severity: "error",
    text: "Rules and Sidecars name Services as Istio knows them.",
    fix: "Write the Service's full DNS name, such as provider.dubbo-demo.svc.cluster.local.",
    source: VIRTUAL_SERVICE,
    faults: partialHosts,
  },
  {
    id: "one-virtual-service",
    severity: "error",
    text: "Sidecars have one VirtualService for a host.",
    fix: "Put the routes into one VirtualService, those of single methods first.",
    source: "https://istio.io/latest/docs/reference/config/analysis/ist0109/",
    faults: ignoredVirtualServices,
  },
];
