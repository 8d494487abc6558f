import type { Given } from "../settings.ts";
import { seconds } from "./duration.ts";
import { detectionBounds, loadOf } from "./health-check.ts";
import { refuseIstio } from "./istio.ts";
import { most } from "./scale.ts";
import { securityOf } from "./security.ts";

/** Notes a fault of the key at `path`. */
type Refuse = (path: (string | number)[], message: string) => void;

function refuseLoad(given: Given, refuse: Refuse): void {
  const { perProviderPod } = loadOf(given);
  if (perProviderPod <= given.healthCheckBudget) return;
  const load = `${perProviderPod.toFixed(1)} checks/s (${most(given.consumer)} consumer pods)`;
  refuse(
    ["healthCheckBudget"],
    `the health check asks each provider pod for ${load}, more than ${given.healthCheckBudget}: ` +
      "choose a longer interval, such as healthCheck: gentle, or raise the budget",
  );
}

/** A version that calls are routed to, but of which no pod runs: they would be answered 503. */
function refuseEmptySubsets({ provider: { versions }, traffic }: Given, refuse: Refuse): void {
  for (const [index, { weight, ...scale }] of versions.entries()) {
    if (most(scale) === 0 && weight > 0)
      refuse(
        ["provider", "versions", index, "replicas"],
        `is 0, but its weight is ${weight}: nobody would answer`,
      );
  }
  for (const [index, { version: name }] of traffic.routes.entries()) {
    const target = versions.find((each) => each.name === name);
    if (target === undefined) {
      const known = versions.map((each) => each.name).join(", ");
      refuse(
        ["traffic", "routes", index, "version"],
        `is ${name}, which provider.versions does not have (${known})`,
      );
    } else if (most(target) === 0) {
      refuse(
        ["traffic", "routes", index, "version"],
        `is ${name}, which has no replicas: nobody would answer`,
      );
    }
  }
}

/** A first try that may take as long as the whole call leaves no time for a second. */
function refuseLongTries({ traffic, consumer: { timeout } }: Given, refuse: Refuse): void {
  const { attempts, idempotentMethods, perTryTimeout } = traffic;
  if (attempts === 0 || idempotentMethods.length === 0 || seconds(perTryTimeout) < seconds(timeout)) return;
  refuse(
    ["traffic", "perTryTimeout"],
    `is ${perTryTimeout}, but a call ends after consumer.timeout, ${timeout}: a provider that hangs would never be retried`,
  );
}

/** A provider that closes before its callers have noticed loses their calls. */
function refuseShortDrain({ drain, healthCheck }: Given, refuse: Refuse): void {
  const { answering } = detectionBounds(healthCheck);
  if (drain === undefined || seconds(drain) >= answering) return;
  refuse(["drain"], `is ${drain}, but callers may notice only after ${answering} s: healthCheck says when`);
}

/** What needs sidecars where there are none, and a policy without the others that it stands on. */
function refuseWeakGround({ security: given, injection, cluster }: Given, refuse: Refuse): void {
  const security = securityOf(given, injection);
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

/** A method of a service that the provider would not answer. */
function refuseStrangers({ provider: { services }, traffic }: Given, refuse: Refuse): void {
  const known = (path: string): boolean => services.includes(path.split("/")[1] ?? "");
  const message = `is of a service that provider.services does not have (${services.join(", ")})`;
  for (const [index, path] of traffic.idempotentMethods.entries()) {
    if (!known(path)) refuse(["traffic", "idempotentMethods", index], message);
  }
  for (const path of Object.keys(traffic.timeouts)) {
    if (!known(path)) refuse(["traffic", "timeouts", path], message);
  }
}

/** A check whose sockets Istio does not know goes out in plaintext, without an identity. */
function refusePlaintextChecks({ healthCheck, security, injection }: Given, refuse: Refuse): void {
  const criteria = healthCheck.transport_socket_match_criteria;
  if (criteria === undefined || criteria["tlsMode"] === "istio") return;
  const { mtls, authorization } = securityOf(security, injection);
  if (mtls === "PERMISSIVE" && !authorization) return;
  refuse(
    ["healthCheck", "transport_socket_match_criteria"],
    "make the check plaintext, which security.mtls STRICT and security.authorization refuse: leave it out",
  );
}

function refuseNamesakes({ provider, consumer }: Given, refuse: Refuse): void {
  if (provider.name === consumer.name) refuse(["consumer", "name"], "is the provider's name as well");
}

const REFUSALS = [
  refuseNamesakes,
  refuseLoad,
  refuseEmptySubsets,
  refuseLongTries,
  refuseStrangers,
  refuseShortDrain,
  refusePlaintextChecks,
  refuseWeakGround,
  refuseIstio,
];

/** Refuses what no key says by itself, but several say together: each fault with an error that names a key. */
export function refuseUnworkable(given: Given, refuse: Refuse): void {
  for (const check of REFUSALS) check(given, refuse);
}
