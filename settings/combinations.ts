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

/** Notes a fault of the key at `path`. */
type Refuse = (path: Path, message: string) => void;

/** What all keys say together. */
interface Whole {
  readonly given: Given;
  /** The services with all that holds for each. */
  readonly services: readonly Service[];
}

/** A check of one service; its paths begin at the service. */
type Check = (service: Service, whole: Whole, refuse: Refuse) => void;

/** Names that objects of the namespace have by themselves. */
const RESERVED = ["default", "default-deny"];

/** The names of a service's Deployments. */
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

/** Calls to nobody, or to somebody who answers none. */
function refuseCalls({ name: self, calls }: Service, { services }: Whole, refuse: Refuse): void {
  for (const [index, name] of calls.entries()) {
    const callee = services.find((each) => each.name === name);
    if (callee === undefined) refuse(["calls", index], `is ${name}, which is the name of no service`);
    else if (callee.offers.length === 0) refuse(["calls", index], `is ${name}, which offers nothing`);
    else if (calls.indexOf(name) < index) refuse(["calls", index], `is ${name}, which is named twice`);
    else if (callee.name === self) refuse(["calls", index], `is ${name}, the service itself`);
  }
}

/** The applications of apps/ call the service that they are made for. */
function refuseOtherCalls(service: Service, { services }: Whole, refuse: Refuse): void {
  const { app, calls } = service;
  if (app === undefined || !GREETER_CALLERS.includes(app)) return;
  const callees = calleesOf(services, service);
  // A name that nobody has is a fault of its own.
  if (callees.length < calls.length) return;
  if (callees.length === 1 && callees.every(({ offers }) => offers.includes(GREETER))) return;
  refuse(["calls"], `must be one service that offers ${GREETER}, which app ${app} calls`);
}

/** Dubbo names references after what they call, so that a gRPC service can have one provider only. */
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

/** The stack itself says where the services are that an application calls. */
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

/** A version that calls are routed to, but of which no pod runs: they would be answered 503. */
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

/** A first try that may take as long as the whole call leaves no time for a second. */
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

/** A service that closes before its callers have noticed loses their calls. */
function refuseShortDrain({ offers, healthCheck, drainSeconds }: Service, _: Whole, refuse: Refuse): void {
  const { answering } = detectionBounds(healthCheck);
  if (offers.length === 0 || drainSeconds >= answering) return;
  refuse(
    ["drain"],
    `is ${drainSeconds} s, but callers may notice only after ${answering} s: healthCheck says when`,
  );
}

/** A check whose sockets Istio does not know goes out in plaintext, without an identity. */
function refusePlaintextChecks({ healthCheck }: Service, { given }: Whole, refuse: Refuse): void {
  const { mtls, authorization } = securityOf(given.security, given.injection);
  const criteria = healthCheck.transport_socket_match_criteria;
  if (!isPlaintext(criteria) || (mtls === "PERMISSIVE" && !authorization)) return;
  refuse(
    ["healthCheck", "transport_socket_match_criteria"],
    "make the check plaintext, which security.mtls STRICT and security.authorization refuse: leave it out",
  );
}

/** A check over mTLS whose protocols the peer's sidecar does not know: it would find no peer healthy. */
function refuseForeignAlpn({ healthCheck }: Service, _: Whole, refuse: Refuse): void {
  const { tls_options: options, transport_socket_match_criteria: criteria } = healthCheck;
  const fault = foreignAlpn(options?.alpn_protocols ?? []);
  if (fault === undefined || isPlaintext(criteria)) return;
  refuse(["healthCheck", "tls_options", "alpn_protocols"], `${fault}; leave tls_options out`);
}

/** Apache's images run on Java 8, which would start without anything that the stack says. */
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

/** What needs sidecars where there are none, and a policy without the others that it stands on. */
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

/** Whether the stack says it of all services, and not the service of itself. */
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
        // What the stack says of all is one fault, however many services it is a fault of.
        const text = JSON.stringify(full);
        if (!said.has(text)) refuse(full, message);
        said.add(text);
      });
    }
  }
}

/** Refuses what no key says by itself, but several say together: each fault with an error that names a key. */
export function refuseUnworkable(given: Given, refuse: Refuse): void {
  const whole = { given, services: servicesOf(given) };
  for (const check of [refuseOfServices, refuseLoad, refuseWeakGround]) check(whole, refuse);
  refuseIstio(given, refuse);
}
