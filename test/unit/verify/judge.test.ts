import { describe, expect, it } from "vitest";
import type { Check } from "../../../tools/verify/check.ts";
import { judge, judgeAll } from "../../../tools/verify/judge.ts";
import { sampleMesh } from "../../../tools/verify/sample.ts";
import { EXPECTED, judged, judgedCase, podOf, RecordedMesh, recording } from "./recorded.ts";

function rows(checks: readonly Check[]): string[] {
  return checks.map(({ ok, check, of, seen }) => `${ok ? "ok" : "FAIL"} | ${check} | ${of} | ${seen}`);
}

function failures(checks: readonly Check[]): string[] {
  return rows(checks.filter(({ ok }) => !ok));
}

describe("a mesh as it should be", () => {
  it("passes every check, with figures", async () => {
    expect(rows(await judgedCase("good"))).toEqual([
      "ok | ready | dubbo-samples-mesh-provider-v1 | 2 pods: 2/2 (native sidecar), restarts 0",
      "ok | ready | dubbo-samples-mesh-consumer | 1 pod: 2/2 (native sidecar), restarts 0",
      "ok | addresses | outbound|50052|v1| | 10.211.0.7:50052, 10.211.0.8:50052",
      "ok | addresses | outbound|50052|| | 10.211.0.7:50052, 10.211.0.8:50052",
      "ok | calls | outbound|50052|v1| | 10 calls: 10.211.0.7:50052 5, 10.211.0.8:50052 5; spread 0, failed 0",
      "ok | health check | outbound|50052|v1| | attempts +3, successes +3, failures +0; 2 of 2 healthy",
      "ok | outbound log | dubbo-samples-mesh-consumer-5cf59dcb4b-z42cp | 4 calls: 4 outbound|50052|v1|; 0 cut short",
      "ok | inbound log | dubbo-samples-mesh-provider | 8 calls: 8 inbound|50052||; 0 cut short",
      "ok | check log | dubbo-samples-mesh-provider | 2 calls by Envoy/HC to 2 of 2 pods, 0 without status 200",
      "ok | mtls | outbound|50052|v1| | 2 checks with its server name, 0 in plaintext; 4 TLS handshakes so far",
    ]);
  });

  it("says what was expected", async () => {
    const checks = await judgedCase("good");
    expect(checks.map(({ check, expected }) => [check, expected])).toEqual([
      ["ready", "2 pods, all containers ready, with istio-proxy"],
      ["ready", "1 pod, all containers ready, with istio-proxy"],
      ["addresses", "the 2 ready pods of Kubernetes"],
      ["addresses", "the 2 ready pods of Kubernetes"],
      ["calls", "ROUND_ROBIN: each endpoint answers, no call fails"],
      ["health check", "a check an endpoint succeeds, none fails, all are healthy"],
      ["outbound log", "all name outbound|50052|, none is cut short"],
      ["inbound log", "all name inbound|50052|, none is cut short"],
      ["check log", "each ready pod has /grpc.health.v1.Health/Check 200"],
      ["mtls", "its checks come over mTLS, none in plaintext"],
    ]);
  });
});

describe("the sample's EnvoyFilter", () => {
  it("fails: no check on the cluster that carries the calls, and plaintext ones on another", async () => {
    expect(failures(await judgedCase("sample"))).toEqual([
      "FAIL | health check | outbound|50052|v1| | no health check on outbound|50052|v1|, which carries 15 calls; there is one on outbound|50052||, which carries 0 calls",
      "FAIL | mtls | outbound|50052|v1| | 0 checks with its server name, 4 in plaintext; 6 TLS handshakes so far",
    ]);
  });

  it("on the right cluster still fails: its checks go out in plaintext", async () => {
    expect(failures(await judgedCase("plain"))).toEqual([
      "FAIL | mtls | outbound|50052|v1| | 0 checks with its server name, 5 in plaintext; 8 TLS handshakes so far",
    ]);
  });
});

describe("a provider that hangs", () => {
  it("is out of the calls and fails its check", async () => {
    expect(failures(await judgedCase("hung"))).toEqual([
      "FAIL | calls | outbound|50052|v1| | 4 calls: 10.211.0.2:50052 2, 10.211.0.5:50052 0; spread 2, failed 2",
      "FAIL | health check | outbound|50052|v1| | attempts +2, successes +1, failures +1; 1 of 2 healthy (10.211.0.5:50052 failed_active_health_check active_hc_timeout)",
      "FAIL | inbound log | dubbo-samples-mesh-provider | 4 calls: 4 inbound|50052||; 2 cut short (DR)",
      "FAIL | check log | dubbo-samples-mesh-provider | 3 calls by Envoy/HC to 2 of 2 pods, 1 without status 200",
    ]);
  });
});

describe("a provider that starts", () => {
  it("is not ready", async () => {
    expect(failures(await judgedCase("starting"))).toEqual([
      "FAIL | ready | dubbo-samples-mesh-provider-v1 | 2 pods: dubbo-samples-mesh-provider-v1-cc5f8654d-splrh 1/2 (native sidecar), restarts 0",
      "FAIL | calls | outbound|50052|v1| | 12 calls: 10.211.0.11:50052 0, 10.211.0.8:50052 12; spread 12, failed 0",
      "FAIL | health check | outbound|50052|v1| | attempts +3, successes +2, failures +1; 1 of 2 healthy (10.211.0.11:50052 failed_active_health_check eds_health_status UNHEALTHY)",
    ]);
  });

  it("needs no check in its access log", async () => {
    const after = recording("starting", "after");
    for (const pod of Object.keys(after.logs).filter((name) => name.includes("splrh"))) after.logs[pod] = [];
    const checks = await judged(recording("starting", "before"), after);
    expect(rows(checks.filter(({ check }) => check === "check log"))).toEqual([
      "ok | check log | dubbo-samples-mesh-provider | 1 call by Envoy/HC to 1 of 1 pod, 0 without status 200",
    ]);
  });
});

describe("a mesh in which something is amiss", () => {
  it("fails where Envoy has an address that is no ready pod's, and lacks one that is", async () => {
    const after = recording("good", "after");
    const address = after.clusters.cluster_statuses
      .flatMap(({ host_statuses: hosts }) => hosts.map((host) => host.address.socket_address))
      .filter((socket) => socket.address === "10.211.0.8");
    for (const socket of address) socket.address = "10.211.0.99";
    expect(failures(await judged(recording("good", "before"), after))).toEqual([
      "FAIL | addresses | outbound|50052|v1| | 10.211.0.7:50052, 10.211.0.99:50052; missing 10.211.0.8:50052; no ready pod at 10.211.0.99:50052",
      "FAIL | addresses | outbound|50052|| | 10.211.0.7:50052, 10.211.0.99:50052; missing 10.211.0.8:50052; no ready pod at 10.211.0.99:50052",
    ]);
  });

  it("fails where nothing happens between the looks", async () => {
    const look = recording("good", "after");
    expect(failures(await judged(look, look))).toEqual([
      "FAIL | calls | outbound|50052|v1| | 0 calls: 10.211.0.7:50052 0, 10.211.0.8:50052 0; spread 0, failed 0",
      "FAIL | health check | outbound|50052|v1| | attempts +0, successes +0, failures +0; 2 of 2 healthy",
      "FAIL | outbound log | dubbo-samples-mesh-consumer-5cf59dcb4b-z42cp | 0 calls; 0 cut short",
      "FAIL | inbound log | dubbo-samples-mesh-provider | 0 calls; 0 cut short",
      "FAIL | check log | dubbo-samples-mesh-provider | 0 calls by Envoy/HC to 0 of 2 pods, 0 without status 200",
      "FAIL | mtls | outbound|50052|v1| | 0 checks with its server name, 0 in plaintext; 4 TLS handshakes so far",
    ]);
  });

  it("fails where Envoy does not count the checks", async () => {
    const after = { ...recording("good", "after"), stats: [] };
    expect(failures(await judged(recording("good", "before"), after))).toEqual([
      "FAIL | health check | outbound|50052|v1| | Envoy does not count health_check.* (proxyStatsMatcher)",
    ]);
  });

  it("fails where calls go round the provider's clusters", async () => {
    const after = recording("good", "after");
    const [consumer = ""] = Object.keys(after.logs).filter((pod) => pod.startsWith(EXPECTED.consumer));
    const passed = (after.logs[consumer] ?? []).map((line) =>
      line.replace(/outbound\|\S+/, "PassthroughCluster"),
    );
    after.logs[consumer] = passed;
    expect(failures(await judged(recording("good", "before"), after))).toEqual([
      `FAIL | outbound log | ${consumer} | ${passed.length} calls: ${passed.length} PassthroughCluster; 0 cut short`,
    ]);
  });

  it("fails where Envoy cuts calls short", async () => {
    const after = recording("good", "after");
    const [consumer = ""] = Object.keys(after.logs).filter((pod) => pod.startsWith(EXPECTED.consumer));
    const lines = after.logs[consumer] ?? [];
    lines.push((lines.at(-1) ?? "").replace("200 - via_upstream", "503 UH no_healthy_upstream"));
    const [failure] = failures(await judged(recording("good", "before"), after));
    expect(failure).toMatch(/^FAIL \| outbound log \| .* 1 cut short \(UH\)$/);
  });

  it("fails where the pods have no sidecar, and asks nothing more", async () => {
    const look = recording("good", "after");
    const text = JSON.stringify(look.pods).replaceAll('"name":"istio-proxy"', '"name":"other"');
    look.pods = (JSON.parse(text) as object[]).map(podOf);
    expect(rows(await judged(look, look))).toEqual([
      "FAIL | ready | dubbo-samples-mesh-provider-v1 | 2 pods: 2/2 (no istio-proxy), restarts 0",
      "FAIL | ready | dubbo-samples-mesh-consumer | 1 pod: 2/2 (no istio-proxy), restarts 0",
    ]);
  });
});

describe("a caller that waits to be called", () => {
  it("need not call, but its checks must succeed", async () => {
    const look = recording("good", "after");
    expect(failures(await judged(look, look, { ...EXPECTED, interval: undefined }))).toEqual([
      "FAIL | health check | outbound|50052|v1| | attempts +0, successes +0, failures +0; 2 of 2 healthy",
      "FAIL | check log | dubbo-samples-mesh-provider | 0 calls by Envoy/HC to 0 of 2 pods, 0 without status 200",
      "FAIL | mtls | outbound|50052|v1| | 0 checks with its server name, 0 in plaintext; 4 TLS handshakes so far",
    ]);
  });
});

describe("a mesh of several callers", () => {
  it("names the edge of each check, and each Deployment once", async () => {
    const [before, after] = [recording("good", "before"), recording("good", "after")];
    const mesh = new RecordedMesh(before, after);
    const looks = [await sampleMesh(mesh, EXPECTED), await sampleMesh(mesh, EXPECTED)] as const;
    const edge = { expected: EXPECTED, before: looks[0], after: looks[1] };
    const alone = judge(EXPECTED, ...looks);
    expect(judgeAll([edge])).toEqual(alone);
    const others = alone.slice(2);
    const named = others.map((check) => ({
      ...check,
      of: `dubbo-samples-mesh-consumer to dubbo-samples-mesh-provider: ${check.of}`,
    }));
    expect(judgeAll([edge, edge])).toEqual([...alone.slice(0, 2), ...named, ...named]);
  });
});
