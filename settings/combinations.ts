import { variableOf } from "dubbo-node/names";
import type { Given } from "./keys.ts";
import { inMilliseconds, seconds } from "./duration.ts";
import {
  calleesOf,
  callersOf,
  callsOf,
  deploymentName,
  loadOn,
  maxPods,
  type Service,
  servicesOf,
} from "./graph.ts";
import { detectionBounds, foreignAlpn, isPlaintext } from "./health-check.ts";
import { DEFAULT_PROXY_RESOURCES, istioNamespaces, rejectIstioConflicts, sidecarResources } from "./istio.ts";
import { JAVA_8_OPTIONS_BYTES, javaToolOptions } from "./java.ts";
import { GREETER } from "./names.ts";
import { GREETER_CALLERS, isPublished } from "./presets.ts";
import { proxyAnnotations, rejectRequestsOverLimits } from "./resources.ts";
import { maxReplicas } from "./scale.ts";
import { securityOf } from "./security.ts";

type Path = (string | number)[];

/** Reports a fault of the key at `path`. */
type Report = (path: Path, message: string) => void;

/** The configuration as a whole. */
interface Configuration {
  readonly given: Given;
  /** Services with the stack-wide settings applied. */
  readonly services: readonly Service[];
}

/** Check of one service. Its paths are relative to the service. */
type Check = (service: Service, configuration: Configuration, report: Report) => void;

/** Names that the namespace's own ServiceAccount and policies already use. */
const RESERVED = ["default", "default-deny"];

function deploymentsOf(service: Service): string[] {
  return service.versions.map(({ name }) => deploymentName(service, name));
}

function rejectDuplicateNames(service: Service, { services }: Configuration, report: Report): void {
  if (RESERVED.includes(service.name))
    report(["name"], `is ${service.name}, which is reserved: choose another name`);
  const earlier = services.slice(0, services.indexOf(service));
  if (earlier.some(({ name }) => name === service.name)) {
    report(["name"], `is ${service.name}, the name of another service`);
    return;
  }
  const taken = new Set(earlier.flatMap(deploymentsOf));
  const twice = deploymentsOf(service).find((name) => taken.has(name));
  if (twice !== undefined) report(["name"], `would create a second Deployment ${twice}`);
}

/** Rejects calls to unknown services, to services without offers, and to the caller. */
function rejectInvalidCalls(
  { name: self, calls }: Service,
  { services }: Configuration,
  report: Report,
): void {
  for (const [index, name] of calls.entries()) {
    const callee = services.find((each) => each.name === name);
    if (callee === undefined) report(["calls", index], `is ${name}, but no service has this name`);
    else if (callee.offers.length === 0) report(["calls", index], `is ${name}, which offers nothing`);
    else if (calls.indexOf(name) < index) report(["calls", index], `is ${name}, which is listed twice`);
    else if (callee.name === self) report(["calls", index], `is ${name}, the service itself`);
  }
}

/** Requires a callee with the greeter for the applications of apps/ that call it. */
function rejectNonGreeterCalls(service: Service, { services }: Configuration, report: Report): void {
  const { app, calls } = service;
  if (app === undefined || !GREETER_CALLERS.includes(app)) return;
  const callees = calleesOf(services, service);
  // Another check reports unknown callees.
  if (callees.length < calls.length) return;
  if (callees.length === 1 && callees.every(({ offers }) => offers.includes(GREETER))) return;
  report(["calls"], `must be one service that offers ${GREETER}, which app ${app} calls`);
}

/**
 * Rejects two callees that offer the same gRPC service. Dubbo has one reference for each gRPC
 * service, and a reference has one provider.
 */
function rejectDuplicateProviders(service: Service, { services }: Configuration, report: Report): void {
  const seen = new Map<string, string>();
  for (const { name, offers } of calleesOf(services, service)) {
    for (const offer of offers) {
      const other = seen.get(variableOf(offer));
      const index = service.calls.indexOf(name);
      if (other === undefined) seen.set(variableOf(offer), name);
      else if (other !== name)
        report(["calls", index], `is ${name}, which offers ${offer} as ${other} does: call only one of them`);
    }
  }
}

/** Rejects properties that locate a callee. The stack derives them from `calls`. */
function rejectReservedReferences(service: Service, { services }: Configuration, report: Report): void {
  const taken = new Set(
    calleesOf(services, service)
      .flatMap(({ offers }) => offers)
      .flatMap((offer) => ["provided-by", "provider-port"].map((end) => `dubbo.reference.${offer}.${end}`))
      .map(variableOf),
  );
  for (const name of Object.keys(service.properties)) {
    if (taken.has(variableOf(name))) report(["properties", name], "is set by the stack: use calls");
  }
}

/** Rejects versions that receive calls but have no pods. Callers would get a 503. */
function rejectEmptySubsets({ versions, routes, offers }: Service, _: Configuration, report: Report): void {
  if (offers.length === 0) return;
  for (const [index, { weight, ...scale }] of versions.entries()) {
    if (maxReplicas(scale) === 0 && weight > 0)
      report(["versions", index, "replicas"], `is 0, but its weight is ${weight}: these calls would fail`);
  }
  for (const [index, { version: name }] of routes.entries()) {
    const target = versions.find((each) => each.name === name);
    const path = ["routes", index, "version"];
    const known = versions.map((each) => each.name).join(", ");
    if (target === undefined) report(path, `is ${name}, which is not in versions (${known})`);
    else if (maxReplicas(target) === 0) report(path, `is ${name}, which has no pods: these calls would fail`);
  }
}

/** Rejects timeouts that leave no time for a retry after the first try. */
function rejectLongTries(service: Service, { services }: Configuration, report: Report): void {
  const { attempts, perTryTimeout } = service.traffic;
  if (attempts === 0) return;
  const methods = Object.entries(service.methods).filter(([, { idempotent }]) => idempotent);
  for (const [path, { timeout }] of methods) {
    if (timeout === undefined || seconds(timeout) > seconds(perTryTimeout)) continue;
    report(
      ["methods", path, "timeout"],
      `must be longer than perTryTimeout, ${perTryTimeout}, to leave time for a retry`,
    );
  }
  const hasty = callersOf(services, service).find(
    ({ timeout }) => seconds(timeout) <= seconds(perTryTimeout),
  );
  if (methods.length === 0 || hasty === undefined) return;
  report(
    ["traffic", "perTryTimeout"],
    `is ${perTryTimeout}, but calls of ${hasty.name} time out after ${hasty.timeout}: a call to a hung provider would never be retried`,
  );
}

function rejectRandomWarmup(
  { traffic: { warmup, loadBalancer } }: Service,
  _: Configuration,
  report: Report,
): void {
  if (warmup !== undefined && loadBalancer === "RANDOM")
    report(
      ["traffic", "warmup"],
      "needs loadBalancer ROUND_ROBIN or LEAST_REQUEST: Envoy has no warmup for RANDOM",
    );
}

/** Rejects a drain that ends before the callers notice. Their calls would fail. */
function rejectShortDrain(
  { offers, healthCheck, drainSeconds }: Service,
  _: Configuration,
  report: Report,
): void {
  const { answering } = detectionBounds(healthCheck);
  if (offers.length === 0 || drainSeconds >= answering) return;
  report(
    ["drain"],
    `is ${drainSeconds} s, but callers may need ${answering} s to notice: raise it, or shorten the intervals of healthCheck`,
  );
}

/**
 * Rejects plaintext checks where mTLS is required. Istio sends a check without a matching TLS
 * socket in plaintext, so it carries no identity.
 */
function rejectPlaintextChecks({ healthCheck }: Service, { given }: Configuration, report: Report): void {
  const { mtls, authorization } = securityOf(given.security, given.injection);
  const criteria = healthCheck.transport_socket_match_criteria;
  if (!isPlaintext(criteria) || (mtls === "PERMISSIVE" && !authorization)) return;
  report(
    ["healthCheck", "transport_socket_match_criteria"],
    "make the check plaintext, which security.mtls STRICT and security.authorization reject: leave them out",
  );
}

/**
 * Rejects ALPN ids that the callee's sidecar does not accept. The check would find every endpoint
 * unhealthy.
 */
function rejectInvalidAlpn({ healthCheck }: Service, _: Configuration, report: Report): void {
  const { tls_options: options, transport_socket_match_criteria: criteria } = healthCheck;
  const fault = foreignAlpn(options?.alpn_protocols ?? []);
  if (fault === undefined || isPlaintext(criteria)) return;
  report(["healthCheck", "tls_options", "alpn_protocols"], `${fault}; leave tls_options out`);
}

/** HTTP status of dubbo-node's answer to the GET of a check. Source: its json.ts. */
const ANSWER_TO_GET = 405;

/** Rejects HTTP checks of the applications of apps/. They would find every endpoint unhealthy. */
function rejectUnansweredChecks(
  { app, offers, versions, healthCheck }: Service,
  _: Configuration,
  report: Report,
): void {
  const { http_health_check: http } = healthCheck;
  const isOwn = app !== undefined && versions.some(({ image }) => image === undefined);
  if (http === undefined || !isOwn || offers.length === 0) return;
  const { expected_statuses: expected = [], request_headers_to_add: added = [] } = http;
  if (expected.some(({ start, end }) => start <= ANSWER_TO_GET && ANSWER_TO_GET < end)) return;
  if (added.some(({ header }) => header.key.toLowerCase() === "content-type")) return;
  report(
    ["healthCheck", "http_health_check"],
    `is no gRPC, so app ${app} answers it with ${ANSWER_TO_GET} and would never be healthy: use grpc_health_check`,
  );
}

/**
 * Rejects properties that make JAVA_TOOL_OPTIONS too long for Apache's images. They run Java 8,
 * which would ignore the whole variable.
 */
function rejectLongJavaOptions(service: Service, { services }: Configuration, report: Report): void {
  const { name, runtime, port, finishSeconds, properties } = service;
  if (runtime !== "java") return;
  const reference = callsOf(service, services);
  for (const { name: version, image } of service.versions) {
    if (image === undefined || !isPublished(image)) continue;
    const finishMs = inMilliseconds(finishSeconds);
    const given = { application: name, version, port, finishMs, reference, properties };
    const bytes = Buffer.byteLength(javaToolOptions(given));
    if (bytes < JAVA_8_OPTIONS_BYTES) continue;
    report(
      ["properties"],
      `make JAVA_TOOL_OPTIONS ${bytes} bytes long, but the Java 8 of ${image} ignores ${JAVA_8_OPTIONS_BYTES} bytes or more: remove some, or run an image with a later Java`,
    );
    return;
  }
}

/** Longest TLS server name that Envoy accepts. Source: Envoy's UpstreamTlsContext.sni */
const LONGEST_SERVER_NAME = 255;

/**
 * Rejects names that make a TLS server name too long. The callers' Envoys would reject all
 * clusters.
 * Source: Istio's pilot/pkg/model/push_context.go, BuildDNSSrvSubsetKey
 */
function rejectLongServerNames(
  { name, port, offers, versions }: Service,
  { given: { namespace, clusterDomain, injection } }: Configuration,
  report: Report,
): void {
  if (offers.length === 0 || !injection) return;
  for (const { name: version } of versions) {
    const { length } = `outbound_.${port}_.${version}_.${name}.${namespace}.svc.${clusterDomain}`;
    if (length <= LONGEST_SERVER_NAME) continue;
    report(
      ["name"],
      `makes a TLS server name of ${length} characters with version ${version}, namespace and clusterDomain, and Envoy accepts ${LONGEST_SERVER_NAME}: shorten one of them`,
    );
    return;
  }
}

const CHECKS: readonly Check[] = [
  rejectDuplicateNames,
  rejectInvalidCalls,
  rejectNonGreeterCalls,
  rejectDuplicateProviders,
  rejectReservedReferences,
  rejectEmptySubsets,
  rejectLongTries,
  rejectRandomWarmup,
  rejectShortDrain,
  rejectPlaintextChecks,
  rejectInvalidAlpn,
  rejectUnansweredChecks,
  rejectLongJavaOptions,
  rejectLongServerNames,
];

/**
 * Rejects namespaces that the stack must not own. Its policies are for all pods of its namespace,
 * and `down` removes the namespace.
 * Source: Kubernetes' plugin/pkg/admission/namespace/lifecycle for `default`
 */
function rejectSystemNamespaces({ given: { namespace, istio } }: Configuration, report: Report): void {
  const key = ["namespace"];
  if (namespace === "default")
    report(key, "is default, which Kubernetes never deletes, so down would fail: choose another");
  else if (namespace.startsWith("kube-"))
    report(key, `is ${namespace}, and kube- stands for Kubernetes' own namespaces: choose another`);
  else if (istioNamespaces(istio).includes(namespace))
    report(
      key,
      `is ${namespace}, Istio's own: policies there are for the whole mesh, and down would remove istiod; choose another`,
    );
}

/**
 * Rejects resources of sidecars that Kubernetes would not accept. `proxy` takes the place of all
 * values of the mesh.
 */
function rejectExcessProxyRequests({ given: { proxy, istio } }: Configuration, report: Report): void {
  rejectRequestsOverLimits(proxy, { requests: {}, limits: {} }, (path, message) => {
    report(["proxy", ...path], message);
  });
  const values = sidecarResources(istio);
  if (values === undefined || Object.keys(proxyAnnotations(proxy)).length > 0) return;
  rejectRequestsOverLimits(values, DEFAULT_PROXY_RESOURCES, (path, message) => {
    report(["istio", "values", "global", "proxy", "resources", ...path], message);
  });
}

function rejectExcessiveLoad({ given, services }: Configuration, report: Report): void {
  const budget = given.healthCheckBudget;
  const busiest = services
    .filter(({ offers }) => offers.length > 0)
    .map((service) => ({ service, load: loadOn(service, services).perProviderPod }))
    .reduce<{ service?: Service; load: number }>((most, each) => (each.load > most.load ? each : most), {
      load: budget,
    });
  if (busiest.service === undefined) return;
  const callers = callersOf(services, busiest.service).reduce((sum, caller) => sum + maxPods(caller), 0);
  report(
    ["healthCheckBudget"],
    `is ${budget}, but each pod of ${busiest.service.name} would get ${busiest.load.toFixed(1)} checks/s from ${callers} pods: ` +
      "choose longer intervals, such as healthCheck: gentle, or raise the budget",
  );
}

/**
 * Rejects security settings whose prerequisites are missing, such as sidecars or other policies.
 */
function rejectMissingPrerequisites({ given }: Configuration, report: Report): void {
  const { injection, cluster } = given;
  const security = securityOf(given.security, injection);
  if (!injection && security.mtls === "STRICT")
    report(["security", "mtls"], "is STRICT, but injection is false: pods without a sidecar speak plaintext");
  if (!injection && security.authorization)
    report(
      ["security", "authorization"],
      "is true, but injection is false: without sidecars nothing enforces it",
    );
  if (security.defaultDeny && !(security.authorization && security.networkPolicy))
    report(
      ["security", "defaultDeny"],
      "needs authorization and networkPolicy: without them, all calls would be denied",
    );
  const { podSecurity } = security;
  if (cluster === "local" && injection && podSecurity !== undefined && podSecurity !== "privileged")
    report(
      ["security", "podSecurity"],
      `is ${podSecurity}, which needs Istio's CNI plugin; the local cluster has none`,
    );
}

/** Tells whether the value at `path` comes from a stack-wide key, not from the service. */
function isStackWide(path: Path, { given }: Configuration, index: number): boolean {
  const [key, part] = path;
  const entry = given.services[index];
  if (key === "drain" || key === "healthCheck") return entry?.[key] === undefined;
  if (key !== "traffic") return false;
  const own: Readonly<Record<string, unknown>> = entry?.traffic ?? {};
  return own[String(part)] === undefined;
}

function rejectInvalidServices(configuration: Configuration, report: Report): void {
  const reported = new Set<string>();
  for (const [index, service] of configuration.services.entries()) {
    for (const check of CHECKS) {
      check(service, configuration, (path, message) => {
        const full = isStackWide(path, configuration, index) ? path : ["services", index, ...path];
        // A fault in a stack-wide key is reported once, not for each service.
        const text = JSON.stringify(full);
        if (!reported.has(text)) report(full, message);
        reported.add(text);
      });
    }
  }
}

const CHECKS_OF_STACK = [
  rejectSystemNamespaces,
  rejectInvalidServices,
  rejectExcessProxyRequests,
  rejectExcessiveLoad,
  rejectMissingPrerequisites,
];

/** Rejects invalid combinations of keys. Each error names one key. */
export function rejectCombinations(given: Given, report: Report): void {
  const configuration = { given, services: servicesOf(given) };
  for (const check of CHECKS_OF_STACK) check(configuration, report);
  rejectIstioConflicts(given, report);
}
