import { variableOf } from "dubbo-node/names";
import type { Given } from "./keys.ts";
import { inMilliseconds, seconds } from "./duration.ts";
import {
  calleesOf,
  callersOf,
  callsOf,
  deploymentName,
  loadOn,
  mostPods,
  type Service,
  servicesOf,
} from "./graph.ts";
import { detectionBounds, foreignAlpn, isPlaintext } from "./health-check.ts";
import { refuseIstio } from "./istio.ts";
import { JAVA_8_OPTIONS_BYTES, javaToolOptions } from "./java.ts";
import { GREETER } from "./names.ts";
import { GREETER_CALLERS, isPublished } from "./presets.ts";
import { most } from "./scale.ts";
import { securityOf } from "./security.ts";

type Path = (string | number)[];

/** Reports a fault of the key at `path`. */
type Refuse = (path: Path, message: string) => void;

/** The configuration as a whole. */
interface Whole {
  readonly given: Given;
  /** Services with the stack-wide settings applied. */
  readonly services: readonly Service[];
}

/** Check of one service. Its paths are relative to the service. */
type Check = (service: Service, whole: Whole, refuse: Refuse) => void;

/** Names that the namespace's own ServiceAccount and policies already use. */
const RESERVED = ["default", "default-deny"];

function deploymentsOf(service: Service): string[] {
  return service.versions.map(({ name }) => deploymentName(service, name));
}

function refuseNamesakes(service: Service, { services }: Whole, refuse: Refuse): void {
  if (RESERVED.includes(service.name))
    refuse(["name"], `is ${service.name}, which the namespace has already`);
  const earlier = services.slice(0, services.indexOf(service));
  if (earlier.some(({ name }) => name === service.name)) {
    refuse(["name"], `is ${service.name}, as another service's`);
    return;
  }
  const taken = new Set(earlier.flatMap(deploymentsOf));
  const twice = deploymentsOf(service).find((name) => taken.has(name));
  if (twice !== undefined) refuse(["name"], `makes a second Deployment ${twice}`);
}

/** Rejects calls to unknown services, to services without offers, and to the caller. */
function refuseCalls({ name: self, calls }: Service, { services }: Whole, refuse: Refuse): void {
  for (const [index, name] of calls.entries()) {
    const callee = services.find((each) => each.name === name);
    if (callee === undefined) refuse(["calls", index], `is ${name}, which is the name of no service`);
    else if (callee.offers.length === 0) refuse(["calls", index], `is ${name}, which offers nothing`);
    else if (calls.indexOf(name) < index) refuse(["calls", index], `is ${name}, which is named twice`);
    else if (callee.name === self) refuse(["calls", index], `is ${name}, the service itself`);
  }
}

/** Requires a callee with the greeter for the applications of apps/ that call it. */
function refuseOtherCalls(service: Service, { services }: Whole, refuse: Refuse): void {
  const { app, calls } = service;
  if (app === undefined || !GREETER_CALLERS.includes(app)) return;
  const callees = calleesOf(services, service);
  // Another check reports unknown callees.
  if (callees.length < calls.length) return;
  if (callees.length === 1 && callees.every(({ offers }) => offers.includes(GREETER))) return;
  refuse(["calls"], `must be one service that offers ${GREETER}, which app ${app} calls`);
}

/**
 * Rejects two callees that offer the same gRPC service. Dubbo has one reference for each gRPC
 * service, and a reference has one provider.
 */
function refuseTwoProviders(service: Service, { services }: Whole, refuse: Refuse): void {
  const seen = new Map<string, string>();
  for (const { name, offers } of calleesOf(services, service)) {
    for (const offer of offers) {
      const other = seen.get(variableOf(offer));
      const index = service.calls.indexOf(name);
      if (other === undefined) seen.set(variableOf(offer), name);
      else if (other !== name)
        refuse(["calls", index], `is ${name}, which offers ${offer}, as ${other} does, which it calls too`);
    }
  }
}

/** Rejects properties that locate a callee. The stack derives them from `calls`. */
function refuseTakenReferences(service: Service, { services }: Whole, refuse: Refuse): void {
  const taken = new Set(
    calleesOf(services, service)
      .flatMap(({ offers }) => offers)
      .flatMap((offer) => ["provided-by", "provider-port"].map((end) => `dubbo.reference.${offer}.${end}`))
      .map(variableOf),
  );
  for (const name of Object.keys(service.properties)) {
    if (taken.has(variableOf(name)))
      refuse(["properties", name], "is set by the stack itself: calls says what is called");
  }
}

/** Rejects versions that receive calls but have no pods. Callers would get a 503. */
function refuseEmptySubsets({ versions, routes, offers }: Service, _: Whole, refuse: Refuse): void {
  if (offers.length === 0) return;
  for (const [index, { weight, ...scale }] of versions.entries()) {
    if (most(scale) === 0 && weight > 0)
      refuse(["versions", index, "replicas"], `is 0, but its weight is ${weight}: nobody would answer`);
  }
  for (const [index, { version: name }] of routes.entries()) {
    const target = versions.find((each) => each.name === name);
    const path = ["routes", index, "version"];
    const known = versions.map((each) => each.name).join(", ");
    if (target === undefined) refuse(path, `is ${name}, which versions does not have (${known})`);
    else if (most(target) === 0) refuse(path, `is ${name}, which has no replicas: nobody would answer`);
  }
}

/** Rejects timeouts that leave no time for a retry after the first try. */
function refuseLongTries(service: Service, { services }: Whole, refuse: Refuse): void {
  const { attempts, perTryTimeout } = service.traffic;
  if (attempts === 0) return;
  const methods = Object.entries(service.methods).filter(([, { idempotent }]) => idempotent);
  for (const [path, { timeout }] of methods) {
    if (timeout === undefined || seconds(timeout) > seconds(perTryTimeout)) continue;
    refuse(
      ["methods", path, "timeout"],
      `must be longer than perTryTimeout, ${perTryTimeout}, or no try follows the first`,
    );
  }
  const hasty = callersOf(services, service).find(
    ({ timeout }) => seconds(timeout) <= seconds(perTryTimeout),
  );
  if (methods.length === 0 || hasty === undefined) return;
  refuse(
    ["traffic", "perTryTimeout"],
    `is ${perTryTimeout}, but a call of ${hasty.name} ends after its timeout, ${hasty.timeout}: a provider that hangs would never be retried`,
  );
}

function refuseWarmup({ traffic: { warmup, loadBalancer } }: Service, _: Whole, refuse: Refuse): void {
  if (warmup !== undefined && loadBalancer === "RANDOM")
    refuse(
      ["traffic", "warmup"],
      "needs loadBalancer ROUND_ROBIN or LEAST_REQUEST: Envoy's RANDOM knows none",
    );
}

/** Rejects a drain that ends before the callers notice. Their calls would fail. */
function refuseShortDrain({ offers, healthCheck, drainSeconds }: Service, _: Whole, refuse: Refuse): void {
  const { answering } = detectionBounds(healthCheck);
  if (offers.length === 0 || drainSeconds >= answering) return;
  refuse(
    ["drain"],
    `is ${drainSeconds} s, but callers may notice only after ${answering} s: healthCheck says when`,
  );
}

/**
 * Rejects plaintext checks where mTLS is required. Istio sends a check without a matching TLS
 * socket in plaintext, so it carries no identity.
 */
function refusePlaintextChecks({ healthCheck }: Service, { given }: Whole, refuse: Refuse): void {
  const { mtls, authorization } = securityOf(given.security, given.injection);
  const criteria = healthCheck.transport_socket_match_criteria;
  if (!isPlaintext(criteria) || (mtls === "PERMISSIVE" && !authorization)) return;
  refuse(
    ["healthCheck", "transport_socket_match_criteria"],
    "make the check plaintext, which security.mtls STRICT and security.authorization refuse: leave it out",
  );
}

/**
 * Rejects ALPN ids that the callee's sidecar does not accept. The check would find every endpoint
 * unhealthy.
 */
function refuseForeignAlpn({ healthCheck }: Service, _: Whole, refuse: Refuse): void {
  const { tls_options: options, transport_socket_match_criteria: criteria } = healthCheck;
  const fault = foreignAlpn(options?.alpn_protocols ?? []);
  if (fault === undefined || isPlaintext(criteria)) return;
  refuse(["healthCheck", "tls_options", "alpn_protocols"], `${fault}; leave tls_options out`);
}

/**
 * Rejects properties that make JAVA_TOOL_OPTIONS too long for Apache's images. They run Java 8,
 * which would ignore the whole variable.
 */
function refuseLongOptions(service: Service, { services }: Whole, refuse: Refuse): void {
  const { name, runtime, port, finishSeconds, properties } = service;
  if (runtime !== "java") return;
  const reference = callsOf(service, services);
  for (const { name: version, image } of service.versions) {
    if (image === undefined || !isPublished(image)) continue;
    const finishMs = inMilliseconds(finishSeconds);
    const given = { application: name, version, port, finishMs, reference, properties };
    const bytes = Buffer.byteLength(javaToolOptions(given));
    if (bytes < JAVA_8_OPTIONS_BYTES) continue;
    refuse(
      ["properties"],
      `make a JAVA_TOOL_OPTIONS of ${bytes} bytes for ${image}, whose Java 8 ignores one of ${JAVA_8_OPTIONS_BYTES} or more: leave some out, or run an image on a later Java`,
    );
    return;
  }
}

const CHECKS: readonly Check[] = [
  refuseNamesakes,
  refuseCalls,
  refuseOtherCalls,
  refuseTwoProviders,
  refuseTakenReferences,
  refuseEmptySubsets,
  refuseLongTries,
  refuseWarmup,
  refuseShortDrain,
  refusePlaintextChecks,
  refuseForeignAlpn,
  refuseLongOptions,
];

function refuseLoad({ given, services }: Whole, refuse: Refuse): void {
  const budget = given.healthCheckBudget;
  const busiest = services
    .filter(({ offers }) => offers.length > 0)
    .map((service) => ({ service, load: loadOn(service, services).perProviderPod }))
    .reduce<{ service?: Service; load: number }>((most, each) => (each.load > most.load ? each : most), {
      load: budget,
    });
  if (busiest.service === undefined) return;
  const callers = callersOf(services, busiest.service).reduce((sum, caller) => sum + mostPods(caller), 0);
  refuse(
    ["healthCheckBudget"],
    `the health check asks each pod of ${busiest.service.name} for ${busiest.load.toFixed(1)} checks/s (${callers} pods call it), more than ${budget}: ` +
      "choose a longer interval, such as healthCheck: gentle, or raise the budget",
  );
}

/**
 * Rejects security settings whose prerequisites are missing, such as sidecars or other policies.
 */
function refuseWeakGround({ given }: Whole, refuse: Refuse): void {
  const { injection, cluster } = given;
  const security = securityOf(given.security, injection);
  if (!injection && security.mtls === "STRICT")
    refuse(["security", "mtls"], "is STRICT, but injection is false: pods without a sidecar speak plaintext");
  if (!injection && security.authorization)
    refuse(["security", "authorization"], "is true, but injection is false: nobody would enforce it");
  if (security.defaultDeny && !(security.authorization && security.networkPolicy))
    refuse(
      ["security", "defaultDeny"],
      "needs authorization and networkPolicy, else nothing could be called",
    );
  const { podSecurity } = security;
  if (cluster === "local" && injection && podSecurity !== undefined && podSecurity !== "privileged")
    refuse(
      ["security", "podSecurity"],
      `is ${podSecurity}, which needs Istio's CNI plugin; the local cluster has none`,
    );
}

/** Tells whether the value at `path` comes from a stack-wide key, not from the service. */
function isOfAll(path: Path, { given }: Whole, index: number): boolean {
  const [key, part] = path;
  const entry = given.services[index];
  if (key === "drain" || key === "healthCheck") return entry?.[key] === undefined;
  if (key !== "traffic") return false;
  const own: Readonly<Record<string, unknown>> = entry?.traffic ?? {};
  return own[String(part)] === undefined;
}

function refuseOfServices(whole: Whole, refuse: Refuse): void {
  const said = new Set<string>();
  for (const [index, service] of whole.services.entries()) {
    for (const check of CHECKS) {
      check(service, whole, (path, message) => {
        const full = isOfAll(path, whole, index) ? path : ["services", index, ...path];
        // A fault in a stack-wide key is reported once, not for each service.
        const text = JSON.stringify(full);
        if (!said.has(text)) refuse(full, message);
        said.add(text);
      });
    }
  }
}

/** Rejects invalid combinations of keys. Each error names one key. */
export function refuseUnworkable(given: Given, refuse: Refuse): void {
  const whole = { given, services: servicesOf(given) };
  for (const check of [refuseOfServices, refuseLoad, refuseWeakGround]) check(whole, refuse);
  refuseIstio(given, refuse);
}
