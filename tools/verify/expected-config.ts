import { callerAccounts, checkedProvider, knownHosts, trafficRules } from "../../components/call-rules.ts";
import type { DestinationRuleSpec, VirtualServiceSpec } from "../../components/generated/istio.ts";
import { clusterPatch } from "../../components/health-check.ts";
import { policyName } from "../../components/security.ts";
import { destinationRuleSpec, virtualServiceSpec } from "../../components/traffic.ts";
import type { Service } from "../../settings/graph.ts";
import { ISTIO_NAMESPACE } from "../../settings/istio.ts";
import type { MeshModel } from "../../settings/model.ts";
import {
  checkFacts,
  matchText,
  MUTUAL_TLS,
  outlierText,
  PERMISSIVE,
  routeText,
  STRICT,
} from "./envoy-config.ts";
import type { Facts } from "./facts.ts";

type Policy = NonNullable<DestinationRuleSpec["trafficPolicy"]>;

/** Maximum part of the endpoints that Envoy ejects by default, percent. Istio leaves a 0 to it. */
const DEFAULT_MAX_EJECTION = 10;

function outlierOf({ outlierDetection: detection = {} }: Policy): string {
  const { maxEjectionPercent: percent = 0 } = detection;
  return outlierText({
    gatewayErrors: detection.consecutiveGatewayErrors ?? 0,
    anyErrors: detection.consecutive5xxErrors ?? 0,
    interval: detection.interval ?? "",
    baseEjectionTime: detection.baseEjectionTime ?? "",
    maxEjectionPercent: percent === 0 ? DEFAULT_MAX_EJECTION : percent,
  });
}

/** Returns the traffic policy of a callee's clusters. */
export function expectedPolicy(callee: Service, model: MeshModel): Facts {
  const { trafficPolicy: policy = {} } = destinationRuleSpec(trafficRules(callee, model));
  const { loadBalancer: { simple = "", warmup } = {}, connectionPool: { tcp, http } = {} } = policy;
  return {
    "load balancer": warmup === undefined ? simple : `${simple}, warmed up for ${warmup.duration}`,
    "connect timeout": tcp?.connectTimeout ?? "",
    "max requests": `${http?.http2MaxRequests ?? 0}`,
    "max retries": `${http?.maxRetries ?? 0}`,
    "outlier detection": outlierOf(policy),
    "panic threshold": `${policy.outlierDetection?.minHealthPercent ?? 0} %`,
    tls: MUTUAL_TLS,
  };
}

/** Returns the fields of the active health check on each of a callee's clusters. */
export function expectedCheck(callee: Service, model: MeshModel): Facts {
  return checkFacts(clusterPatch(checkedProvider(callee, model)));
}

type Route = NonNullable<VirtualServiceSpec["http"]>[number];

/**
 * Returns a route in words. Istio leaves out destinations with weight 0.
 * Source: Istio's pilot/pkg/networking/core/route/route.go, applyHTTPRouteDestination
 */
function expectedRouteText({ route = [], retries, timeout }: Route): string {
  const shares = route.map(({ destination, weight = 100 }) => ({ subset: destination.subset ?? "", weight }));
  return routeText({
    shares: shares.filter(({ weight }) => weight > 0),
    attempts: retries?.attempts ?? 0,
    retryOn: retries?.retryOn ?? "",
    perTryTimeout: retries?.perTryTimeout,
    timeout,
  });
}

/** Returns the routes to a callee by their condition. */
export function expectedRoutes(callee: Service, model: MeshModel): Facts {
  const { http = [] } = virtualServiceSpec(trafficRules(callee, model));
  const entries = http.flatMap((route) =>
    (route.match ?? [{}]).map(({ uri, headers = {} }): [string, string] => {
      const wanted = Object.entries(headers).map(([name, { exact = "" }]) => [name, exact] as const);
      return [matchText(uri?.exact, wanted), expectedRouteText(route)];
    }),
  );
  // The first of two routes with one condition counts.
  return Object.fromEntries(entries.reverse());
}

/** Returns the transport security of a service's port. */
export function expectedTransport({ security }: MeshModel): string {
  return security.mtls === "STRICT" ? STRICT : PERMISSIVE;
}

/**
 * Returns the names of the rules by which a service admits calls, sorted; undefined if it answers
 * every caller.
 * Source: Istio's pilot/pkg/security/authz/builder/builder.go, policyName
 */
export function expectedRules(service: Service, model: MeshModel): string[] | undefined {
  if (!model.security.authorization) return undefined;
  const policies = callerAccounts(service, model).map((account) => policyName(service.name, account));
  return policies.map((policy) => `ns[${model.namespace}]-policy[${policy}]-rule[0]`).sort();
}

/** Reports whether a service's proxies may know a host. */
export function isKnown(host: string, service: Service, model: MeshModel): boolean {
  const { calls, proxyCalls } = knownHosts(service, model);
  const ofIstio = host.endsWith(`.${ISTIO_NAMESPACE}.svc.${model.clusterDomain}`);
  return ofIstio || calls.includes(host) || proxyCalls.includes(host);
}
