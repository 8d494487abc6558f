import { describe, expect, it } from "vitest";
import { envoyFilterSpec } from "../../components/health-check.ts";
import { detectionBounds, drainSeconds, healthCheckSettings } from "../../lib/health-check.ts";

const SEED = healthCheckSettings.parse({});
const HOST = "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";
const RULES = { caller: "dubbo-samples-mesh-consumer", host: HOST, port: 50052 };

describe("detection bounds", () => {
  it("of the seed's numbers are those of its own traffic case", () => {
    expect(detectionBounds(SEED)).toEqual({ hung: 13.5, answering: 8.5, recovered: 8.5 });
  });

  it("of the sample's healthy threshold of 20 are three minutes to recover", () => {
    expect(detectionBounds(healthCheckSettings.parse({ healthy_threshold: 20 })).recovered).toBeCloseTo(
      312.5,
    );
  });

  it("grow with each further failure that is asked for", () => {
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

  it("decide on the drain", () => {
    expect(drainSeconds(SEED)).toBe(10);
    expect(drainSeconds(healthCheckSettings.parse({ interval: "0.5s", interval_jitter: "0s" }))).toBe(2);
  });
});

describe("the EnvoyFilter", () => {
  it("patches the cluster of each subset once, without plaintext criteria", () => {
    const healthCheck = {
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
      grpc_health_check: { service_name: "org.apache.dubbo.samples.Greeter", authority: HOST },
    };
    const patch = (subset: string): object => ({
      applyTo: "CLUSTER",
      match: { context: "SIDECAR_OUTBOUND", cluster: { service: HOST, portNumber: 50052, subset } },
      patch: {
        operation: "MERGE",
        value: { health_checks: [healthCheck], ignore_health_on_host_removal: true },
      },
    });
    expect(envoyFilterSpec({ ...RULES, subsets: ["v1", "v2"], healthCheck: SEED })).toEqual({
      workloadSelector: { labels: { app: "dubbo-samples-mesh-consumer" } },
      configPatches: [patch("v1"), patch("v2")],
    });
  });

  it("keeps an authority and another checker as they are given", () => {
    const checkOf = (given: unknown): unknown =>
      envoyFilterSpec({ ...RULES, subsets: ["v1"], healthCheck: healthCheckSettings.parse(given) });
    expect(checkOf({ grpc_health_check: { authority: "other" } })).toMatchObject({
      configPatches: [
        { patch: { value: { health_checks: [{ grpc_health_check: { authority: "other" } }] } } },
      ],
    });
    const tcp = JSON.stringify(checkOf({ tcp_health_check: {} }));
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
    { http_health_check: { path: "/ready", expected_statuses: [{ start: 200, end: 300 }], method: "GET" } },
    { tcp_health_check: { send: { text: "00ff" }, receive: [{ binary: "AAAA" }] } },
    { custom_health_check: { name: "redis", typed_config: { "@type": "type.googleapis.com/redis" } } },
  ])("can be set: %j", (given) => {
    expect(healthCheckSettings.parse(given)).toMatchObject(given);
  });

  it.each([
    [
      { http_health_check: { path: "/", send: { text: "00" } } },
      "send needs a method of POST, PUT, PATCH, OPTIONS",
    ],
    [{ tcp_health_check: { send: { text: "zz" } } }, "must be hexadecimal digits, two a byte"],
    [{ tcp_health_check: { send: { hex: "00" } } }, "must be {text: HEX} or {binary: BASE64}"],
    [
      { http_health_check: { path: "/", expected_statuses: [{ start: 300, end: 200 }] } },
      "must start below its end, which is not part of it",
    ],
    [{ unhealthy_threshold: 0 }, "Too small: expected number to be >=1"],
  ])("is refused where Envoy would refuse or misread it: %j", (given, message) => {
    expect(healthCheckSettings.safeParse(given).error?.issues.map((issue) => issue.message)).toEqual([
      message,
    ]);
  });
});
