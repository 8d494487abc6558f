import { at, durationSeconds, fields, items, number, text } from "./fields.ts";
import { type Destination, hostKeys, type ManifestMesh, type Route, virtualServicesFor } from "./mesh.ts";
import { fault, type Fault, type Rule } from "./rule.ts";

/** Retry conditions of Envoy for failures before the callee has seen the call. */
const RETRY_UNSEEN = ["connect-failure", "refused-stream", "reset-before-request"];

/** Finds the routes to Services that speak Triple for which `wrong` has a message about a field. */
function routeFaults(
  field: string,
  wrong: (route: Route, mesh: ManifestMesh) => string | undefined,
): (mesh: ManifestMesh) => Fault[] {
  return (mesh) =>
    mesh.routes
      .filter(({ destinations }) => destinations.some((each) => speaksTriple(mesh, each)))
      .flatMap((route) => fault(route.object, `${route.path}.${field}`, wrong(route, mesh)));
}

/** Reports whether all ports that a destination may mean speak Triple, and none is for TCP. */
function speaksTriple(mesh: ManifestMesh, { key, port }: Destination): boolean {
  const ports = mesh.services.get(key)?.ports.filter((each) => [each.number, undefined].includes(port)) ?? [];
  return ports.length > 0 && ports.every(({ triple, protocol }) => triple && protocol !== "tcp");
}

/** Returns the paths that a route matches exactly; empty for a match that takes in others. */
function pathsOf({ fields: route }: Route): string[] {
  return items(route["match"]).map((match) => text(at(match, "uri", "exact")) ?? "");
}

/** Paths of methods that are streams by their names. */
const STREAM = /stream[^/]*$/i;

/** Finds retries of calls that the callee may have seen, but on routes of single unary methods. */
function repeatedCalls(route: Route): string | undefined {
  const { attempts, retryOn, perTryTimeout } = fields(route.fields["retries"]);
  const paths = pathsOf(route);
  const unary = paths.length > 0 && paths.every((path) => path !== "" && !STREAM.test(path));
  if (unary || route.fields["retries"] === undefined || number(attempts) === 0) return undefined;
  const conditions = (text(retryOn) ?? "unavailable,cancelled").split(",").map((each) => each.trim());
  const unsafe = conditions.filter((each) => !RETRY_UNSEEN.includes(each));
  const all = [...unsafe, ...(perTryTimeout === undefined ? [] : ["perTryTimeout"])].join(", ");
  return all === "" ? undefined : `repeats calls that the provider may have run: ${all}`;
}

/** Finds routes without retries, and retries at gateways alone for a host that sidecars check. */
function unsaidRetries({ object, fields: route }: Route, mesh: ManifestMesh): string | undefined {
  if (route["retries"] === undefined)
    return "is not set: Istio makes two, on unavailable and cancelled too, times Dubbo's own";
  const unheard = hostKeys(object).filter((key) => virtualServicesFor(mesh, key).length === 0);
  return mesh.checks.some(({ outbound, target }) => outbound && unheard.includes(target.key ?? ""))
    ? "holds at gateways alone: sidecars that call this host make Istio's two retries"
    : undefined;
}

function cutStreams(route: Route): string | undefined {
  const streams = pathsOf(route)
    .filter((path) => STREAM.test(path))
    .join(", ");
  const timeout = text(route.fields["timeout"]);
  return timeout === undefined || durationSeconds(timeout) === 0 || streams === ""
    ? undefined
    : `cuts ${streams} after ${timeout}`;
}

/** Rules for retries and timeouts. */
export const RETRY_RULES: readonly Rule[] = [
  {
    id: "retries-only-unary",
    severity: "warning",
    text: "Only single unary methods are repeated after the provider may have seen the call.",
    fix: "Match the idempotent methods by uri.exact; for all others keep retryOn to connect-failure,refused-stream,reset-before-request.",
    source: "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter",
    faults: routeFaults("retries", repeatedCalls),
  },
  {
    id: "retries-said",
    severity: "warning",
    text: "Routes say which retries Envoy makes, so that they do not multiply with Dubbo's.",
    fix: "Set retries on the route, also { attempts: 0 }, in a VirtualService for the mesh, and retries=0 in the Dubbo consumer.",
    source: "https://istio.io/latest/docs/concepts/traffic-management/#retries",
    faults: routeFaults("retries", unsaidRetries),
  },
  {
    id: "timeout-spares-streams",
    severity: "error",
    text: "A route's timeout cuts no stream.",
    fix: "Match the unary methods by uri.exact, and leave the timeout out for streams.",
    source: "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
    faults: routeFaults("timeout", cutStreams),
  },
];
