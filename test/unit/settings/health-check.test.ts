import { describe, expect, it } from "vitest";
import { clusterPatch, envoyFilterSpec } from "../../../components/health-check.ts";
import { validateObject } from "../../schemas/validate.ts";
import {
  detectionBounds,
  drainSeconds,
  healthCheckLoad,
  healthCheckSettings,
} from "../../../settings/health-check.ts";

const SEED = healthCheckSettings.parse({});
const HOST = "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";
const GREETER = "org.apache.dubbo.samples.Greeter";
const PROVIDER = {
  host: HOST,
  port: 50052,
  subsets: ["v1", "v2"],
  service: GREETER,
  healthCheck: SEED,
  outlierDetection: true,
};
const CALLER = "dubbo-samples-mesh-consumer";

describe("detection bounds", () => {
  it("of seed are those of a cluster with calls", () => {
    expect(detectionBounds(SEED)).toEqual({ hung: 13.5, answering: 8.5, recovered: 8.5 });
  });

  it("of the sample's healthy threshold of 20 are three minutes until the return", () => {
    expect(detectionBounds(healthCheckSettings.parse({ healthy_threshold: 20 })).recovered).toBeCloseTo(
      312.5,
    );
  });

  it("grow with the unhealthy threshold", () => {
    const check = healthCheckSettings.parse({
      interval: "1s",
      timeout: "1s",
      interval_jitter: "0.5s",
      interval_jitter_percent: 0,
      unhealthy_threshold: 3,
      unhealthy_edge_interval: "2s",
    });
    expect(detectionBounds(check)).toMatchObject({ hung: 1.5 + 1 + 2 * (2.5 + 1), answering: 1.5 });
  });

  it("set the default drain", () => {
    expect(drainSeconds(SEED)).toBe(10);
    expect(drainSeconds(healthCheckSettings.parse({ interval: "0.5s", interval_jitter: "0s" }))).toBe(2);
  });
});

describe("profiles", () => {
  it("are set by name, or below own fields; seed is the default", () => {
    expect(healthCheckSettings.parse("seed")).toEqual(SEED);
    expect(healthCheckSettings.parse({ profile: "seed" })).toEqual(SEED);
    const fast = healthCheckSettings.parse("fast");
    expect(fast).toEqual({
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
      // The provider's offers decide on the service to check.
      grpc_health_check: {},
    });
    expect(healthCheckSettings.parse({ profile: "fast", interval: "0.7s", tcp_health_check: {} })).toEqual({
      ...fast,
      interval: "0.7s",
      grpc_health_check: undefined,
      tcp_health_check: {},
    });
  });

  it.each([
    ["seed", { hung: 13.5, answering: 8.5, recovered: 8.5 }, 10],
    ["fast", { hung: 1.6, answering: 0.6, recovered: 0.6 }, 2],
    ["gentle", { hung: 34, answering: 18, recovered: 18 }, 19],
  ])("%s detects within its bounds, and the drain follows", (profile, bounds, drain) => {
    const check = healthCheckSettings.parse(profile);
    const { hung, answering, recovered } = detectionBounds(check);
    expect(hung).toBeCloseTo(bounds.hung);
    expect(answering).toBeCloseTo(bounds.answering);
    expect(recovered).toBeCloseTo(bounds.recovered);
    expect(drainSeconds(check)).toBe(drain);
  });

  it("fast removes a hung endpoint in less than 2 s, also on a cluster without calls", () => {
    const fast = healthCheckSettings.parse("fast");
    const idle = { ...fast, interval: fast.no_traffic_healthy_interval };
    expect(detectionBounds(idle).hung).toBeLessThan(2);
  });

  it.each([
    ["slow", [], "must be seed, fast, gentle, or Envoy's fields"],
    [5, [], "must be seed, fast, gentle, or Envoy's fields"],
    [{ profile: "slow" }, ["profile"], "must be seed, fast or gentle"],
    [{ profile: "fast", intervall: "1s" }, [], 'Unrecognized key: "intervall"'],
  ])("with an unknown name or field are an error: %j", (given, path, message) => {
    expect(healthCheckSettings.safeParse(given).error?.issues).toMatchObject([{ path, message }]);
  });
});

describe("the load of a check", () => {
  it.each([
    // Profile seed: every 4 s on an idle cluster, plus 25 % and 0.5 s on average.
    ["seed", 1, 2, 2 / 5.5, 1 / 5.5],
    ["fast", 10, 4, 40 / 0.55, 10 / 0.55],
    ["gentle", 100, 50, 5000 / 16.5, 100 / 16.5],
    ["seed", 0, 2, 0, 0],
  ])("%s, %d callers, %d providers", (profile, callers, providers, total, each) => {
    const load = healthCheckLoad(healthCheckSettings.parse(profile), callers, providers);
    expect(load.checksPerSecond).toBeCloseTo(total);
    expect(load.perProviderPod).toBeCloseTo(each);
  });

  it("of gentle is a third of that of seed", () => {
    const [seed = 0, gentle = 0] = ["seed", "gentle"].map(
      (profile) => healthCheckLoad(healthCheckSettings.parse(profile), 1, 1).checksPerSecond,
    );
    expect(seed / gentle).toBeCloseTo(3);
  });
});

describe("the EnvoyFilter", () => {
  const SEED_CHECK = {
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
  };
  const patch = (service: string, portNumber: number, subset: string, healthCheck: object): object => ({
    applyTo: "CLUSTER",
    match: { context: "SIDECAR_OUTBOUND", cluster: { service, portNumber, subset } },
    patch: {
      operation: "MERGE",
      value: {
        health_checks: [healthCheck],
        ignore_health_on_host_removal: true,
        outlier_detection: { successful_active_health_check_uneject_host: false },
      },
    },
  });

  it("replaces other owners' checks if Istio supports it, as the last patch", () => {
    const operation = "MERGE_AND_REPLACE_LIST" as const;
    const spec = envoyFilterSpec({ operation, caller: CALLER, providers: [PROVIDER] });
    expect(spec).toMatchObject({
      priority: 10,
      configPatches: [{ patch: { operation } }, { patch: { operation } }],
    });
    const object = {
      apiVersion: "networking.istio.io/v1alpha3",
      kind: "EnvoyFilter",
      metadata: { name: "cluster" },
      spec,
    };
    expect(validateObject(object)).toEqual([]);
  });

  it("leaves out what would turn on Envoy's own outlier detection where no DestinationRule has any", () => {
    const provider = { ...PROVIDER, outlierDetection: false };
    expect(clusterPatch(provider)).toEqual({
      health_checks: [{ ...SEED, grpc_health_check: { service_name: GREETER, authority: HOST } }],
      ignore_health_on_host_removal: true,
    });
  });

  it("patches the cluster of each subset once, without plaintext criteria", () => {
    const healthCheck = { ...SEED_CHECK, grpc_health_check: { service_name: GREETER, authority: HOST } };
    expect(envoyFilterSpec({ operation: "MERGE", caller: CALLER, providers: [PROVIDER] })).toEqual({
      workloadSelector: { labels: { app: CALLER } },
      configPatches: ["v1", "v2"].map((subset) => patch(HOST, 50052, subset, healthCheck)),
    });
  });

  it("checks each of several providers by its own check and service", () => {
    const grpc_health_check = { service_name: "other.Service", authority: "other" };
    const interval = "7s";
    const other = {
      host: "b.demo.svc.cluster.local",
      port: 50053,
      subsets: ["blue"],
      service: "b.B",
      healthCheck: healthCheckSettings.parse({ interval, grpc_health_check }),
      outlierDetection: true,
    };
    expect(
      envoyFilterSpec({
        operation: "MERGE",
        caller: "a",
        providers: [{ ...PROVIDER, subsets: ["v1"] }, other],
      }),
    ).toEqual({
      workloadSelector: { labels: { app: "a" } },
      configPatches: [
        patch(HOST, 50052, "v1", {
          ...SEED_CHECK,
          grpc_health_check: { service_name: GREETER, authority: HOST },
        }),
        // Fields that the check sets are kept.
        patch("b.demo.svc.cluster.local", 50053, "blue", { ...SEED_CHECK, interval, grpc_health_check }),
      ],
    });
  });

  it.each([
    [{ authority: "other" }, { service_name: GREETER, authority: "other" }],
    [{ service_name: "other.Service" }, { service_name: "other.Service", authority: HOST }],
    // Envoy's name for the whole server.
    [{ service_name: "" }, { service_name: "", authority: HOST }],
  ])("fills in the defaults of a gRPC check: %j", (given, asked) => {
    const healthCheck = healthCheckSettings.parse({ grpc_health_check: given });
    const spec = envoyFilterSpec({
      operation: "MERGE",
      caller: CALLER,
      providers: [{ ...PROVIDER, subsets: ["v1"], healthCheck }],
    });
    expect(spec).toEqual({
      workloadSelector: { labels: { app: CALLER } },
      configPatches: [patch(HOST, 50052, "v1", { ...SEED_CHECK, grpc_health_check: asked })],
    });
  });

  it("keeps other checkers unchanged", () => {
    const healthCheck = healthCheckSettings.parse({ tcp_health_check: {} });
    const tcp = JSON.stringify(
      envoyFilterSpec({ operation: "MERGE", caller: CALLER, providers: [{ ...PROVIDER, healthCheck }] }),
    );
    expect(tcp).toContain('"tcp_health_check":{}');
    expect(tcp).not.toContain("grpc_health_check");
  });
});

describe("every field of Envoy's message", () => {
  it.each([
    { initial_jitter: "0s" },
    { event_log_path: "/dev/stdout" },
    { event_logger: [{ name: "file", typed_config: { "@type": "type.googleapis.com/x", path: "/a" } }] },
    { always_log_health_check_failures: true },
    { always_log_health_check_success: true },
    { tls_options: { alpn_protocols: ["http1.1", "h2"] } },
    { transport_socket_match_criteria: { useMTLS: true } },
    { grpc_health_check: { service_name: "", initial_metadata: [{ header: { key: "a", value: "b" } }] } },
    {
      http_health_check: {
        path: "/ready",
        expected_statuses: [{ start: 200, end: 300 }],
        method: "GET",
        codec_client_type: "HTTP2",
      },
    },
    { tcp_health_check: { send: { text: "00ff" }, receive: [{ binary: "AAAA" }] } },
    { custom_health_check: { name: "redis", typed_config: { "@type": "type.googleapis.com/redis" } } },
  ])("can be set: %j", (given) => {
    expect(healthCheckSettings.parse(given)).toMatchObject(given);
  });

  it.each([
    [
      { http_health_check: { path: "/", send: { text: "00" }, codec_client_type: "HTTP2" } },
      "send needs one of the methods POST, PUT, PATCH, OPTIONS",
    ],
    [{ tcp_health_check: { send: { text: "zz" } } }, "must be hexadecimal, two digits for each byte"],
    [{ tcp_health_check: { send: { hex: "00" } } }, "must be {text: HEX} or {binary: BASE64}"],
    [
      {
        http_health_check: {
          path: "/",
          expected_statuses: [{ start: 300, end: 200 }],
          codec_client_type: "HTTP2",
        },
      },
      "must have a start below end, which is exclusive",
    ],
    [{ unhealthy_threshold: 0 }, "Too small: expected number to be >=1"],
  ])("is an error if Envoy would reject or misread it: %j", (given, message) => {
    expect(healthCheckSettings.safeParse(given).error?.issues.map((issue) => issue.message)).toEqual([
      message,
    ]);
  });

  it.each([{}, { codec_client_type: "HTTP1" }, { codec_client_type: "HTTP3" }])(
    "asks a Triple port over HTTP/2, not with %j",
    (codec) => {
      const given = { http_health_check: { path: "/", ...codec } };
      expect(healthCheckSettings.safeParse(given).error?.issues).toMatchObject([
        {
          path: ["http_health_check", "codec_client_type"],
          message: "must be HTTP2, all that a Triple port speaks: Envoy's default is HTTP1",
        },
      ]);
    },
  );
});
