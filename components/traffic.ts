import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { checked } from "./check.ts";

/** A subset of the provider's pods, and its share of the calls. */
export interface Subset {
  /** Label `version` of its pods, and name of the subset. */
  name: string;
  /** Share of the calls, percent. */
  weight: number;
}

/** Plain values of the provider's traffic rules. */
export interface TrafficRules {
  /** DNS name of the provider's Service. */
  host: string;
  /** How Envoy picks an endpoint; the seed's is ROUND_ROBIN. */
  loadBalancer: string;
  /** The subsets; their weights add up to 100. */
  subsets: readonly Subset[];
  /** Retries of a call; 0 turns them off. */
  attempts: number;
  /** How long one try of an idempotent method may take, in Envoy's form, such as `5s`. */
  perTryTimeout: string;
  /** Unary methods that may run twice, as gRPC paths. */
  idempotentMethods: readonly string[];
}

/** Arguments of {@link ProviderTraffic}. */
export interface ProviderTrafficArgs {
  /** Name of the VirtualService and the DestinationRule: the provider's application name. */
  name: pulumi.Input<string>;
  /** Namespace of the rules. */
  namespace: pulumi.Input<string>;
  /** The rules. */
  rules: { [K in keyof TrafficRules]: pulumi.Input<TrafficRules[K]> };
}

/** Failures before the provider has seen the call: safe to retry for any method. */
const RETRY_UNSEEN = "connect-failure,refused-stream,reset-before-request";
/**
 * With `reset`, without which Envoy does not retry a try that timed out, and `deadline-exceeded`: the try's time goes to the provider's
 * Envoy too (grpc-timeout), and where that one is the first to end it, the try's end is an answer. Source: Envoy's x-envoy-retry-on and
 * x-envoy-retry-grpc-on; seen live with a hung provider.
 */
const RETRY_IDEMPOTENT = "connect-failure,refused-stream,unavailable,cancelled,deadline-exceeded,reset";

function destinations({ host, subsets }: TrafficRules): object[] {
  return subsets.map(({ name, weight }) => ({ destination: { host, subset: name }, weight }));
}

function retries(attempts: number, retryOn: string, perTryTimeout?: string): object {
  return attempts === 0 ? { attempts } : { attempts, retryOn, ...(perTryTimeout && { perTryTimeout }) };
}

/**
 * The routes to the provider: idempotent unary methods are retried on any failure and after `perTryTimeout`; all others,
 * streams among them, only when the provider has not seen the call, and without a timeout that would cut a stream.
 * Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/
 */
export function virtualServiceSpec(rules: TrafficRules): object {
  const { host, attempts, perTryTimeout, idempotentMethods } = rules;
  const idempotent = {
    name: "idempotent",
    match: idempotentMethods.map((path) => ({ uri: { exact: path } })),
    route: destinations(rules),
    retries: retries(attempts, RETRY_IDEMPOTENT, perTryTimeout),
  };
  const others = {
    name: "default",
    route: destinations(rules),
    retries: retries(attempts, RETRY_UNSEEN),
  };
  return { hosts: [host], http: idempotentMethods.length === 0 ? [others] : [idempotent, others] };
}

/**
 * The provider's load balancing and subsets. It sets no TLS mode, so that Istio picks mTLS wherever the peer has a sidecar.
 * Source: https://istio.io/latest/docs/reference/config/networking/destination-rule/
 */
export function destinationRuleSpec({ host, loadBalancer, subsets }: TrafficRules): object {
  return {
    host,
    trafficPolicy: { loadBalancer: { simple: loadBalancer } },
    subsets: subsets.map(({ name }) => ({ name, labels: { version: name } })),
  };
}

const weightedSubsets = z
  .array(z.strictObject({ name: z.string().min(1), weight: z.int().min(0).max(100) }))
  .refine(
    (subsets) => subsets.reduce((sum, { weight }) => sum + weight, 0) === 100,
    "weights must add up to 100",
  );

/** The traffic rules of a provider: a DestinationRule with its subsets, and a VirtualService that routes to them. */
export class ProviderTraffic extends pulumi.ComponentResource {
  constructor(name: string, args: ProviderTrafficArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:traffic:ProviderTraffic", name, {}, opts);
    const subsets = checked<readonly Subset[]>(this, "subsets", args.rules.subsets, weightedSubsets);
    const rules = pulumi.output({ ...args.rules, subsets }) as pulumi.Output<TrafficRules>;
    const metadata = { name: args.name, namespace: args.namespace };
    const destinationRule = new kubernetes.apiextensions.CustomResource(
      `${name}-destination-rule`,
      {
        apiVersion: "networking.istio.io/v1",
        kind: "DestinationRule",
        metadata,
        spec: rules.apply(destinationRuleSpec),
      },
      { parent: this },
    );
    new kubernetes.apiextensions.CustomResource(
      `${name}-virtual-service`,
      {
        apiVersion: "networking.istio.io/v1",
        kind: "VirtualService",
        metadata,
        spec: rules.apply(virtualServiceSpec),
      },
      // A route to a subset that does not exist answers 503: the subsets come first and go last.
      { parent: this, dependsOn: [destinationRule] },
    );
    this.registerOutputs({});
  }
}
