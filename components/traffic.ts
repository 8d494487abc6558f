import * as pulumi from "@pulumi/pulumi";
import type { Method } from "../settings/services.ts";
import type { Traffic } from "../settings/traffic.ts";
import type { DestinationRuleSpec, VirtualServiceSpec } from "./generated/istio.ts";
import { istioResource } from "./istio-resource.ts";

/** A subset of the provider's pods, and its share of the calls. */
export interface Subset {
  /** Label `version` of its pods, and name of the subset. */
  name: string;
  /** Share of the calls, percent. */
  weight: number;
}

/** Calls with certain headers, and who answers them. */
export interface HeaderRoute {
  /** Values by name; a call that has all of them takes this route. */
  headers: Readonly<Record<string, string>>;
  /** The subset that answers it. */
  version: string;
}

/** Plain values of the provider's traffic rules. */
export interface TrafficRules extends Traffic {
  /** DNS name of the provider's Service. */
  host: string;
  /** The subsets; their weights add up to 100. */
  subsets: readonly Subset[];
  /** What is to know of its methods, by gRPC path. */
  methods: Readonly<Record<string, Method>>;
  /** Calls with certain headers. */
  routes: readonly HeaderRoute[];
}

/** Arguments of {@link ProviderTraffic} and {@link ProviderRoutes}. */
export interface ProviderTrafficArgs {
  /** Name of the VirtualService and the DestinationRule: the provider's application name. */
  name: string;
  /** Namespace of the rules. */
  namespace: pulumi.Input<string>;
  /** The rules. Plain, since resources are named after the subsets. */
  rules: TrafficRules;
}

/** Failures before the provider has seen the call: safe to retry for any method. */
const RETRY_UNSEEN = "connect-failure,refused-stream,reset-before-request";
/**
 * With `reset`, without which Envoy does not retry a try that timed out, and `deadline-exceeded`: the try's time goes to the provider's
 * Envoy too (grpc-timeout), and where that one is the first to end it, the try's end is an answer. Source: Envoy's x-envoy-retry-on and
 * x-envoy-retry-grpc-on; seen live with a hung provider.
 */
const RETRY_IDEMPOTENT = "connect-failure,refused-stream,unavailable,cancelled,deadline-exceeded,reset";

type HttpRoute = NonNullable<VirtualServiceSpec["http"]>[number];
type HttpMatch = NonNullable<HttpRoute["match"]>[number];
type HeaderMatch = NonNullable<HttpMatch["headers"]>[string];
type Destination = NonNullable<HttpRoute["route"]>[number];
type Retries = NonNullable<HttpRoute["retries"]>;
type RoutePolicy = Pick<HttpRoute, "retries" | "timeout">;
type LoadBalancer = NonNullable<NonNullable<DestinationRuleSpec["trafficPolicy"]>["loadBalancer"]>;

/** What holds for some methods, or for all others. */
interface MethodRoute {
  readonly name: string;
  /** The methods' paths; undefined for all that have no other route. */
  readonly paths?: readonly string[];
  /** Retries and timeout. */
  readonly policy: RoutePolicy;
}

function retries(attempts: number, retryOn: string, perTryTimeout?: string): Retries {
  if (attempts === 0) return { attempts };
  return perTryTimeout === undefined ? { attempts, retryOn } : { attempts, retryOn, perTryTimeout };
}

/**
 * One route for the methods that are retried and limited alike: idempotent unary methods are retried on any failure and after
 * `perTryTimeout`; all others, streams among them, only when the provider has not seen the call, and without a timeout of the route, which
 * would cut a stream.
 */
function methodRoutes({ attempts, perTryTimeout, methods }: TrafficRules): MethodRoute[] {
  const idempotent = retries(attempts, RETRY_IDEMPOTENT, perTryTimeout);
  const others = retries(attempts, RETRY_UNSEEN);
  const own = new Map<string, MethodRoute>();
  for (const [path, { idempotent: repeatable, timeout }] of Object.entries(methods)) {
    if (!repeatable && timeout === undefined) continue;
    const kind = repeatable ? "idempotent" : "default";
    const name = timeout === undefined ? kind : `${kind}-${timeout}`;
    const paths = [...(own.get(name)?.paths ?? []), path];
    const policy: RoutePolicy = { retries: repeatable ? idempotent : others };
    own.set(name, { name, paths, policy: timeout === undefined ? policy : { ...policy, timeout } });
  }
  return [...own.values(), { name: "default", policy: { retries: others } }];
}

/** The routes of the calls that have `headers`, or of all, to `destinations`. */
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
 * The routes to the provider: first those of calls with certain headers, then those of all others by weight.
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
 * The provider's load balancing and bounds. It sets no TLS mode, so that Istio picks mTLS wherever the peer has a sidecar. Locality
 * is turned off by name: outlier detection would turn it on. Source: Istio's loadbalancer.go, LocalityLBSettings.ApplyToCluster;
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

/** A version's pods as a subset, which has the host's load balancing and bounds. */
function subsetSpec(host: string, name: string): DestinationRuleSpec {
  return { host, subsets: [{ name, labels: { version: name } }] };
}

/**
 * Rejects weights that do not share out all calls.
 * @throws pulumi.ResourceError that names the versions and their weights
 */
function checkWeights({ name, rules }: ProviderTrafficArgs, component: pulumi.ComponentResource): void {
  if (rules.subsets.reduce((sum, { weight }) => sum + weight, 0) === 100) return;
  const weights = rules.subsets.map((subset) => `${subset.name}: ${subset.weight}`).join(", ");
  const message = `the weights of ${name}'s versions must add up to 100 (${weights})`;
  throw new pulumi.ResourceError(message, component, true);
}

/**
 * How a provider's pods are called: a DestinationRule for all of them, and one a subset, which Istio makes one of. A subset of its own comes
 * before the routes to it and goes after them, where one in a list could do only one of the two; a route to a subset that does not exist
 * answers 503. Source: https://istio.io/latest/docs/ops/best-practices/traffic-management/#split-virtual-services
 */
export class ProviderTraffic extends pulumi.ComponentResource {
  constructor(name: string, args: ProviderTrafficArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:traffic:ProviderTraffic", name, {}, opts);
    checkWeights(args, this);
    const { name: provider, namespace, rules } = args;
    const subsets = rules.subsets.map((subset) =>
      istioResource(
        `${name}.${subset.name}-subset`,
        "DestinationRule",
        // The name of a Service has no dot.
        { name: `${provider}.${subset.name}`, namespace, spec: subsetSpec(rules.host, subset.name) },
        { parent: this },
      ),
    );
    istioResource(
      `${name}-destination-rule`,
      "DestinationRule",
      { name: provider, namespace, spec: destinationRuleSpec(rules) },
      // A rule that held the subsets itself keeps them until they are there.
      { parent: this, dependsOn: subsets },
    );
    this.registerOutputs({});
  }
}

/** The routes to a provider: a VirtualService. Where it changes, it has to come after the pods that it routes to are ready. */
export class ProviderRoutes extends pulumi.ComponentResource {
  constructor(name: string, args: ProviderTrafficArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:traffic:ProviderRoutes", name, {}, opts);
    const { name: provider, namespace, rules } = args;
    istioResource(
      `${name}-virtual-service`,
      "VirtualService",
      { name: provider, namespace, spec: virtualServiceSpec(rules) },
      { parent: this },
    );
    this.registerOutputs({});
  }
}
