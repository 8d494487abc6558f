import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { existsSync } from "node:fs";

import { CACHE_DIR } from "../../common/artifacts/cache.ts";
import { detectionBounds, drainSeconds } from "../../settings/health-check.ts";
import type { PromotionReport } from "../../tools/promote/promotion.ts";
import type { UpReport } from "../../tools/up.ts";
import { LiveMesh } from "../../tools/mesh.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import { callFrom } from "./call.ts";
import { expectLasting, failCalls, javaSwitch, SHORT_EJECTION } from "./ejection.ts";
import { hang, lastReply, terminate } from "./fault.ts";
import { applicationFiles, type Traces, traces, wayOut } from "./host.ts";
import { buildJavaImages } from "./java-image.ts";
import { CONFIRM, figure, make, pairOf, PROJECT_DIRECTORY, STACK, writeStack } from "./make.ts";
import { CONSUMER, nameOf, PROVIDER, Scene } from "./scene.ts";

/**
 * Settings for 20 calls per second. Health check and try timeout detect a hanging provider long
 * before the probes do.
 */
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

/** Returns a function that sends an HTTP request from the consumer to the provider's first pod. */
async function asker(): Promise<(path: string) => Promise<string>> {
  const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
  const mesh = new LiveMesh(settings);
  const [caller] = await mesh.pods(pairOf(settings).consumer.name);
  const [provider] = await mesh.pods(pairOf(settings).provider.name);
  return async (path) => {
    const url = `http://${provider?.status?.podIP ?? ""}${path}`;
    const show = "async (r) => console.log(r.status, await r.text()), ({ cause }) => console.log(cause.code)";
    const script = `fetch(${JSON.stringify(url)}).then(${show})`;
    return mesh.exec(caller?.metadata?.name ?? "", "app", ["node", "-e", script]);
  };
}

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
  it("starts from nothing, and gets a reply", async () => {
    const cached = existsSync(`${CACHE_DIR}/bin/kube`);
    const { result, seconds } = await make<UpReport>("up", "JSON=1");
    if (cached) figure("make up with the cluster's binaries built", seconds, 90);
    expect(result.reply).toMatch(
      /consumer Unary reply <-message: ?"hello,service mesh, response from provider(-v1)?: [\d.]+:50052, client: [\d.]+, local: dubbo-samples-mesh-provider, remote: .+, isProviderSide: true"/,
    );
    expect(result.outputs).toMatchObject({
      namespace: "dubbo-e2e",
      serviceAddresses: {
        "dubbo-samples-mesh-provider": "dubbo-samples-mesh-provider.dubbo-e2e.svc.cluster.local:50052",
        "dubbo-samples-mesh-consumer": "dubbo-samples-mesh-consumer.dubbo-e2e.svc.cluster.local:20880",
      },
      envoyFilterNames: { "dubbo-samples-mesh-consumer": "cluster" },
      healthCheckLoad: { checksPerSecond: 0.36, perProviderPod: 0.18 },
      kubeContext: "kind-dubbo-mesh",
      images: {
        "dubbo-samples-mesh-provider": expect.stringMatching(
          /^localhost:5001\/.+@sha256:[0-9a-f]{64}$/,
        ) as unknown,
        "dubbo-samples-mesh-consumer": expect.stringMatching(
          /^localhost:5001\/.+@sha256:[0-9a-f]{64}$/,
        ) as unknown,
      },
    });
  });

  it("passes verify", async () => {
    const { result } = await make<{ ok: boolean }>("verify", "JSON=1");
    expect(result.ok).toBe(true);
  });

  it("runs images without a shell or a package manager", async () => {
    const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
    const [pod] = await new LiveMesh(settings).pods(pairOf(settings).provider.name);
    const files = applicationFiles(pod?.metadata?.uid ?? "");
    const programs = files.filter((file) => /\/s?bin\//.test(file));
    expect(programs).toEqual([expect.stringMatching(/\/bin\/node$/)]);
    expect(files.filter((file) => /\/(npm|corepack|yarn|apt|dpkg|apk)(\/|$)/.test(file))).toEqual([]);
    expect(files).toContain("/app/main.mjs");
  });

  it("accepts commands only from the pod itself, and serves metrics", async () => {
    const ask = await asker();
    // Envoy 1.40 resets a connection without permission, 1.36 closes it.
    expect(["ECONNRESET\n", "UND_ERR_SOCKET\n"]).toContain(await ask(":22222/ready"));
    expect(await ask(":15020/stats/prometheus")).toMatch(/^200 [^]*\ndubbo_provider_requests_total\{/);
    const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
    const [provider] = await new LiveMesh(settings).pods(pairOf(settings).provider.name);
    const pod = provider?.metadata?.name ?? "";
    const { result } = await make<{ body: string }>("qos", `POD=${pod}`, "COMMAND=ls", "JSON=1");
    expect(result.body).toContain("|org.apache.dubbo.samples.Greeter:1.0.0|mesh-I(Y)|");
  });

  it("is not changed by a second up", async () => {
    const { result, seconds } = await make<UpReport>("up", "JSON=1");
    figure("make up without a change", seconds, 60);
    expect(result.changes).toEqual([]);
    expect(seconds).toBeLessThan(120);
  });

  it("changes only the objects whose settings change", async () => {
    writeStack({ traffic: { perTryTimeout: "2s" } });
    const { result: route } = await make<UpReport>("up", "JSON=1");
    expect(targets(route)).toEqual(["update mesh-dubbo-samples-mesh-provider-routes"]);
    writeStack(FAULT_SETTINGS);
    const { result: preview } = await make<{ changes: UpReport["changes"] }>("preview", "JSON=1");
    const { result: fault } = await make<UpReport>("up", "JSON=1");
    expect(fault.changes.map(({ target }) => target).sort()).toEqual(
      preview.changes.map(({ target }) => target).sort(),
    );
    // The provider's drain depends on the health check, so its Deployment changes too.
    expect(fault.changes).toHaveLength(4);
  });

  it("removes a hung provider within the bound and returns it, without a failed call", async () => {
    const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
    const bounds = detectionBounds(pairOf(settings).provider.healthCheck);
    expect(bounds.hung).toBeLessThan(5);
    const seen = await hang(new LiveMesh(settings), settings, 8);
    process.stdout.write(
      `  figure  hung provider: ${JSON.stringify(seen)}, bounds ${JSON.stringify(bounds)}\n`,
    );
    // One second to read Envoy's state through the API server.
    expect(seen.outAfter).toBeLessThan(bounds.hung + 1);
    // The resumed process must first work off its backlog.
    expect(seen.backAfter).toBeLessThan(10);
    expect(seen).toMatchObject({ restarts: 0, readinessChanged: false, failed: [] });
    expect(seen.answered).toBeGreaterThan(50);
  });

  it("answers all calls of four busy consumers while one of two providers ends", async () => {
    writeStack({ consumer: { replicas: 4, interval: "0.02s" } });
    await make<UpReport>("up", "JSON=1");
    const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
    const drain = drainSeconds(pairOf(settings).provider.healthCheck);
    const seen = await terminate(new LiveMesh(settings), settings, drain);
    process.stdout.write(`  figure  provider ended: ${JSON.stringify(seen)}, drain ${drain} s\n`);
    expect(seen).toMatchObject({ exitCode: 0, failed: [] });
    expect(seen.outAfter).toBeLessThan(detectionBounds(pairOf(settings).provider.healthCheck).answering + 1);
    expect(seen.endedAfter).toBeGreaterThan(drain);
    expect(seen.endedAfter).toBeLessThan(drain + 5);
    // The consumers send 200 calls a second if the machine has the time for them.
    expect(seen.callsPerSecond).toBeGreaterThan(100);
  });

  it("runs Java images on each side in turn: their check succeeds, an endpoint whose calls fail stays out, and a version is promoted", async () => {
    const images = await buildJavaImages();
    const run = async (settings: object): Promise<string> => {
      writeStack({ traffic: SHORT_EJECTION, ...settings });
      // CONFIRM, because the last change removes the version with all calls.
      await make<UpReport>("up", "JSON=1", CONFIRM);
      expect((await make<{ ok: boolean }>("verify", "JSON=1")).result.ok).toBe(true);
      const file = await readStackFile(PROJECT_DIRECTORY, STACK);
      return lastReply(new LiveMesh(file.settings), file.settings);
    };
    const callers =
      "client: [\\d.]+, local: dubbo-samples-mesh-provider, remote: dubbo-samples-mesh-consumer";
    const provider = { runtime: "java", image: images.provider };
    expect(await run({ provider, consumer: { interval: "0.05s" } })).toMatch(
      new RegExp(`response from provider-v1: [\\d.]+:50052, ${callers}`),
    );
    const javaProvider = await Scene.now();
    expectLasting(await failCalls(javaProvider, javaSwitch));
    const caller = nameOf((await javaProvider.mesh.pods(CONSUMER)).at(-1));
    for (const method of ["greetWithAttachment", "GreetWithAttachment"])
      expect(await callFrom(javaProvider, caller, method, "x", "café")).toMatchObject({
        grpc: 0,
        attachment: "hello,café",
      });
    // A JVM that has just started is slow at first.
    const versions = ["v1", "v2"].map((name) => ({ name, replicas: 1, weight: name === "v1" ? 100 : 0 }));
    const promotion = { steps: [25, 100] };
    await run({ provider: { ...provider, versions, promotion }, consumer: { interval: "0.05s" } });
    const version = [`SERVICE=${PROVIDER}`, "VERSION=v2"];
    const { result } = await make<PromotionReport>("promote", "JSON=1", ...version);
    process.stdout.write(`  figure  Java promoted: ${JSON.stringify(result)}\n`);
    expect(result).toMatchObject({ outcome: "promoted", weights: { v1: 0, v2: 100 } });
    const [v2] = (await javaProvider.mesh.pods(PROVIDER)).filter(
      ({ metadata }) => metadata?.labels?.["version"] === "v2",
    );
    const reply = await lastReply(javaProvider.mesh, javaProvider.settings);
    expect(reply).toContain(`: ${v2?.status?.podIP ?? ""}:50052`);
    expect(await run({ consumer: { runtime: "java", image: images.consumer } })).toMatch(
      new RegExp(`response from provider: [\\d.]+:50052, ${callers}`),
    );
    const javaConsumer = await Scene.now();
    const [pod] = await javaConsumer.mesh.pods(CONSUMER);
    expect(await javaConsumer.mesh.log(nameOf(pod))).toContain("attachment in Latin-1 came back: true");
  });

  it("without authorization, accepts probes and metrics from other pods", async () => {
    writeStack({ security: { mtls: "PERMISSIVE", authorization: false } });
    await make<UpReport>("up", "JSON=1");
    const ask = await asker();
    expect(await ask(":22222/ready")).toBe("200 true\n");
    expect(await ask(":22222/metrics")).toMatch(/^200 [^]*\ndubbo_provider_requests_total\{/);
    // The sidecar forwards requests from other pods from an address that Java takes for this
    // machine.
    expect(await ask(":22222/offline")).toBe("403 offline may not be called from 127.0.0.6\n\n");
  });

  it("has no route out of the machine", async () => {
    expect(await wayOut("198.18.7.1")).toMatch(/^198\.18\.7\.1 dev eth0 /);
    // An unused address from a block for documentation.
    expect(await wayOut("203.0.113.1")).toMatch(/Network is unreachable/);
  });

  it("is removed completely", async () => {
    const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
    const { seconds } = await make("down", "JSON=1");
    const goal = 12 + drainSeconds(pairOf(settings).provider.healthCheck);
    figure("make down", seconds, goal);
    expect(seconds).toBeLessThan(2 * goal);
    const again = await make<{ removed: string }>("down", "JSON=1");
    expect(again.result.removed).toBe(STACK);
  });

  it("leaves nothing on the machine after cluster-down", async () => {
    await make("cluster-down");
    expect(await traces()).toEqual(before);
  });
});
