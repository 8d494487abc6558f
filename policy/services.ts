import { at, labels, text } from "./fields.ts";
import { destinationRules, type ManifestMesh, subsetsOf } from "./mesh.ts";
import { fault, type Fault, type Rule } from "./rule.ts";

/** Reports whether a DestinationRule makes Istio speak HTTP/2 to ports for HTTP/1.1. */
export function isUpgraded(mesh: ManifestMesh, key = ""): boolean {
  return destinationRules(mesh, key).some((rule) =>
    JSON.stringify(at(rule, "spec")).includes('"h2UpgradePolicy":"UPGRADE"'),
  );
}

function otherProtocols(mesh: ManifestMesh): Fault[] {
  const ways = mesh.routes.flatMap(({ destinations }) => destinations);
  return [...mesh.services.values()].flatMap(({ object, key, ports }) =>
    ports
      .filter(({ triple }) => triple)
      .flatMap(({ path, protocol, number }) => {
        const only = ports.length === 1 ? number : undefined;
        const routed = ways.some((each) => each.key === key && (each.port ?? only) === number);
        if (protocol === "http" && !isUpgraded(mesh, key))
          return [{ object, path, message: "speaks Triple by its name, but Istio sends it HTTP/1.1" }];
        const message = "speaks Triple by its name, but Istio takes it for TCP: its routes do nothing";
        return fault(object, path, protocol === "tcp" && routed ? message : undefined);
      }),
  );
}

function pinnedSelectors(mesh: ManifestMesh): Fault[] {
  return [...mesh.services.values()].flatMap(({ object, key }) => {
    const selector = labels(at(object, "spec", "selector"));
    return subsetsOf(mesh, key).flatMap((subset) =>
      Object.entries(labels(subset["labels"]))
        .filter(([label, value]) => ![value, undefined].includes(selector[label]))
        .map(([label, value]) => ({
          object,
          path: `spec.selector.${label}`,
          message: `is ${selector[label] ?? ""}: the subset ${text(subset["name"]) ?? ""} of ${value} has no pods`,
        })),
    );
  });
}

/** Rules for Services. */
export const SERVICE_RULES: readonly Rule[] = [
  {
    id: "port-is-grpc",
    severity: "error",
    text: "Istio takes no Triple port for HTTP/1.1, and none with routes for TCP.",
    fix: "Name the port grpc-... and set appProtocol: grpc.",
    source: "https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/",
    faults: otherProtocols,
  },
  {
    id: "service-selects-all-versions",
    severity: "error",
    text: "A Service selects the pods of all its subsets.",
    fix: "Select by app alone, and divide by the DestinationRule's subsets.",
    source: "https://istio.io/latest/docs/ops/deployment/application-requirements/",
    faults: pinnedSelectors,
  },
];
