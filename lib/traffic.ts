import { z } from "zod";
import { positiveDuration, seconds } from "./duration.ts";
import { GREETER, STREAMS } from "./names.ts";

const methodPath = z.string().regex(/^\/[\w.]+\/\w+$/, "must be a gRPC path such as /package.Service/method");
// HTTP/2 has names in lower case only, and Istio takes no pseudo-header here.
const headerName = /^[a-z0-9][a-z0-9_.-]*$/;
const percent = z.int().min(0).max(100);

const route = z.strictObject({
  headers: z
    .record(z.string(), z.string().min(1))
    .refine((headers) => Object.keys(headers).length > 0, "must name a header")
    .refine((headers) => Object.keys(headers).every((name) => headerName.test(name)), {
      error: "must be names of headers in lower case",
    })
    .describe("values by name; a call that has all of them takes this route"),
  version: z.string().min(1).describe("the version that answers it"),
});

/**
 * Passive detection: an endpoint whose calls fail is taken out before the active check asks next, and comes back with the next check that
 * passes. Answers of the application are left alone: Envoy reads gRPC's UNKNOWN, as Dubbo answers a thrown exception, as a 500, so only
 * UNAVAILABLE and DEADLINE_EXCEEDED (502 to 504) count unless a stack says otherwise. `minHealthPercent` is Envoy's panic threshold, which
 * Istio would set to 0: then a check that fails everywhere, for whatever reason, would be an outage, where at 50 calls go on to all
 * endpoints. Of the seed's two one may be out (50 %), never both.
 * Source: Envoy's router.cc, onUpstreamHeaders; Istio's cluster_traffic_policy.go, applyOutlierDetection.
 */
const outlierDetection = z.strictObject({
  consecutiveGatewayErrors: z.int().min(0).default(5),
  consecutive5xxErrors: z.int().min(0).default(0),
  interval: positiveDuration.default("10s"),
  baseEjectionTime: positiveDuration.default("30s"),
  maxEjectionPercent: percent.default(50),
  minHealthPercent: percent.default(50),
});

/**
 * Bounds of one caller's Envoy. As many calls may be retried as may be made: when an endpoint dies, all of its calls are retried at once, and
 * Envoy's own bound of three would fail the others. Two seconds leave room for one lost SYN. Source: Envoy's circuit_breaker.proto.
 */
const connectionPool = z.strictObject({
  connectTimeout: positiveDuration.default("2s"),
  maxRequests: z.int().min(1).max(2_147_483_647).default(1024),
});

const fields = z.strictObject({
  loadBalancer: z
    .enum(["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])
    .default("ROUND_ROBIN")
    .describe("how Envoy picks an endpoint"),
  warmup: positiveDuration
    .optional()
    .describe("time in which a new endpoint's share of the calls grows to a full one (default: none)"),
  locality: z
    .boolean()
    .default(false)
    .describe("prefer endpoints of the caller's zone, then of its region, as long as they are healthy"),
  attempts: z
    .int()
    .min(0)
    .max(10)
    .default(2)
    .describe("retries of a call on another endpoint; 0 turns them off"),
  perTryTimeout: positiveDuration
    .default("5s")
    .describe("how long one try of an idempotent method may take before the next one"),
  idempotentMethods: z
    .array(methodPath)
    .default([`/${GREETER}/greet`])
    .describe("unary methods that may run twice, as gRPC paths"),
  timeouts: z
    .record(z.string(), positiveDuration)
    .default({})
    .describe("time that a call of a unary method may take, all tries together, by gRPC path"),
  routes: z
    .array(route)
    .default([])
    .describe("calls with certain headers, and the version that answers them"),
  outlierDetection: outlierDetection
    .prefault({})
    .describe("when an endpoint whose calls fail is taken out; no errors of either kind (0): never"),
  connectionPool: connectionPool.prefault({}).describe("time to connect, and calls at a time"),
});

type Refused = (path: (string | number)[], message: string) => void;

function isStream(path: string): boolean {
  return STREAMS.some((method) => path === `/${GREETER}/${method}`);
}

function refuseStreams({ idempotentMethods, timeouts }: z.infer<typeof fields>, refuse: Refused): void {
  for (const [index, path] of idempotentMethods.entries()) {
    if (isStream(path))
      refuse(["idempotentMethods", index], "is a stream, which cannot be repeated once it has begun");
  }
  for (const path of Object.keys(timeouts)) {
    if (isStream(path)) refuse(["timeouts", path], "is a stream, which a timeout would cut");
  }
}

function refuseTimeouts(
  { attempts, perTryTimeout, idempotentMethods, timeouts }: z.infer<typeof fields>,
  refuse: Refused,
): void {
  for (const [path, timeout] of Object.entries(timeouts)) {
    const { error } = methodPath.safeParse(path);
    if (error !== undefined) refuse(["timeouts", path], error.issues[0]?.message ?? "");
    const retried = attempts > 0 && idempotentMethods.includes(path);
    if (retried && seconds(timeout) <= seconds(perTryTimeout)) {
      refuse(
        ["timeouts", path],
        `must be longer than perTryTimeout, ${perTryTimeout}, or no try follows the first`,
      );
    }
  }
}

/** How calls reach the provider. */
export const trafficSettings = fields.superRefine((given, context) => {
  const refuse: Refused = (path, message) => {
    context.addIssue({ code: "custom", path, message });
  };
  refuseStreams(given, refuse);
  refuseTimeouts(given, refuse);
  if (given.warmup !== undefined && given.loadBalancer === "RANDOM")
    refuse(["warmup"], "needs loadBalancer ROUND_ROBIN or LEAST_REQUEST: Envoy's RANDOM knows none");
});

/** How calls reach the provider, with its defaults filled in. */
export type Traffic = z.infer<typeof trafficSettings>;
