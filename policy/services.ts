import { at, fields, items, labels } from "./fields.ts";
import {
  containerPort,
  destinationRules,
  filterAppliesTo,
  isBounded,
  type ManifestMesh,
  namespaceOf,
  ofKind,
  type ServiceManifest,
  selects,
} from "./mesh.ts";
import type { Fault, Rule } from "./rule.ts";

const PROTOCOL_SELECTION =
  "https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/";

function dubboServices({ services }: ManifestMesh): readonly ServiceManifest[] {
  return services.filter(({ ports }) => ports.some(({ dubbo }) => dubbo));
}

/**
 * Returns the protocol that Istio assumes for a port: its appProtocol, else its name up to the
 * first dash.
 */
function protocolOf(appProtocol: string | undefined, name = ""): string {
  return appProtocol ?? name.split("-")[0] ?? "";
}

/** Returns a fault for each Dubbo port for which `wrong` has a message. */
function portFaults(
  mesh: ManifestMesh,
  wrong: (port: ServiceManifest["ports"][number]) => string | undefined,
): Fault[] {
  return dubboServices(mesh).flatMap(({ object, ports }) =>
    ports
      .filter(({ dubbo }) => dubbo)
      .flatMap((port): Fault[] => {
        const message = wrong(port);
        return message === undefined ? [] : [{ object, path: port.path, message }];
      }),
  );
}

function headless(mesh: ManifestMesh): Fault[] {
  return dubboServices(mesh)
    .filter(({ object }) => at(object, "spec", "clusterIP") === "None")
    .map(({ object }) => ({
      object,
      path: "spec.clusterIP",
      message: "is headless: Envoy then sends each connection to the address that the caller has resolved",
    }));
}

/** Returns the label keys that distinguish a Service's subsets. */
function subsetLabels(mesh: ManifestMesh, key: string): Set<string> {
  const subsets = destinationRules(mesh, key).flatMap((rule) => items(at(rule, "spec", "subsets")));
  return new Set(subsets.flatMap((subset) => Object.keys(labels(at(subset, "labels")))));
}

function pinnedSelectors(mesh: ManifestMesh): Fault[] {
  return dubboServices(mesh).flatMap(({ object, key, selector }) => {
    const dividing = subsetLabels(mesh, key);
    return Object.keys(selector)
      .filter((label) => label === "version" || dividing.has(label))
      .map((label) => ({
        object,
        path: `spec.selector.${label}`,
        message: `selects by ${label}: pods of other versions get no calls, whatever the routes say`,
      }));
  });
}

function unreachablePods(mesh: ManifestMesh): Fault[] {
  return dubboServices(mesh).flatMap((service): Fault[] => {
    const { object, namespace, ports } = service;
    const inNamespace = mesh.workloads.filter((workload) => workload.namespace === namespace);
    if (inNamespace.length === 0) return [];
    const pods = inNamespace.filter((workload) => selects(service, workload));
    if (pods.length === 0)
      return [{ object, path: "spec.selector", message: "selects no pods of its namespace" }];
    return ports.flatMap(({ path, targetPort }) =>
      /^\d+$/.test(targetPort) || pods.some((workload) => containerPort(workload, targetPort) !== undefined)
        ? []
        : [{ object, path, message: `goes to port ${targetPort}, which no container has` }],
    );
  });
}

/** Returns the pods' own setting for sidecar injection: `true`, `false` or undefined. */
function injectionSetting(pods: ManifestMesh["workloads"][number]): string | undefined {
  const key = "sidecar.istio.io/inject";
  return pods.labels[key] ?? pods.annotations[key];
}

function notInjected(mesh: ManifestMesh): Fault[] {
  const namespaces = ofKind(mesh, "Namespace")
    .filter(({ metadata: { name } }) => {
      const pods = mesh.workloads.filter(({ namespace }) => namespace === name);
      const services = mesh.services.some(({ namespace }) => namespace === name);
      return (
        (services || pods.length > 0) &&
        !(pods.length > 0 && pods.every((each) => injectionSetting(each) === "true"))
      );
    })
    .flatMap((object): Fault[] => {
      const own = labels(at(object, "metadata", "labels"));
      const injection = own["istio-injection"];
      const on = injection === "enabled" || (injection === undefined && own["istio.io/rev"] !== undefined);
      return on ? [] : [{ object, path: "metadata.labels", message: "its pods get no sidecar" }];
    });
  const pods = mesh.workloads
    .filter((each) => injectionSetting(each) === "false")
    .map(({ object }) => ({
      object,
      path: "spec.template.metadata",
      message: "its pods refuse the sidecar (sidecar.istio.io/inject)",
    }));
  return [...namespaces, ...pods];
}

function loggedNamespaces(mesh: ManifestMesh): Set<string> {
  const logging = ofKind(mesh, "Telemetry").filter((telemetry) =>
    items(at(telemetry, "spec", "accessLogging")).some((each) => fields(each)["disabled"] !== true),
  );
  return new Set(logging.map(namespaceOf));
}

function namespacesWithoutLogs(mesh: ManifestMesh): Fault[] {
  const logged = loggedNamespaces(mesh);
  if (logged.has("istio-system")) return [];
  const namespaces = [...new Set(dubboServices(mesh).map(({ namespace }) => namespace))];
  return namespaces
    .filter((namespace) => !logged.has(namespace))
    .map((namespace) => ({
      object: `Namespace ${namespace}`,
      message: "no Telemetry turns the proxies' access logs on",
    }));
}

function unscopedWorkloads(mesh: ManifestMesh): Fault[] {
  const sidecars = ofKind(mesh, "Sidecar").filter(isBounded);
  return mesh.workloads
    .filter((workload) => !sidecars.some((sidecar) => filterAppliesTo(sidecar, workload)))
    .map(({ object }) => ({ object, message: "no Sidecar names the services that its proxy is told of" }));
}

/** Rules for Services and namespaces. */
export const SERVICE_RULES: readonly Rule[] = [
  {
    id: "port-is-grpc",
    severity: "error",
    text: "Istio takes each Dubbo port for gRPC, by appProtocol or by the port's name.",
    fix: "Name the port grpc-... and set appProtocol: grpc.",
    source: PROTOCOL_SELECTION,
    faults: (mesh) =>
      portFaults(mesh, ({ appProtocol, name }) =>
        protocolOf(appProtocol, name) === "grpc"
          ? undefined
          : `Istio takes it for ${protocolOf(appProtocol, name) || "what it sees on the wire"}, not for gRPC`,
      ),
  },
  {
    id: "port-named-grpc",
    severity: "warning",
    text: "A Dubbo port says gRPC twice: its name starts with grpc-, and its appProtocol is grpc.",
    fix: "Name the port grpc-... and set appProtocol: grpc.",
    source: "the seed, how it works; Istio's protocol selection",
    faults: (mesh) =>
      portFaults(mesh, ({ appProtocol, name }) => {
        const named = /^grpc(-|$)/.test(name ?? "");
        if (named && appProtocol !== undefined) return undefined;
        return named ? "has no appProtocol" : `its name is ${name ?? "not set"}, without the prefix grpc-`;
      }),
  },
  {
    id: "service-not-headless",
    severity: "error",
    text: "A Dubbo Service has a cluster address.",
    fix: "Take clusterIP: None away.",
    source: "the seed, how it works",
    faults: headless,
  },
  {
    id: "service-selects-all-versions",
    severity: "error",
    text: "A Dubbo Service selects the pods of all its versions.",
    fix: "Select by app alone, and divide by the DestinationRule's subsets.",
    source: "https://istio.io/latest/docs/ops/deployment/application-requirements/",
    faults: pinnedSelectors,
  },
  {
    id: "service-reaches-pods",
    severity: "error",
    text: "A Dubbo Service selects pods, and each named target port is one of theirs.",
    fix: "Mend the selector, or name the container's port as the Service does.",
    source: "https://kubernetes.io/docs/concepts/services-networking/service/",
    faults: unreachablePods,
  },
  {
    id: "namespace-injects",
    severity: "error",
    text: "The mesh's pods get a sidecar.",
    fix: "Label the namespace istio-injection: enabled, or istio.io/rev where a revision injects.",
    source: "the seed, 3.2",
    faults: notInjected,
  },
  {
    id: "access-logs",
    severity: "warning",
    text: "The proxies log their calls, which Istio's default profile does not.",
    fix: "Add a Telemetry with accessLogging: [{ providers: [{ name: envoy }] }].",
    source: "https://istio.io/latest/docs/tasks/observability/logs/access-log/",
    faults: namespacesWithoutLogs,
  },
  {
    id: "sidecar-scope",
    severity: "warning",
    text: "A proxy is told only of the services that its application calls.",
    fix: "Add a Sidecar for the workload whose egress hosts name them, and istio-system/*.",
    source: "https://istio.io/latest/docs/reference/config/networking/sidecar/",
    faults: unscopedWorkloads,
  },
];
