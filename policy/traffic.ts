import {
  at,
  durationSeconds,
  type Fields,
  fields,
  items,
  labels,
  number,
  picks,
  text,
  texts,
} from "./fields.ts";
import {
  carriesCalls,
  type Destination,
  destinationRules,
  isDubboRoute,
  type ManifestMesh,
  namespaceOf,
  ofKind,
  type Route,
  selects,
  serviceKey,
  subsetOf,
} from "./mesh.ts";
import type { Fault, Rule } from "./rule.ts";
import { trafficPolicies } from "./security.ts";

const VIRTUAL_SERVICE = "https://istio.io/latest/docs/reference/config/networking/virtual-service/";

function wrongWeights(mesh: ManifestMesh): Fault[] {
  return mesh.routes
    .filter(({ destinations }) => destinations.length > 1)
    .flatMap(({ object, path, destinations }) => {
      const sum = destinations.reduce((total, { weight }) => total + (weight ?? 0), 0);
      return sum === 100 ? [] : [{ object, path: `${path}.route`, message: `the weights add up to ${sum}` }];
    });
}

/** Returns a fault for each destination for which `wrong` has a message. */
function destinationFaults(
  mesh: ManifestMesh,
  wrong: (destination: Destination, route: Route) => string | undefined,
): Fault[] {
  return mesh.routes.flatMap((route) =>
    route.destinations.flatMap((destination): Fault[] => {
      const message = wrong(destination, route);
      return message === undefined
        ? []
        : [{ object: route.object, path: `${destination.path}.destination`, message }];
    }),
  );
}

function subsetOfDestination(mesh: ManifestMesh, { key = "", subset }: Destination): Fields | undefined {
  return destinationRules(mesh, key)
    .map((rule) => subsetOf(rule, subset))
    .find((each) => each !== undefined);
}

function unknownSubset(mesh: ManifestMesh, destination: Destination): string | undefined {
  const { subset, host } = destination;
  if (subset === "" || subsetOfDestination(mesh, destination) !== undefined) return undefined;
  return `no DestinationRule has the subset ${subset} of ${host}: its calls are answered 503`;
}

/**
 * Returns the fault of a destination that gets calls but has no pods. It skips Services and
 * namespaces that the objects do not describe.
 */
function emptyDestination(mesh: ManifestMesh, destination: Destination, route: Route): string | undefined {
  const service = mesh.services.find(({ key }) => key === destination.key);
  const subset = subsetOfDestination(mesh, destination);
  if (service === undefined || !carriesCalls(destination, route)) return undefined;
  if (destination.subset !== "" && subset === undefined) return undefined;
  const inNamespace = mesh.workloads.filter(({ namespace }) => namespace === service.namespace);
  const pods = inNamespace.filter(
    (workload) =>
      selects(service, workload) &&
      picks(labels(subset?.["labels"]), workload.labels) &&
      workload.replicas > 0,
  );
  if (inNamespace.length === 0 || pods.length > 0) return undefined;
  return `gets calls, but no pods run for ${destination.subset === "" ? destination.host : `subset ${destination.subset}`}`;
}

/**
 * Retry conditions for failures before the callee has seen the call.
 * Source: Envoy's x-envoy-retry-on.
 */
const RETRY_UNSEEN = ["connect-failure", "refused-stream", "reset-before-request"];

/** Reports whether a route matches only single methods whose names do not end in "stream". */
function isUnary({ fields: route }: Route): boolean {
  const paths = items(route["match"]).map((match) => text(at(match, "uri", "exact")));
  return paths.length > 0 && paths.every((path) => path !== undefined && !/stream[^/]*$/i.test(path));
}

/**
 * Returns the retry settings of a route that may repeat a call the callee has seen. Returns none if
 * the route has no retries.
 */
function unsafeRetries({ fields: route }: Route): string[] {
  const retries = fields(route["retries"]);
  if (route["retries"] === undefined || number(retries["attempts"]) === 0) return [];
  const retryOn = text(retries["retryOn"])?.split(",") ?? ["Istio's default (unavailable, cancelled)"];
  const unsafe = retryOn.map((each) => each.trim()).filter((each) => !RETRY_UNSEEN.includes(each));
  return retries["perTryTimeout"] === undefined ? unsafe : [...unsafe, "perTryTimeout"];
}

function dubboRoutes(mesh: ManifestMesh): Route[] {
  return mesh.routes.filter((route) => isDubboRoute(mesh, route));
}

function repeatedCalls(mesh: ManifestMesh): Fault[] {
  return dubboRoutes(mesh)
    .filter((route) => !isUnary(route))
    .flatMap((route) => {
      const unsafe = unsafeRetries(route);
      const message = `repeats calls that the provider may have run, streams among them: ${unsafe.join(", ")}`;
      return unsafe.length === 0 ? [] : [{ object: route.object, path: `${route.path}.retries`, message }];
    });
}

function unsetRetries(mesh: ManifestMesh): Fault[] {
  return dubboRoutes(mesh)
    .filter(({ fields: route }) => route["retries"] === undefined && route["route"] !== undefined)
    .map(({ object, path }) => ({
      object,
      path: `${path}.retries`,
      message:
        "says nothing of retries: Istio makes two, on unavailable and cancelled too, times Dubbo's own",
    }));
}

function streamTimeouts(mesh: ManifestMesh): Fault[] {
  return dubboRoutes(mesh)
    .filter((route) => (durationSeconds(route.fields["timeout"]) ?? 0) > 0 && !isUnary(route))
    .map(({ object, path, fields: route }) => ({
      object,
      path: `${path}.timeout`,
      message: `cuts every stream after ${text(route["timeout"]) ?? ""}`,
    }));
}

function disabledPanicThresholds(mesh: ManifestMesh): Fault[] {
  return ofKind(mesh, "DestinationRule").flatMap((object) =>
    trafficPolicies(object).flatMap(({ path, policy }) => {
      const detection = policy["outlierDetection"];
      if (detection === undefined || (number(at(detection, "minHealthPercent")) ?? 0) > 0) return [];
      const message = "turns Envoy's panic threshold off: with all endpoints out, no call is tried";
      return [{ object, path: `${path}.outlierDetection.minHealthPercent`, message }];
    }),
  );
}

/** Returns the hosts that traffic rules name, with their paths. `message` holds the host. */
function hostsOf(mesh: ManifestMesh): Required<Fault>[] {
  const rules = ofKind(mesh, "DestinationRule").map((object) => ({
    object,
    path: "spec.host",
    message: text(at(object, "spec", "host")) ?? "",
  }));
  const hosts = ofKind(mesh, "VirtualService").flatMap((object) =>
    texts(at(object, "spec", "hosts")).map((host, index) => ({
      object,
      path: `spec.hosts[${index}]`,
      message: host,
    })),
  );
  const destinations = mesh.routes.flatMap(({ object, destinations: all }) =>
    all.map(({ path, host }) => ({ object, path: `${path}.destination.host`, message: host })),
  );
  return [...rules, ...hosts, ...destinations];
}

function shortHosts(mesh: ManifestMesh): Fault[] {
  return hostsOf(mesh)
    .filter(({ message: host }) => host !== "" && !host.includes(".") && !host.includes("*"))
    .map(({ object, path, message: host }) => ({
      object,
      path,
      message: `${host} names a Service of the rule's own namespace, wherever the rule is moved`,
    }));
}

/**
 * Returns the hosts that do not resolve. Istio does not complete partial DNS names, and a full name
 * must be a Service of its namespace.
 */
function unknownHosts(mesh: ManifestMesh): Fault[] {
  return hostsOf(mesh).flatMap(({ object, path, message: host }): Fault[] => {
    const parts = host.split(".");
    const [name = "", namespace = "", svc] = parts;
    const known = mesh.services.some(({ key }) => key === `${namespace}/${name}`);
    const cut = parts.length === 2 ? known : parts.length === 3 && svc === "svc";
    if (cut)
      return [{ object, path, message: `${host} is no name that Istio completes: it matches nothing` }];
    const key = typeof object === "string" ? undefined : serviceKey(host, namespaceOf(object));
    const inNamespace = mesh.services.some((each) => each.key.split("/")[0] === key?.split("/")[0]);
    if (key === undefined || !inNamespace || mesh.services.some((each) => each.key === key)) return [];
    return [{ object, path, message: `${host} names no Service among those of its namespace` }];
  });
}

const ROUTE_RULES: readonly Rule[] = [
  {
    id: "weights-add-up",
    severity: "error",
    text: "The weights of a route's destinations add up to 100.",
    fix: "Give each destination its percentage; one without gets no calls.",
    source: VIRTUAL_SERVICE,
    faults: wrongWeights,
  },
  {
    id: "subset-exists",
    severity: "error",
    text: "Each subset that a route names is one of a DestinationRule's.",
    fix: "Add the subset to the host's DestinationRule, or mend its name.",
    source: "https://istio.io/latest/docs/reference/config/networking/destination-rule/#Subset",
    faults: (mesh) => destinationFaults(mesh, (destination) => unknownSubset(mesh, destination)),
  },
  {
    id: "destination-has-pods",
    severity: "error",
    text: "Pods run for each destination that gets calls, with the subset's labels.",
    fix: "Run pods with these labels, or give the destination no weight.",
    source: "https://istio.io/latest/docs/reference/config/networking/destination-rule/#Subset",
    faults: (mesh) =>
      destinationFaults(mesh, (destination, route) => emptyDestination(mesh, destination, route)),
  },
  {
    id: "host-known",
    severity: "error",
    text: "Traffic rules name Services that there are.",
    fix: "Write the Service's full DNS name, such as provider.dubbo-demo.svc.cluster.local.",
    source: VIRTUAL_SERVICE,
    faults: unknownHosts,
  },
  {
    id: "host-qualified",
    severity: "warning",
    text: "Traffic rules name Services by their full DNS names.",
    fix: "Write the Service's full DNS name, such as provider.dubbo-demo.svc.cluster.local.",
    source: VIRTUAL_SERVICE,
    faults: shortHosts,
  },
];

const FAILURE_RULES: readonly Rule[] = [
  {
    id: "retries-only-unary",
    severity: "error",
    text: "Only single unary methods are repeated after the provider may have seen the call.",
    fix: "Match the idempotent methods by uri.exact; for all others keep retryOn to connect-failure,refused-stream,reset-before-request.",
    source: "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter",
    faults: repeatedCalls,
  },
  {
    id: "retries-said",
    severity: "warning",
    text: "Routes say which retries Envoy makes, so that they do not multiply with Dubbo's.",
    fix: "Set retries on the route, also { attempts: 0 }, and retries=0 in the Dubbo consumer.",
    source: "https://istio.io/latest/docs/concepts/traffic-management/#retries",
    faults: unsetRetries,
  },
  {
    id: "timeout-spares-streams",
    severity: "error",
    text: "A route's timeout cuts no stream.",
    fix: "Match the unary methods by uri.exact, and leave the timeout out for all others.",
    source: "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
    faults: streamTimeouts,
  },
  {
    id: "panic-threshold",
    severity: "warning",
    text: "Outlier detection leaves Envoy a panic threshold.",
    fix: "Set outlierDetection.minHealthPercent, such as to 50.",
    source: "https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection",
    faults: disabledPanicThresholds,
  },
];

/** Rules for traffic. */
export const TRAFFIC_RULES: readonly Rule[] = [...ROUTE_RULES, ...FAILURE_RULES];
