import { z } from "zod";
import { positiveDuration } from "./duration.ts";

const percent = z.int().min(0).max(100);

/** How calls reach a provider, with its defaults filled in; durations in Envoy's form. */
export interface Traffic {
  /** How Envoy picks an endpoint. */
  loadBalancer: "ROUND_ROBIN" | "LEAST_REQUEST" | "RANDOM";
  /** Time in which a new endpoint's share of the calls grows to a full one (default: none). */
  warmup?: string | undefined;
  /** Whether endpoints of the caller's zone, then of its region, are preferred. */
  locality: boolean;
  /** Retries of a call on another endpoint. */
  attempts: number;
  /** How long one try of an idempotent method may take before the next one. */
  perTryTimeout: string;
  /** When an endpoint whose calls fail is taken out. */
  outlierDetection: {
    consecutiveGatewayErrors: number;
    consecutive5xxErrors: number;
    interval: string;
    baseEjectionTime: string;
    maxEjectionPercent: number;
    minHealthPercent: number;
  };
  /** Bounds of one caller's Envoy. */
  connectionPool: { connectTimeout: string; maxRequests: number };
}

/**
 * What holds where neither the stack nor the service says otherwise.
 *
 * Outlier detection is passive: an endpoint whose calls fail is taken out before the active check asks next, and comes back with the next check
 * that passes. Answers of the application are left alone: Envoy reads gRPC's UNKNOWN, as Dubbo answers a thrown exception, as a 500, so only
 * UNAVAILABLE and DEADLINE_EXCEEDED (502 to 504) count. `minHealthPercent` is Envoy's panic threshold, which Istio would set to 0: then a
 * check that fails everywhere, for whatever reason, would be an outage, where at 50 calls go on to all endpoints. Of the seed's two one may
 * be out (50 %), never both. Source: Envoy's router.cc, onUpstreamHeaders; Istio's cluster_traffic_policy.go, applyOutlierDetection.
 *
 * As many calls may be retried as may be made: when an endpoint dies, all of its calls are retried at once, and Envoy's own bound of three
 * would fail the others. Two seconds to connect leave room for one lost SYN. Source: Envoy's circuit_breaker.proto.
 */
const DEFAULTS: Traffic = {
  loadBalancer: "ROUND_ROBIN",
  locality: false,
  attempts: 2,
  perTryTimeout: "5s",
  outlierDetection: {
    consecutiveGatewayErrors: 5,
    consecutive5xxErrors: 0,
    interval: "10s",
    baseEjectionTime: "30s",
    maxEjectionPercent: 50,
    minHealthPercent: 50,
  },
  connectionPool: { connectTimeout: "2s", maxRequests: 1024 },
};

const outlierDetection = z
  .strictObject({
    consecutiveGatewayErrors: z
      .int()
      .min(0)
      .describe(
        "calls in a row that end with UNAVAILABLE or DEADLINE_EXCEEDED, or reach nobody (default: 5); 0: not counted",
      ),
    consecutive5xxErrors: z
      .int()
      .min(0)
      .describe(
        "calls in a row that fail in any way, exceptions of the application too (default: 0); 0: not counted",
      ),
    interval: positiveDuration.describe("time between two looks at who comes back (default: 10s)"),
    baseEjectionTime: positiveDuration.describe(
      "time that an endpoint is out, times how often it was (default: 30s)",
    ),
    maxEjectionPercent: percent.describe("endpoints that may be out, percent (default: 50)"),
    minHealthPercent: percent.describe(
      "calls go to all endpoints where fewer are healthy, percent (default: 50)",
    ),
  })
  .partial();

const connectionPool = z
  .strictObject({
    connectTimeout: positiveDuration.describe("time that a connection may take to open (default: 2s)"),
    maxRequests: z
      .int()
      .min(1)
      .max(2_147_483_647)
      .describe("calls at a time, and as many retries (default: 1024)"),
  })
  .partial();

/** How calls reach providers, as a stack says it of all of them, or of one. */
export const trafficSettings = z
  .strictObject({
    loadBalancer: z
      .enum(["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])
      .describe("how Envoy picks an endpoint (default: ROUND_ROBIN)"),
    warmup: positiveDuration.describe(
      "time in which a new endpoint's share of the calls grows to a full one (default: none)",
    ),
    locality: z
      .boolean()
      .describe(
        "prefer endpoints of the caller's zone, then of its region, as long as they are healthy (default: false)",
      ),
    attempts: z
      .int()
      .min(0)
      .max(10)
      .describe("retries of a call on another endpoint (default: 2); 0 turns them off"),
    perTryTimeout: positiveDuration.describe(
      "how long one try of an idempotent method may take before the next one (default: 5s)",
    ),
    outlierDetection: outlierDetection.describe(
      "when an endpoint whose calls fail is taken out; no errors of either kind (0): never",
    ),
    connectionPool: connectionPool.describe("bounds of one caller's Envoy"),
  })
  .partial();

/** What a stack says of calls. */
export type TrafficSettings = z.infer<typeof trafficSettings>;

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** What is given of `fields`. */
function given<T extends object>(fields: T | undefined): Given<T> {
  return Object.fromEntries(
    Object.entries(fields ?? {}).filter(([, value]) => value !== undefined),
  ) as Given<T>;
}

/** The defaults, and over them what `layers` say, the last one last. */
export function trafficOf(...layers: readonly TrafficSettings[]): Traffic {
  return layers.reduce<Traffic>(
    (under, { outlierDetection: detection, connectionPool: pool, ...own }) => ({
      ...under,
      ...given(own),
      outlierDetection: { ...under.outlierDetection, ...given(detection) },
      connectionPool: { ...under.connectionPool, ...given(pool) },
    }),
    DEFAULTS,
  );
}
