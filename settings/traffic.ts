import { z } from "zod";
import { positiveDuration } from "./duration.ts";

const percent = z.int().min(0).max(100);
const errorCount = z.int().min(0).max(4_294_967_295);

/** Traffic policy of a provider after defaults. Durations are in Envoy's form. */
export interface Traffic {
  /** Load balancing algorithm. */
  loadBalancer: "ROUND_ROBIN" | "LEAST_REQUEST" | "RANDOM";
  /** Time in which the traffic of a new endpoint grows to a full share (default: none). */
  warmup?: string | undefined;
  /** Prefers endpoints of the caller's zone, then of its region. */
  locality: boolean;
  /** Retries of a call on another endpoint. */
  attempts: number;
  /** Timeout of one try of an idempotent method. */
  perTryTimeout: string;
  /** Rules that eject an endpoint whose calls fail. */
  outlierDetection: {
    consecutiveGatewayErrors: number;
    consecutive5xxErrors: number;
    interval: string;
    baseEjectionTime: string;
    maxEjectionPercent: number;
    minHealthPercent: number;
  };
  /** Limits in each caller's Envoy. */
  connectionPool: { connectTimeout: string; maxRequests: number };
}

/**
 * Defaults where neither the stack nor the service sets a value.
 *
 * Outlier detection is passive. It ejects a failing endpoint before the next active check does. It
 * stays out for its time, even if its active check passes. Only UNAVAILABLE and DEADLINE_EXCEEDED
 * (502 to 504) count, so errors of the application eject no endpoint. Envoy reads gRPC's UNKNOWN,
 * Dubbo's answer to a thrown exception, as a 500.
 *
 * `minHealthPercent` is Envoy's panic threshold. Istio would set it to 0, and a check that fails
 * everywhere would cause an outage. At 50, calls then go to all endpoints. Of the sample's two
 * endpoints, one may be ejected (50 %), but not both.
 * Source: Envoy's router.cc, onUpstreamHeaders; Istio's cluster_traffic_policy.go,
 * applyOutlierDetection
 *
 * `maxRequests` also limits concurrent retries. When an endpoint dies, all of its calls are retried
 * at once. Envoy's default of three would fail the rest. `connectTimeout` of 2 s leaves time for
 * one lost SYN.
 * Source: Envoy's circuit_breaker.proto
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
    consecutiveGatewayErrors: errorCount.describe(
      "consecutive calls that end with UNAVAILABLE or DEADLINE_EXCEEDED, or cannot connect (default: 5); 0 turns the rule off",
    ),
    consecutive5xxErrors: errorCount.describe(
      "consecutive calls that fail in any way, exceptions of the application included (default: 0); 0 turns the rule off",
    ),
    interval: positiveDuration.describe(
      "interval at which Envoy looks for ejections that have ended (default: 10s)",
    ),
    baseEjectionTime: positiveDuration.describe(
      "ejection time, multiplied by the endpoint's number of ejections (default: 30s)",
    ),
    maxEjectionPercent: percent.describe("maximum share of ejected endpoints, percent (default: 50)"),
    minHealthPercent: percent.describe(
      "share of healthy endpoints below which calls go to all of them, percent (default: 50)",
    ),
  })
  .partial();

const connectionPool = z
  .strictObject({
    connectTimeout: positiveDuration.describe("maximum time to open a connection (default: 2s)"),
    maxRequests: z
      .int()
      .min(1)
      .max(2_147_483_647)
      .describe("maximum concurrent calls, and maximum concurrent retries (default: 1024)"),
  })
  .partial();

/** Traffic policy in a stack, for all services or for one. */
export const trafficSettings = z
  .strictObject({
    loadBalancer: z
      .enum(["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])
      .describe("load balancing algorithm (default: ROUND_ROBIN)"),
    warmup: positiveDuration.describe(
      "time in which a new endpoint's share of the calls grows to a full share (default: none)",
    ),
    locality: z
      .boolean()
      .describe("prefer healthy endpoints of the caller's zone, then of its region (default: false)"),
    attempts: z
      .int()
      .min(0)
      .max(10)
      .describe("maximum retries of a call, on other endpoints (default: 2); 0 turns them off"),
    perTryTimeout: positiveDuration.describe("timeout of one try of an idempotent method (default: 5s)"),
    outlierDetection: outlierDetection.describe(
      "rules that eject an endpoint whose calls fail; none if both counts are 0",
    ),
    connectionPool: connectionPool.describe("limits in each caller's Envoy"),
  })
  .partial();

/** Traffic policy before defaults. */
export type TrafficSettings = z.infer<typeof trafficSettings>;

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Returns the fields that are set. */
function given<T extends object>(fields: T | undefined): Given<T> {
  return Object.fromEntries(
    Object.entries(fields ?? {}).filter(([, value]) => value !== undefined),
  ) as Given<T>;
}

/** Merges the layers over the defaults. Later layers take precedence. */
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
