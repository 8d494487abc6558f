import type * as pulumi from "@pulumi/pulumi";
import { otherCase } from "dubbo-node/names";
import type { Method } from "../settings/services.ts";
import type { Traffic } from "../settings/traffic.ts";
import type { DestinationRuleSpec, VirtualServiceSpec } from "./generated/istio.ts";
import { IstioResource } from "./istio-resource.ts";

/** Subset of the provider's pods, and its share of the calls. */
export interface Subset {
  /** Label `version` of the pods, and name of the subset. */
  name: string;
  /** Share of the calls, percent. */
  weight: number;
}

/** Route of calls with certain headers. */
export interface HeaderRoute {
  /** Header values by name. A call that has all of them takes this route. */
  headers: Readonly<Record<string, string>>;
  /** Subset that answers the call. */
  version: string;
}

/** Plain values of the provider's traffic rules. */
export interface TrafficRules extends Traffic {
  /** DNS name of the provider's Service. */
  host: string;
  /** Subsets of the pods. Their weights add up to 100. */
  subsets: readonly Subset[];
  /** Properties of the methods, by gRPC path. */
  methods: Readonly<Record<string, Method>>;
  /** Routes of calls with certain headers. They come before the weighted routes. */
  routes: readonly HeaderRoute[];
}

/** Arguments of {@link ProviderTraffic} and {@link ProviderRoutes}. */
export interface ProviderTrafficArgs {
  /** Name of the VirtualService and the DestinationRule. It is the provider's application name. */
  name: string;
  /** Namespace of the rules. */
  namespace: pulumi.Input<string>;
  /** Traffic rules. */
  rules: TrafficRules;
}

/** Failures before the provider sees the call. A retry is safe for any method. */
const RETRY_UNSEEN = "connect-failure,refused-stream,reset-before-request";
/**
 * Failures after which an idempotent method is retried.
 * - `reset`: without it, Envoy does not retry a try that timed out.
 * - `deadline-exceeded`: the provider's Envoy receives the try's timeout, too (grpc-timeout). If it
 *   ends the try first, the caller's Envoy sees an answer with this status.
 *
 * Source: Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on; a live test with a hung provider
 */
const RETRY_IDEMPOTENT = "connect-failure,refused-stream,unavailable,cancelled,deadline-exceeded,reset";

type HttpRoute = NonNullable<VirtualServiceSpec["http"]>[number];
type HttpMatch = NonNullable<HttpRoute["match"]>[number];
type HeaderMatch = NonNullable<HttpMatch["headers"]>[string];
type Destination = NonNullable<HttpRoute["route"]>[number];
type Retries = NonNullable<HttpRoute["retries"]>;
type RoutePolicy = Pick<HttpRoute, "retries" | "timeout">;
type LoadBalancer = NonNullable<NonNullable<DestinationRuleSpec["trafficPolicy"]>["loadBalancer"]>;

/** Route policy of some methods, or of all others. */
interface MethodRoute {
  readonly name: string;
  /** Paths of the methods; undefined for all methods without another route. */
  readonly paths?: readonly string[];
  readonly policy: RoutePolicy;
}

function retries(attempts: number, retryOn: string, perTryTimeout?: string): Retries {
  if (attempts === 0) return { attempts };
  return perTryTimeout === undefined ? { attempts, retryOn } : { attempts, retryOn, perTryTimeout };
}

/** Returns the paths by which Dubbo serves a method, unless another method has the second one. */
function spellings(path: string, methods: TrafficRules["methods"]): string[] {
  const other = otherCase(path);
  return other in methods ? [path] : [path, other];
}

/**
 * Groups the methods by retries and timeout, one route for each group.
 * - Idempotent unary methods are retried on any failure, and after `perTryTimeout`.
 * - All others, such as streams, are retried only if the provider has not seen the call.
 * - The default route has no timeout, because a timeout would cut a stream.
 */
function methodRoutes({ attempts, perTryTimeout, methods }: TrafficRules): MethodRoute[] {
  const idempotent = retries(attempts, RETRY_IDEMPOTENT, perTryTimeout);
  const others = retries(attempts, RETRY_UNSEEN);
  const own = new Map<string, MethodRoute>();
  for (const [path, { idempotent: repeatable, timeout }] of Object.entries(methods)) {
    if (!repeatable && timeout === undefined) continue;
    const kind = repeatable ? "idempotent" : "default";
    const name = timeout === undefined ? kind : `${kind}-${timeout}`;
    const paths = [...(own.get(name)?.paths ?? []), ...spellings(path, methods)];
    const policy: RoutePolicy = { retries: repeatable ? idempotent : others };
    own.set(name, { name, paths, policy: timeout === undefined ? policy : { ...policy, timeout } });
  }
  return [...own.values(), { name: "default", policy: { retries: others } }];
}

/** Returns the routes to `destinations`, for calls with `headers` or for all calls. */
function httpRoutes(
  methods: readonly MethodRoute[],
  destinations: Destination[],
  prefix = "",
  headers?: Readonly<Record<string, string>>,
): HttpRoute[] {
  const wanted = Object.entries(headers ?? {}).map(([name, value]): [string, HeaderMatch] => [
    name,
    { exact: value },
  ]);
  const having: HttpMatch = headers === undefined ? {} : { headers: Object.fromEntries(wanted) };
  return methods.map(({ name, paths, policy }): HttpRoute => {
    const match =
      paths?.map((path): HttpMatch => ({ uri: { exact: path }, ...having })) ?? (headers && [having]);
    const matched: Pick<HttpRoute, "match"> = match === undefined ? {} : { match };
    return { name: prefix + name, ...matched, route: destinations, ...policy };
  });
}

/**
 * Returns the routes to the provider. The routes by header come first. All other calls are routed
 * by weight.
 * Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/
 */
export function virtualServiceSpec(rules: TrafficRules): VirtualServiceSpec {
  const { host, subsets, routes } = rules;
  const methods = methodRoutes(rules);
  const weighted = subsets.map(({ name, weight }): Destination => ({
    destination: { host, subset: name },
    weight,
  }));
  const byHeader = routes.flatMap(({ headers, version }, index) =>
    httpRoutes(methods, [{ destination: { host, subset: version } }], `routes-${index}-`, headers),
  );
  return { hosts: [host], http: [...byHeader, ...httpRoutes(methods, weighted)] };
}

/**
 * Returns the load balancing and the limits of calls to the provider. The TLS mode is not set, so
 * Istio uses mTLS if the endpoint has a sidecar. Locality load balancing is set explicitly, because
 * outlier detection enables it by default.
 * Source: Istio's loadbalancer.go, LocalityLBSettings.ApplyToCluster;
 * https://istio.io/latest/docs/reference/config/networking/destination-rule/
 */
export function destinationRuleSpec(rules: Omit<TrafficRules, "subsets">): DestinationRuleSpec {
  const { host, loadBalancer, warmup, locality, outlierDetection, connectionPool } = rules;
  const { connectTimeout, maxRequests } = connectionPool;
  const gradual: LoadBalancer = warmup === undefined ? {} : { warmup: { duration: warmup } };
  return {
    host,
    trafficPolicy: {
      loadBalancer: { simple: loadBalancer, ...gradual, localityLbSetting: { enabled: locality } },
      connectionPool: {
        tcp: { connectTimeout },
        http: { http2MaxRequests: maxRequests, maxRetries: maxRequests },
      },
      outlierDetection: {
        consecutiveGatewayErrors: outlierDetection.consecutiveGatewayErrors,
        consecutive5xxErrors: outlierDetection.consecutive5xxErrors,
        interval: outlierDetection.interval,
        baseEjectionTime: outlierDetection.baseEjectionTime,
        maxEjectionPercent: outlierDetection.maxEjectionPercent,
        minHealthPercent: outlierDetection.minHealthPercent,
      },
    },
  };
}

/** Arguments of {@link ProviderSubset}. */
export interface ProviderSubsetArgs {
  /** Application name of the provider. */
  provider: string;
  /** DNS name of the provider's Service. */
  host: string;
  /** Namespace of the rule. */
  namespace: pulumi.Input<string>;
  /** Label `version` of the pods, and name of the subset. */
  version: string;
}

/**
 * Subset of a provider: the pods of one version. It inherits the load balancing and the limits of
 * {@link ProviderTraffic}, because Istio merges the DestinationRules of a host.
 *
 * Each subset has its own rule, so that Pulumi creates it before the routes to it, and deletes it
 * after them. A single rule with all subsets allows only one of these orders. A route to a missing
 * subset answers 503.
 * Source:
 * https://istio.io/latest/docs/ops/best-practices/traffic-management/#split-virtual-services
 */
export class ProviderSubset extends IstioResource<"DestinationRule"> {
  constructor(name: string, args: ProviderSubsetArgs, opts?: pulumi.CustomResourceOptions) {
    const { provider, host, namespace, version } = args;
    const spec: DestinationRuleSpec = { host, subsets: [{ name: version, labels: { version } }] };
    // A Service's name has no dot, so this name is unique.
    super(name, "DestinationRule", { name: `${provider}.${version}`, namespace, spec }, opts);
  }
}

/** Traffic policy of a provider: a DestinationRule for all its pods. */
export class ProviderTraffic extends IstioResource<"DestinationRule"> {
  constructor(name: string, args: ProviderTrafficArgs, opts?: pulumi.CustomResourceOptions) {
    const { name: provider, namespace, rules } = args;
    super(name, "DestinationRule", { name: provider, namespace, spec: destinationRuleSpec(rules) }, opts);
  }
}

/**
 * Routes to a provider: a VirtualService. It must change after the pods that it routes to are
 * ready.
 */
export class ProviderRoutes extends IstioResource<"VirtualService"> {
  constructor(name: string, args: ProviderTrafficArgs, opts?: pulumi.CustomResourceOptions) {
    const { name: provider, namespace, rules } = args;
    super(name, "VirtualService", { name: provider, namespace, spec: virtualServiceSpec(rules) }, opts);
  }
}
