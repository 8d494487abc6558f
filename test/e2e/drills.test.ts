import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { UpReport } from "../../tools/up.ts";
import { applicationProcess, watchEndpoint } from "./host.ts";
import { CONFIRM, make, type PairStack, writeStack } from "./make.ts";
import { CONSUMER, nameOf, now, PROVIDER, Scene, until } from "./scene.ts";
import { type Change, givenUp, type Seen, Watch } from "./watch.ts";

/**
 * Returns a stack whose consumer makes 20 calls per second. Other settings are defaults unless
 * given.
 */
function stack({ consumer, ...settings }: PairStack = {}): PairStack {
  return { namespace: "dubbo-drills", consumer: { interval: "0.05s", ...consumer }, ...settings };
}

async function up(settings: PairStack, ...variables: string[]): Promise<UpReport> {
  writeStack(settings);
  return (await make<UpReport>("up", "JSON=1", ...variables)).result;
}

/**
 * Runs a fault in a settled mesh, waits until it settles again, and returns the results of the
 * calls.
 */
async function drill(name: string, fault: (scene: Scene) => Promise<void>): Promise<Seen> {
  const before = await Scene.now();
  await before.settled();
  const watch = await Watch.begin(before);
  await fault(before);
  await (await Scene.now()).settled();
  await sleep(2000);
  const seen = await watch.end();
  process.stdout.write(`  figure  ${name}: ${JSON.stringify(seen)}\n`);
  return seen;
}

/** Checks that no call failed, according to the consumer and to its Envoy. */
function expectUnharmed(seen: Seen): void {
  expect(seen).toMatchObject({ failed: [], unaccounted: 0, waits: [] });
  expect(givenUp(seen)).toEqual({});
  expect(seen.consumers).toHaveLength(1);
  expect(seen.answered).toBeGreaterThan(5 * seen.seconds);
}

/** Envoy's flags of an endpoint that the active check has taken out, but not outlier detection. */
const CHECK_FAILED = /^failed_active_health_check( active_hc_timeout)?$/;

/** Returns the change that first took an endpoint out. */
function firstOut({ changes }: Pick<Seen, "changes">, address: string): Change | undefined {
  return changes.find((change) => change.address.startsWith(`${address}:`) && change.state !== "healthy");
}

beforeAll(async () => {
  await up(stack({ provider: { properties: { "dubbo.application.log-format": "json" } } }));
});

afterAll(async () => {
  await make("down");
});

describe("0 failed calls of a consumer at 20 calls a second", () => {
  it("while the provider's pods are replaced by a rolling update", async () => {
    const seen = await drill("rolling update", async () => {
      await up(stack());
    });
    expectUnharmed(seen);
    // Two new pods, and two old ones.
    expect(new Set(seen.changes.map(({ address }) => address)).size).toBe(4);
  });

  it("while the provider scales from 4 pods to 1 and back", async () => {
    const versions = (replicas: number): PairStack =>
      stack({ provider: { versions: [{ name: "v1", replicas }] } });
    await up(versions(4));
    const seen = await drill("scale 4 to 1 and back", async () => {
      await up(versions(1));
      await (await Scene.now()).settled();
      await up(versions(4));
    });
    expectUnharmed(seen);
    expect(seen.changes.filter(({ state }) => state === "gone")).toHaveLength(3);
    await up(stack());
  });

  it("while a provider's pod is deleted, and then a provider's process is killed", async () => {
    const seen = await drill("provider killed", async (scene) => {
      const [victim] = await scene.mesh.pods(PROVIDER);
      await scene.kubectl("delete", "pod", nameOf(victim), "--grace-period=0", "--force");
      await scene.settled();
      const [next] = await scene.mesh.pods(PROVIDER);
      process.kill(applicationProcess(next?.metadata?.uid ?? ""), "SIGKILL");
      // The kubelet restarts the container.
      await sleep(3000);
    });
    expectUnharmed(seen);
  });

  it("while a provider hangs for 15 s", async () => {
    let address = "";
    const seen = await drill("provider hung 15 s", async (scene) => {
      const [victim] = await scene.mesh.pods(PROVIDER);
      address = victim?.status?.podIP ?? "";
      const pid = applicationProcess(victim?.metadata?.uid ?? "");
      process.kill(pid, "SIGSTOP");
      try {
        await sleep(15_000);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      await sleep(5000);
    });
    expectUnharmed(seen);
    expect(firstOut(seen, address)?.state).toMatch(CHECK_FAILED);
  });

  it("while a provider answers NOT_SERVING for 15 s", async () => {
    let address = "";
    const seen = await drill("provider NOT_SERVING", async (scene) => {
      const [victim] = await scene.mesh.pods(PROVIDER);
      address = victim?.status?.podIP ?? "";
      const pod = nameOf(victim);
      await make("qos", `POD=${pod}`, "COMMAND=offline", "JSON=1");
      await sleep(15_000);
      await make("qos", `POD=${pod}`, "COMMAND=online", "JSON=1");
    });
    expectUnharmed(seen);
    expect(firstOut(seen, address)?.state).toMatch(CHECK_FAILED);
  });

  it("if it starts before its provider", async () => {
    const scene = await Scene.now();
    const deployments = [`deployment/${PROVIDER}-v1`, `deployment/${CONSUMER}`];
    await scene.kubectl("scale", "--replicas=0", ...deployments);
    await until("the pods are gone", 60, async () =>
      (await scene.kubectl("get", "pods", "-o", "name")) === "" ? true : undefined,
    );
    const watch = await Watch.begin(scene);
    await scene.kubectl("scale", "--replicas=1", `deployment/${CONSUMER}`);
    await until("the consumer waits", 60, async () => {
      const [consumer] = await scene.mesh.pods(CONSUMER);
      if (consumer === undefined) return undefined;
      const log = await scene.mesh.log(nameOf(consumer)).catch(() => "");
      return log.includes("waits for ") ? true : undefined;
    });
    await scene.kubectl("scale", "--replicas=2", `deployment/${PROVIDER}-v1`);
    await scene.settled();
    await sleep(2000);
    const seen = await watch.end();
    process.stdout.write(
      `  figure  consumer first: ${JSON.stringify({ ...seen, waits: seen.waits.length })}\n`,
    );
    expect(seen).toMatchObject({ failed: [], unaccounted: 0 });
    expect(seen.answered).toBeGreaterThan(20);
    expect(seen.waits.length).toBeGreaterThan(0);
    // Envoy rejects only the health checks that the consumer makes.
    const refused = seen.waits.filter((wait) => wait.includes("no healthy upstream"));
    expect(givenUp(seen)).toEqual({ upstream_rq_5xx: refused.length });
  });

  it("while istiod is down for 60 s", async () => {
    const seen = await drill("istiod down 60 s", async (scene) => {
      const scale = (replicas: number): Promise<string> =>
        scene.kubectl("--namespace=istio-system", "scale", `--replicas=${replicas}`, "deployment/istiod");
      const checks = async (): Promise<number> => {
        const [consumer] = await scene.mesh.pods(CONSUMER);
        return scene.checks(nameOf(consumer));
      };
      await scale(0);
      try {
        const [before, start] = [await checks(), now()];
        await sleep(60_000 - (now() - start) * 1000);
        expect((await checks()) - before).toBeGreaterThan(5);
      } finally {
        await scale(1);
        await scene.kubectl("--namespace=istio-system", "rollout", "status", "deployment/istiod");
      }
      // The proxies reconnect to istiod.
      await sleep(5000);
    });
    expectUnharmed(seen);
    expect(seen.changes).toEqual([]);
  });

  it("while a canary goes from 0 to 100 percent in steps", async () => {
    const weights = (v1: number): PairStack => {
      const versions = [
        { name: "v1", replicas: 2, weight: v1 },
        { name: "v2", replicas: 2, weight: 100 - v1 },
      ];
      return stack({ provider: { versions } });
    };
    const seen = await drill("canary 0 to 100", async () => {
      for (const v1 of [100, 75, 50, 25, 0]) {
        await up(weights(v1));
        await sleep(2000);
      }
      await up(stack({ provider: { versions: [{ name: "v2", replicas: 2 }] } }));
    });
    expectUnharmed(seen);
  });
});

describe("the profile `fast`", () => {
  it("removes a hung provider within 2 s; no call fails or waits longer than one try", async () => {
    const tryMs = 1000;
    // CONFIRM, because the change removes the version with all calls.
    await up(stack({ healthCheck: "fast", traffic: { perTryTimeout: `${tryMs / 1000}s` } }), CONFIRM);
    let took = Number.NaN;
    let state = "";
    const seen = await drill("fast, hung 8 s", async (scene) => {
      const [victim] = await scene.mesh.pods(PROVIDER);
      const [consumer] = await scene.mesh.pods(CONSUMER);
      const pid = applicationProcess(victim?.metadata?.uid ?? "");
      const { out } = await watchEndpoint(consumer?.metadata?.uid ?? "", victim?.status?.podIP ?? "");
      const hungAt = Date.now();
      process.kill(pid, "SIGSTOP");
      try {
        await sleep(8000);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      const seenOut = await out;
      took = (seenOut.at - hungAt) / 1000;
      ({ state } = seenOut);
    });
    process.stdout.write(`  figure  fast: out after ${took} s\n`);
    expectUnharmed(seen);
    expect(state).toMatch(CHECK_FAILED);
    expect(took).toBeLessThan(2);
    expect(seen.delayed.length).toBeLessThanOrEqual(Math.ceil(2000 / tryMs));
    expect(Math.max(0, ...seen.delayed)).toBeLessThanOrEqual(tryMs + 200);
  });
});
