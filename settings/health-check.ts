import { z } from "zod";
import { duration, positiveDuration, seconds } from "./duration.ts";

// Field names, types and bounds follow envoy.config.core.v3.HealthCheck (Envoy 1.40). Source:
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/health_check.proto
const uint32 = z.int().min(0).max(4_294_967_295);
const visible = z.string().regex(/^[^\0\n\r]*$/, "must not contain NUL, CR or LF");
const statusRange = z
  .strictObject({ start: z.int().min(100), end: z.int().max(600) })
  .refine(({ start, end }) => start < end, "must have a start below end, which is exclusive");

const payload = z.union(
  [
    z.strictObject({
      text: z.string().regex(/^([0-9a-fA-F]{2})+$/, "must be hexadecimal, two digits for each byte"),
    }),
    z.strictObject({ binary: z.base64() }),
  ],
  "must be {text: HEX} or {binary: BASE64}",
);

const headerOption = z.strictObject({
  header: z.strictObject({
    key: visible.min(1).max(16_384),
    value: visible.max(16_384).optional(),
    raw_value: z.base64().optional(),
  }),
  append_action: z
    .enum(["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"])
    .optional(),
  keep_empty_value: z.boolean().optional(),
});

const typedConfig = z.looseObject({ "@type": z.string().min(1) });

const ignoreCase = z.boolean().optional();
const stringMatcher = z.union(
  [
    z.strictObject({ exact: z.string(), ignore_case: ignoreCase }),
    z.strictObject({ prefix: z.string().min(1), ignore_case: ignoreCase }),
    z.strictObject({ suffix: z.string().min(1), ignore_case: ignoreCase }),
    z.strictObject({ contains: z.string().min(1), ignore_case: ignoreCase }),
    z.strictObject({ safe_regex: z.strictObject({ regex: z.string().min(1) }) }),
  ],
  "must have one of exact, prefix, suffix, contains or safe_regex",
);

const METHODS_WITH_BODY = ["POST", "PUT", "PATCH", "OPTIONS"];

const httpHealthCheck = z
  .strictObject({
    path: visible.min(1),
    host: visible.optional(),
    method: z.enum(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"]).optional(),
    send: payload.optional(),
    receive: z.array(payload).optional(),
    response_buffer_size: z.int().min(0).optional(),
    request_headers_to_add: z.array(headerOption).max(1000).optional(),
    request_headers_to_remove: z.array(visible).optional(),
    expected_statuses: z.array(statusRange).optional(),
    retriable_statuses: z.array(statusRange).optional(),
    codec_client_type: z
      .enum(["HTTP2"], "must be HTTP2, all that a Triple port speaks: Envoy's default is HTTP1")
      .describe("protocol of the check: checks go to Triple ports"),
    service_name_matcher: stringMatcher.optional(),
  })
  .refine(({ send, method }) => send === undefined || METHODS_WITH_BODY.includes(method ?? "GET"), {
    error: `send needs one of the methods ${METHODS_WITH_BODY.join(", ")}`,
  });

const proxyProtocolConfig = z.strictObject({
  version: z.enum(["V1", "V2"]).optional(),
  pass_through_tlvs: z
    .strictObject({
      match_type: z.enum(["INCLUDE_ALL", "INCLUDE"]).optional(),
      tlv_type: z.array(z.int().min(0).max(255)).optional(),
    })
    .optional(),
});

const tcpHealthCheck = z.strictObject({
  send: payload.optional(),
  receive: z.array(payload).optional(),
  proxy_protocol_config: proxyProtocolConfig.optional(),
});

const grpcHealthCheck = z.strictObject({
  service_name: z
    .string()
    .optional()
    .describe("gRPC service to check; empty for the whole server (default: the first of offers)"),
  authority: visible.optional().describe("authority of the check (default: DNS name of the provider)"),
  initial_metadata: z.array(headerOption).max(1000).optional().describe("headers of the check"),
});

const customHealthCheck = z.strictObject({ name: z.string().min(1), typed_config: typedConfig });

const CHECKERS = [
  "grpc_health_check",
  "http_health_check",
  "tcp_health_check",
  "custom_health_check",
] as const;

/**
 * Health check profiles by name.
 *
 * `seed` has the sample's numbers. Two of the sample's fields have no default here.
 * `transport_socket_match_criteria` would make Istio's clusters use plaintext. `tls_options` would
 * replace the ALPN ids that Istio's inbound listeners require.
 *
 * `fast` removes a hung endpoint within 1.6 s, even if its cluster carries no calls.
 *
 * `gentle` makes a third of the checks of `seed` and tolerates one lost answer. Its first check is
 * as early as that of `seed`: an endpoint gets no calls before it.
 */
export const PROFILES = {
  seed: {
    timeout: "5s",
    interval: "5s",
    initial_jitter: "1s",
    interval_jitter: "1s",
    interval_jitter_percent: 50,
    unhealthy_threshold: 1,
    healthy_threshold: 1,
    reuse_connection: true,
    no_traffic_interval: "2s",
    no_traffic_healthy_interval: "4s",
    unhealthy_interval: "5s",
    unhealthy_edge_interval: "10s",
    healthy_edge_interval: "10s",
  },
  fast: {
    timeout: "1s",
    interval: "0.5s",
    initial_jitter: "0.1s",
    interval_jitter: "0s",
    interval_jitter_percent: 20,
    unhealthy_threshold: 1,
    healthy_threshold: 1,
    reuse_connection: true,
    no_traffic_interval: "0.5s",
    no_traffic_healthy_interval: "0.5s",
    unhealthy_interval: "0.5s",
    unhealthy_edge_interval: "0.5s",
    healthy_edge_interval: "0.5s",
  },
  gentle: {
    timeout: "5s",
    interval: "15s",
    initial_jitter: "1s",
    interval_jitter: "0s",
    interval_jitter_percent: 20,
    unhealthy_threshold: 2,
    healthy_threshold: 1,
    reuse_connection: true,
    no_traffic_interval: "5s",
    no_traffic_healthy_interval: "30s",
    unhealthy_interval: "15s",
    unhealthy_edge_interval: "5s",
    healthy_edge_interval: "15s",
  },
};

/** Names of the profiles. */
export const profileName = z.enum(["seed", "fast", "gentle"]);

/**
 * Fields of the health check, with Envoy's names. `alt_port` and `event_service` are missing: Envoy
 * ignores them.
 */
export const healthCheckFields = z.strictObject({
  timeout: positiveDuration.describe("timeout of a check"),
  interval: positiveDuration.describe("interval for a healthy endpoint on a cluster that has carried calls"),
  initial_jitter: duration.describe("maximum delay of the first check"),
  interval_jitter: duration.describe("maximum time that is added to each interval at random"),
  interval_jitter_percent: uint32.describe(
    "maximum part of each interval that is added to it at random, percent",
  ),
  unhealthy_threshold: uint32
    .min(1)
    .describe("consecutive unanswered checks that remove an endpoint; one answered failure is enough"),
  healthy_threshold: uint32
    .min(1)
    .describe("consecutive passes needed to rejoin; a new endpoint needs only one"),
  reuse_connection: z.boolean().describe("use one connection for all checks of an endpoint"),
  no_traffic_interval: positiveDuration.describe(
    "interval for a removed endpoint on a cluster that has carried no calls",
  ),
  no_traffic_healthy_interval: positiveDuration.describe(
    "interval for a healthy endpoint on a cluster that has carried no calls",
  ),
  unhealthy_interval: positiveDuration.describe("interval for a removed endpoint"),
  unhealthy_edge_interval: positiveDuration.describe(
    "interval after a failed check, until unhealthy_threshold is reached",
  ),
  healthy_edge_interval: positiveDuration.describe(
    "interval after a passed check, until healthy_threshold is reached",
  ),
  event_log_path: z.string().min(1).optional().describe("file to which Envoy logs health changes"),
  event_logger: z
    .array(
      z.strictObject({
        name: z.string().min(1).describe("name of the extension"),
        typed_config: typedConfig.describe("configuration of the extension, with `@type`"),
      }),
    )
    .optional()
    .describe("sinks of the health changes, instead of a file"),
  always_log_health_check_failures: z.boolean().optional().describe("log every failure, not only the first"),
  always_log_health_check_success: z.boolean().optional().describe("log every success, not only the first"),
  tls_options: z
    .strictObject({ alpn_protocols: z.array(z.string().min(1)).describe("ALPN ids in order of preference") })
    .optional()
    .describe(
      "ALPN ids of the check's connection; leave it out, because Istio's sidecars require their own ids",
    ),
  transport_socket_match_criteria: z
    .looseObject({})
    .optional()
    .describe(
      "labels that select the check's transport socket; leave it out to check endpoints with a sidecar over mTLS",
    ),
  grpc_health_check: grpcHealthCheck
    .optional()
    .describe("check by grpc.health.v1.Health/Check, which is the default"),
  http_health_check: httpHealthCheck.optional().describe("check by an HTTP request, in Envoy's fields"),
  tcp_health_check: tcpHealthCheck
    .optional()
    .describe("check by a TCP connection that compares bytes, in Envoy's fields"),
  custom_health_check: customHealthCheck
    .optional()
    .describe("check by an Envoy extension: name, typed_config"),
});

/** Health check with one checker (default: gRPC). */
const message = healthCheckFields
  .refine((check) => CHECKERS.filter((checker) => check[checker] !== undefined).length <= 1, {
    error: `takes only one of ${CHECKERS.join(", ")}`,
  })
  .transform((check) =>
    CHECKERS.every((checker) => check[checker] === undefined) ? { ...check, grpc_health_check: {} } : check,
  );

type Fields = Readonly<Record<string, unknown>>;

/** Merges the stack's fields over those of the named profile. */
function withProfile(given: string | Fields, context: z.RefinementCtx<string | Fields>): unknown {
  const { profile = "seed", ...own } = typeof given === "string" ? { profile: given } : given;
  const known = profileName.safeParse(profile);
  if (known.success) return { ...PROFILES[known.data], ...own };
  context.addIssue({ code: "custom", path: ["profile"], message: "must be seed, fast or gentle" });
  return z.NEVER;
}

/**
 * Active health check: a profile's name, or Envoy's fields over those of `profile` (default: seed).
 */
export const healthCheckSettings = z
  .union([profileName, z.looseObject({})], "must be seed, fast, gentle, or Envoy's fields")
  .transform(withProfile)
  .pipe(message);

/** Active health check after defaults. */
export type HealthCheck = z.infer<typeof healthCheckSettings>;

/**
 * Tells whether a check uses plaintext. Istio's clusters have a TLS socket for `tlsMode: istio`,
 * and plaintext otherwise.
 * Source: Istio's pilot/pkg/networking/core/cluster_tls.go
 */
export function isPlaintext(criteria: Readonly<Record<string, unknown>> | undefined): boolean {
  return criteria !== undefined && criteria["tlsMode"] !== "istio";
}

/**
 * ALPN ids that a PERMISSIVE inbound listener accepts as mTLS.
 * Source: Istio's pilot/pkg/networking/core/listener.go, allIstioMtlsALPNs
 */
const ISTIO_ALPN = ["istio", "istio-peer-exchange", "istio-h2", "istio-http/1.1", "istio-http/1.0"];

/**
 * Describes the problem with the ALPN ids of a check over mTLS; undefined if there is none. A
 * PERMISSIVE sidecar closes a TLS connection that offers no ALPN id of Istio. A STRICT one accepts
 * it, but the check would fail after a change to PERMISSIVE.
 */
export function foreignAlpn(protocols: readonly string[]): string | undefined {
  const foreign = protocols.filter((protocol) => !ISTIO_ALPN.includes(protocol) && protocol !== "h2");
  if (foreign.length > 0) return `${foreign.join(", ")}: no protocol that a sidecar listens for`;
  const istio = protocols.some((protocol) => ISTIO_ALPN.includes(protocol));
  return protocols.length === 0 || istio
    ? undefined
    : `${protocols.join(", ")}: not what a sidecar takes for mTLS`;
}

/**
 * Longest detection times of a health check alone, seconds. The kubelet and outlier detection may
 * act earlier.
 */
export interface DetectionBounds {
  /** Removal of a hung endpoint. */
  readonly hung: number;
  /**
   * Removal of an endpoint that answers NOT_SERVING or is gone. One answered failure is enough,
   * whatever the threshold is.
   */
  readonly answering: number;
  /** Time until a recovered endpoint gets calls again, without the duration of the checks. */
  readonly recovered: number;
}

/** Returns the longest wait for the next check, seconds. */
function longestWait(
  { interval_jitter_percent: percent, interval_jitter: jitter }: HealthCheck,
  interval: string,
): number {
  return seconds(interval) * (1 + percent / 100) + seconds(jitter);
}

/**
 * Returns the longest time between two checks of a healthy endpoint on a cluster without calls,
 * seconds.
 */
export function unusedBound(check: HealthCheck): number {
  return longestWait(check, check.no_traffic_healthy_interval);
}

/**
 * Returns the detection times on a cluster that has carried calls. Envoy knows that from
 * `upstream_cx_total`, so that statistic must be enabled. A wait is the interval plus at most
 * `interval_jitter_percent` of it and `interval_jitter`.
 * Source: Envoy's health_checker_impl
 */
export function detectionBounds(check: HealthCheck): DetectionBounds {
  const wait = (interval: string): number => longestWait(check, interval);
  const timeout = seconds(check.timeout);
  const further = (check.unhealthy_threshold - 1) * (wait(check.unhealthy_edge_interval) + timeout);
  const confirmations = (check.healthy_threshold - 1) * wait(check.healthy_edge_interval);
  return {
    hung: wait(check.interval) + timeout + further,
    answering: wait(check.interval),
    recovered: wait(check.unhealthy_interval) + confirmations,
  };
}

/**
 * Returns the drain that lets every caller notice before the provider closes, whole seconds. It is
 * the detection time and one second.
 */
export function drainSeconds(check: HealthCheck): number {
  return Math.ceil(detectionBounds(check).answering) + 1;
}

/** Load of a health check while all endpoints are healthy, checks a second. */
export interface HealthCheckLoad {
  /** Checks of all callers and all endpoints. */
  readonly checksPerSecond: number;
  /** Checks that each provider pod answers. */
  readonly perProviderPod: number;
}

/**
 * Returns the highest load of a health check while its endpoints are healthy.
 *
 * The load is callers' pods x provider's pods / mean interval: each caller's Envoy checks each pod
 * in one cluster only, that of its subset. The mean jitter is half of `interval_jitter_percent` and
 * of `interval_jitter`. A cluster without calls uses `no_traffic_healthy_interval`, so the shorter
 * interval counts.
 * Source: Envoy's health_checker_impl, interval and intervalWithJitter
 */
export function healthCheckLoad(check: HealthCheck, callers: number, providers: number): HealthCheckLoad {
  const shortest = Math.min(seconds(check.interval), seconds(check.no_traffic_healthy_interval));
  const mean = shortest * (1 + check.interval_jitter_percent / 200) + seconds(check.interval_jitter) / 2;
  const rounded = (rate: number): number => Math.round(rate * 100) / 100;
  return { checksPerSecond: rounded((callers * providers) / mean), perProviderPod: rounded(callers / mean) };
}
