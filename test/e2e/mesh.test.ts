import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { existsSync } from "node:fs";
import { CACHE_DIR } from "../../cluster/local.ts";
import { detectionBounds, drainSeconds } from "../../lib/health-check.ts";
import type { UpReport } from "../../tools/up.ts";
import { Mesh } from "../../tools/mesh.ts";
import { readStackFile } from "../../tools/stack-file.ts";
import { hang } from "./fault.ts";
import { type Traces, traces } from "./host.ts";
import { figure, make, PROJECT_DIRECTORY, STACK, writeStack } from "./make.ts";

/** 20 calls a second; a check and a try that notice a hung provider well before the probes do. */
const FAULT_SETTINGS = {
  consumer: { interval: "0.05s" },
  traffic: { perTryTimeout: "1s" },
  healthCheck: {
    timeout: "1s",
    interval: "1s",
    initial_jitter: "0.1s",
    interval_jitter: "0.1s",
    interval_jitter_percent: 10,
    unhealthy_interval: "1s",
    no_traffic_interval: "1s",
    no_traffic_healthy_interval: "1s",
  },
};

const targets = ({ changes }: UpReport): string[] =>
  changes.map(({ operation, target }) => `${operation} ${target.split(/[ /]/).at(-1) ?? ""}`).sort();

let before: Traces;

beforeAll(async () => {
  writeStack({});
  await make("cluster-down");
  before = await traces();
});

afterAll(async () => {
  await make("cluster-down");
});

describe("a mesh on the local cluster", () => {
  it("comes up from nothing with a reply", async () => {
    const cached = existsSync(`${CACHE_DIR}/bin/kube`);
    const { result, seconds } = await make<UpReport>("up", "JSON=1");
    if (cached) figure("make up with the cluster's binaries built", seconds, 90);
    expect(result.reply).toMatch(
      /consumer Unary reply <-message: ?"hello,service mesh, response from provider(-v1)?: [\d.]+:50052, client: [\d.]+, local: dubbo-samples-mesh-provider, remote: .+, isProviderSide: true"/,
    );
    expect(result.outputs).toMatchObject({
      namespace: "dubbo-demo",
      providerAddress: "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local:50052",
      consumerAddress: "dubbo-samples-mesh-consumer.dubbo-demo.svc.cluster.local:20880",
      envoyFilterName: "cluster",
      healthCheckLoad: { checksPerSecond: 0.36, perProviderPod: 0.18 },
      kubeContext: "dubbo-mesh",
      images: {
        provider: expect.stringMatching(/^localhost:5000\/.+@sha256:[0-9a-f]{64}$/) as unknown,
        consumer: expect.stringMatching(/^localhost:5000\/.+@sha256:[0-9a-f]{64}$/) as unknown,
      },
    });
  });

  it("passes verify", async () => {
    const { result } = await make<{ ok: boolean }>("verify", "JSON=1");
    expect(result.ok).toBe(true);
  });

  it("is left as it is by a second up", async () => {
    const { result, seconds } = await make<UpReport>("up", "JSON=1");
    figure("make up without a change", seconds, 60);
    expect(result.changes).toEqual([]);
    expect(seconds).toBeLessThan(120);
  });

  it("changes only the objects whose settings change", async () => {
    writeStack({ traffic: { perTryTimeout: "2s" } });
    const { result: route } = await make<UpReport>("up", "JSON=1");
    expect(targets(route)).toEqual([
      expect.stringMatching(/^update (dubbo-samples-mesh-provider|provider-traffic-virtual-service)$/),
    ]);
    writeStack(FAULT_SETTINGS);
    const { result: preview } = await make<{ changes: UpReport["changes"] }>("preview", "JSON=1");
    const { result: fault } = await make<UpReport>("up", "JSON=1");
    expect(fault.changes.map(({ target }) => target).sort()).toEqual(
      preview.changes.map(({ target }) => target).sort(),
    );
    // The provider's drain follows from the check, so its Deployment changes with it.
    expect(fault.changes).toHaveLength(4);
  });

  it("takes a hung provider out within the check's bound and back in, with no failed call", async () => {
    const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
    const bounds = detectionBounds(settings.healthCheck);
    expect(bounds.hung).toBeLessThan(5);
    const seen = await hang(new Mesh(settings), settings, 8);
    process.stdout.write(
      `  figure  hung provider: ${JSON.stringify(seen)}, bounds ${JSON.stringify(bounds)}\n`,
    );
    // One second for reading Envoy's state over the API server.
    expect(seen.outAfter).toBeLessThan(bounds.hung + 1);
    // The process that goes on has its backlog to work off first.
    expect(seen.backAfter).toBeLessThan(10);
    expect(seen).toMatchObject({ restarts: 0, readinessChanged: false, failed: [] });
    expect(seen.answered).toBeGreaterThan(100);
  });

  it("goes down with nothing left", async () => {
    const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
    const { seconds } = await make("down", "JSON=1");
    const goal = 12 + drainSeconds(settings.healthCheck);
    figure("make down", seconds, goal);
    expect(seconds).toBeLessThan(2 * goal);
    const again = await make<{ removed: string }>("down", "JSON=1");
    expect(again.result.removed).toBe(STACK);
  });

  it("leaves nothing on the machine when the cluster goes down", async () => {
    await make("cluster-down");
    expect(await traces()).toEqual(before);
  });
});
