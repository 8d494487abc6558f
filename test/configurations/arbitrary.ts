import fc from "fast-check";
import { GREETER } from "../../settings/names.ts";

/** Configuration of a stack, by key without the project's prefix. */
export type Configuration = Readonly<Record<string, unknown>>;

/** Picks about a third of these keys. */
function optional(fields: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<Configuration> {
  const each = Object.entries(fields).map(([key, value]) => {
    const entry = value.map((given) => [key, given] as const);
    return fc.oneof({ arbitrary: fc.constant(undefined), weight: 2 }, { arbitrary: entry, weight: 1 });
  });
  return fc.tuple(...each).map((given) => Object.fromEntries(given.filter((entry) => entry !== undefined)));
}

const short = fc.constantFrom("0.05s", "0.5s", "1s", "1.25s", "2s");
const long = fc.constantFrom("10s", "30s", "60s", "3600s");
const percent = fc.integer({ min: 0, max: 100 });
const label = fc.constantFrom("a", "0", "dubbo-demo", "a-1", "x".repeat(63));
const image = fc.constantFrom("x:1", "localhost:5000/a/b:v1", `registry.example/x@sha256:${"0".repeat(64)}`);
const low = optional({
  cpu: fc.constantFrom("50m", 1, 0.5, "1.5"),
  memory: fc.constantFrom("64Mi", "65536Ki", "200M", 1_000_000),
});
const high = optional({
  cpu: fc.constantFrom("1500m", 2, 2.5),
  memory: fc.constantFrom("1Gi", "600M", 1_000_000_000),
});
/** Some ask for more than their limit, or than the default of the other: they are refused. */
const resources = fc.oneof(
  { arbitrary: optional({ requests: low, limits: high }), weight: 3 },
  { arbitrary: optional({ requests: high, limits: low }), weight: 1 },
);
/** Some are Kubernetes' or Istio's own: they are refused. */
const namespace = fc.oneof(
  { arbitrary: label, weight: 12 },
  { arbitrary: fc.constantFrom("default", "kube-system", "istio-system"), weight: 1 },
);

const payload = fc.constantFrom({ text: "00ff" }, { binary: "AAEC" });
const header = fc.constantFrom(
  { header: { key: "x-check", value: "a b" }, append_action: "ADD_IF_ABSENT", keep_empty_value: true },
  { header: { key: "x-raw", raw_value: "YQ==" } },
  { header: { key: "x-empty" }, append_action: "OVERWRITE_IF_EXISTS" },
);

const grpcCheck = optional({
  service_name: fc.constantFrom("", "p.S0"),
  authority: fc.constantFrom("a", "provider.dubbo-demo"),
  initial_metadata: fc.array(header, { maxLength: 2 }),
});

const httpCheck = fc.record(
  {
    path: fc.constantFrom("/", "/live?a=b"),
    host: fc.constantFrom("a", "a.b"),
    method: fc.constantFrom("GET", "HEAD", "POST", "PUT", "OPTIONS"),
    receive: fc.array(payload, { maxLength: 2 }),
    response_buffer_size: fc.nat(10_000),
    request_headers_to_add: fc.array(header, { maxLength: 2 }),
    request_headers_to_remove: fc.constant(["x-envoy-internal"]),
    expected_statuses: fc.constant([{ start: 200, end: 300 }]),
    retriable_statuses: fc.constant([{ start: 429, end: 430 }]),
    codec_client_type: fc.constantFrom("HTTP2", "HTTP1"),
    service_name_matcher: fc.constantFrom<object>(
      { exact: "a", ignore_case: true },
      { prefix: "a" },
      { suffix: "a" },
      { contains: "a" },
      { safe_regex: { regex: "a.*" } },
    ),
  },
  // One without a codec is refused, as HTTP1 is.
  { requiredKeys: ["path", "codec_client_type"] },
);

const tcpCheck = optional({
  send: payload,
  receive: fc.array(payload, { maxLength: 2 }),
  proxy_protocol_config: optional({
    version: fc.constantFrom("V1", "V2"),
    pass_through_tlvs: optional({
      match_type: fc.constantFrom("INCLUDE_ALL", "INCLUDE"),
      tlv_type: fc.array(fc.nat(255), { maxLength: 2 }),
    }),
  }),
});

const redis = "type.googleapis.com/envoy.extensions.health_checkers.redis.v3.Redis";
const customCheck = fc.constant({
  name: "envoy.health_checkers.redis",
  typed_config: { "@type": redis, key: "a" },
});
const fileSink =
  "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink";

const checker = fc.oneof(
  { arbitrary: fc.constant({}), weight: 2 },
  { arbitrary: grpcCheck.map((check) => ({ grpc_health_check: check })), weight: 3 },
  httpCheck.map((check) => ({ http_health_check: check })),
  tcpCheck.map((check) => ({ tcp_health_check: check })),
  customCheck.map((check) => ({ custom_health_check: check })),
);

const checkFields = optional({
  profile: fc.constantFrom("seed", "fast", "gentle"),
  timeout: short,
  interval: fc.constantFrom("0.5s", "2s", "10s"),
  initial_jitter: fc.constantFrom("0s", "0.5s"),
  interval_jitter: fc.constantFrom("0s", "0.25s"),
  interval_jitter_percent: percent,
  unhealthy_threshold: fc.integer({ min: 1, max: 3 }),
  healthy_threshold: fc.integer({ min: 1, max: 3 }),
  reuse_connection: fc.boolean(),
  no_traffic_interval: short,
  no_traffic_healthy_interval: fc.constantFrom("2s", "60s"),
  unhealthy_interval: short,
  unhealthy_edge_interval: short,
  healthy_edge_interval: short,
  event_log_path: fc.constant("/dev/null"),
  event_logger: fc.constant([
    {
      name: "envoy.health_check.event_sinks.file",
      typed_config: { "@type": fileSink, event_log_path: "/dev/null" },
    },
  ]),
  always_log_health_check_failures: fc.boolean(),
  always_log_health_check_success: fc.boolean(),
  tls_options: fc.constantFrom(
    ...[["istio", "h2"], ["http1.1", "h2"], []].map((ids) => ({ alpn_protocols: ids })),
  ),
  transport_socket_match_criteria: fc.constantFrom<object>(
    { tlsMode: "istio" },
    { tlsMode: "istio", a: "b" },
    { useMTLS: true },
  ),
});

const healthCheck = fc.oneof(
  fc.constantFrom<unknown>("seed", "fast", "gentle"),
  fc.tuple(checkFields, checker).map(([fields, check]) => ({ ...fields, ...check })),
);

const traffic = optional({
  loadBalancer: fc.constantFrom("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"),
  warmup: long,
  locality: fc.boolean(),
  attempts: fc.integer({ min: 0, max: 10 }),
  perTryTimeout: short,
  outlierDetection: optional({
    consecutiveGatewayErrors: fc.nat(10),
    consecutive5xxErrors: fc.nat(10),
    interval: short,
    baseEjectionTime: long,
    maxEjectionPercent: percent,
    minHealthPercent: percent,
  }),
  connectionPool: optional({ connectTimeout: short, maxRequests: fc.integer({ min: 1, max: 5000 }) }),
});

const scale = fc.oneof(
  fc.record({ replicas: fc.integer({ min: 1, max: 4 }) }),
  fc.constantFrom<object>({}, { autoscale: { min: 1, max: 5, cpu: 80 } }),
);

/** Generates versions whose weights add up to 100. Only a version without weight may lack pods. */
const versions = fc.constantFrom([100], [80, 20], [100, 0], [0, 100], [50, 25, 25]).chain((weights) =>
  fc.tuple(
    ...weights.map((weight, index) =>
      fc.tuple(scale, fc.option(image, { nil: undefined }), fc.boolean()).map(([pods, own, idle]) => ({
        name: `v${index + 1}`,
        weight,
        ...(idle && weight === 0 ? { replicas: 0 } : pods),
        ...(own !== undefined && { image: own }),
      })),
    ),
  ),
);

const promotion = fc.constantFrom<object>(
  {},
  { steps: [1, 50], calls: 1000, minSuccess: 99.9, maxAddedLatency: "0s" },
);

const method = fc.oneof(
  fc.constant({ kind: "streaming" }),
  optional({ kind: fc.constant("unary"), idempotent: fc.boolean(), timeout: long }),
);

/**
 * Generates the further keys of a service with an image. A service that offers nothing gets no keys
 * about calls to it.
 */
const further = optional({
  interval: short,
  timeout: long,
  healthCheck,
  traffic,
  promotion,
  drain: fc.constantFrom("10s", "15.5s", "120s"),
  properties: fc.constantFrom<object>({}, { "dubbo.application.log-format": "json", "dubbo.x.y": 1 }),
  resources,
});

const OF_CALLED = ["methods", "versions", "routes", "promotion", "traffic", "healthCheck", "drain"];

const source = fc.oneof(
  image.map((own) => ({ image: own })),
  image.map((own) => ({ image: own, runtime: "java" })),
  fc.constantFrom<object>(
    { app: "provider", image: "x:1" },
    { build: { context: "packages/local-cluster/images/pause" } },
    {
      build: {
        context: "packages/local-cluster/images",
        dockerfile: "packages/local-cluster/images/pause/Dockerfile",
      },
    },
  ),
);

const ownService = fc.record({
  source,
  long: fc.boolean(),
  port: fc.oneof(fc.integer({ min: 1024, max: 14_999 }), fc.integer({ min: 30_000, max: 65_535 })),
  offers: fc.integer({ min: 0, max: 2 }),
  calls: fc.array(fc.nat(5), { maxLength: 3 }),
  versioned: fc.boolean(),
  versions,
  scale,
  method,
  methods: fc.boolean(),
  routed: fc.boolean(),
  further,
});

type Own = typeof ownService extends fc.Arbitrary<infer T> ? T : never;

function routesOf({ routed, versions: all }: Own): object[] {
  const [target] = all.filter((each) => !("replicas" in each && each.replicas === 0));
  if (!routed || target === undefined) return [];
  return [{ headers: { "x-user": "tester", "x-region": "eu" }, version: target.name }];
}

function serviceOf(
  given: Own,
  index: number,
  names: readonly string[],
  offering: readonly boolean[],
): object {
  const offers = ["p.S", "org.example.T"].slice(0, given.offers).map((name) => `${name}${index}`);
  const callees = new Set(given.calls.filter((callee) => callee !== index && offering[callee] === true));
  const entry = {
    ...given.source,
    name: names[index],
    port: given.port,
    // An application of apps/ would set its own.
    methods: given.methods && offers[0] !== undefined ? { [`/${offers[0]}/m`]: given.method } : {},
    offers,
    calls: [...callees].map((callee) => names[callee]),
    ...given.further,
    ...(given.versioned ? { versions: given.versions, routes: routesOf(given) } : given.scale),
  };
  if (offers.length > 0) return entry;
  const kept = Object.entries(entry).filter(([key]) => !OF_CALLED.includes(key));
  const scaled = given.versioned ? given.scale : {};
  return { ...Object.fromEntries(kept), ...scaled };
}

const ownServices = fc.array(ownService, { minLength: 0, maxLength: 3 }).map((all) => {
  const names = all.map((own, index) => (own.long ? `s${index}-`.padEnd(63, "x") : `s${index}`));
  const offering = all.map((own) => own.offers > 0);
  return all.map((own, index) => serviceOf(own, index, names, offering));
});

const timing = optional({ timeout: long, resources });

const pair = fc
  .record({
    provider: optional({ traffic, healthCheck, versions, port: fc.constant(50_000) }),
    consumer: fc.tuple(timing, optional({ interval: short, replicas: fc.nat(3) })),
    relay: fc.option(timing, { nil: undefined }),
    java: fc.boolean(),
  })
  .map(({ provider, consumer: [times, own], relay, java }) => [
    { app: "provider", ...provider },
    { app: "consumer", ...times, ...own, ...(java && { runtime: "java" }) },
    ...(relay === undefined
      ? []
      : [{ app: "relay", ...relay, methods: { "/org.apache.dubbo.samples.Relay/greet": {} } }]),
  ]);

const services = fc.oneof(
  { arbitrary: fc.tuple(pair, ownServices).map(([sample, own]) => [...sample, ...own]), weight: 1 },
  { arbitrary: ownServices.filter((own) => own.length > 0), weight: 3 },
);

/** A provider of the greeter under another name, for a consumer of apps/. */
const renamed = fc.constant([
  { name: "greeter", image: "x:1", port: 1024, offers: [GREETER] },
  { app: "consumer", calls: ["greeter"] },
]);

const security = optional({
  mtls: fc.constantFrom("STRICT", "PERMISSIVE"),
  authorization: fc.boolean(),
  identities: fc.constantFrom("shared", "per-workload"),
  podSecurity: fc.constantFrom("privileged", "baseline", "restricted"),
});

const guarded = fc.tuple(security, fc.constantFrom("open", "networked", "denied")).map(([given, level]) => {
  if (level === "open") return given;
  if (level === "networked") return { ...given, networkPolicy: true };
  return { ...given, networkPolicy: true, authorization: true, defaultDeny: true };
});

const observability = optional({
  tracing: fc.constantFrom(
    {},
    { sampling: 0.5 },
    { provider: "otel", service: "otel.traces.svc.cluster.local" },
  ),
  dashboard: fc.boolean(),
});

const place = fc.constantFrom<object>(
  { cluster: "local" },
  { context: "somewhere", registry: "registry.example:5000/team" },
  { cluster: "existing", context: "c", kubeconfig: "/k", registry: "r" },
);

/**
 * Keys of a stack, each with valid values. A new key is one line here. The program must reject
 * invalid combinations of these values.
 */
const keys = optional({
  namespace,
  production: fc.constantFrom(false, true),
  injection: fc.constantFrom(true, true, true, false),
  revision: label,
  accessLogs: fc.boolean(),
  observability,
  // The last one is too long beside the longest names.
  clusterDomain: fc.constantFrom("cluster.local", "example.org", `${"x".repeat(60)}.${"y".repeat(49)}`),
  baseImage: image,
  platform: fc.constantFrom("linux/amd64", "linux/arm64"),
  proxy: resources,
  traffic,
  security: guarded,
  healthCheck,
  healthCheckBudget: fc.integer({ min: 1, max: 500 }),
  drain: fc.constantFrom("20s", "60.5s"),
});

/** Values that production requires. */
const strong = { identities: "per-workload", networkPolicy: true, defaultDeny: true };

/** Generates a sensible stack. */
export const sensible: fc.Arbitrary<Configuration> = fc
  .tuple(place, keys, fc.oneof({ arbitrary: services, weight: 9 }, { arbitrary: renamed, weight: 1 }))
  .map(([where, own, all]) => {
    const weak = own["production"] !== true;
    return { ...where, ...own, ...(!weak && { security: strong, injection: true }), services: all };
  });
