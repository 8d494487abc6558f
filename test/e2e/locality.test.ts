import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { docker } from "../../packages/local-cluster/docker.ts";
import { NAME } from "../../common/local-cluster.ts";
import type { UpReport } from "../../tools/up.ts";
import { make, writeStack } from "./make.ts";
import { CONSUMER, nameOf, PROVIDER, Scene, until } from "./scene.ts";
import { givenUp, Watch } from "./watch.ts";

const FIRST = `${NAME}-control-plane`;
const SECOND = `${NAME}-worker`;

/** Returns the node of each pod of a service. */
async function nodesOf(service: string): Promise<string[]> {
  const pods = await (await Scene.now()).mesh.pods(service);
  return pods.map(({ spec }) => spec?.nodeName ?? "").sort();
}

/**
 * Moves the consumer to the first node, which has the API server. A test pauses the second node.
 */
async function consumerOnFirst(): Promise<void> {
  const scene = await Scene.now();
  await scene.kubectl("cordon", SECOND);
  const [consumer] = await scene.mesh.pods(CONSUMER);
  if (consumer?.spec?.nodeName !== FIRST) await scene.kubectl("delete", "pod", nameOf(consumer));
  await scene.settled();
  await scene.kubectl("uncordon", SECOND);
}

beforeAll(async () => {
  await make("cluster-down");
  await make("cluster-up", "NODES=2");
  writeStack({ namespace: "dubbo-locality", consumer: { interval: "0.05s" } });
  await make<UpReport>("up", "JSON=1");
});

afterAll(async () => {
  await make("down");
  await make("cluster-down");
});

describe("on two nodes", () => {
  it("the provider's pods are spread, and calls go to both nodes", async () => {
    expect(await nodesOf(PROVIDER)).toEqual([FIRST, SECOND]);
    expect((await make<{ ok: boolean }>("verify", "JSON=1")).result.ok).toBe(true);
  });

  it("a second make up changes nothing", async () => {
    const { result } = await make<UpReport>("up", "JSON=1");
    expect(result.changes).toEqual([]);
    expect(
      (await make<{ ready: boolean; components: { name: string }[] }>("cluster-status", "JSON=1")).result,
    ).toMatchObject({
      ready: true,
      components: [
        { name: "docker engine" },
        { name: "node 1" },
        { name: "node 2" },
        { name: "registry" },
        { name: "istio" },
      ],
    });
  });

  it("calls stay in the caller's zone until the provider there stops serving", async () => {
    await consumerOnFirst();
    writeStack({ namespace: "dubbo-locality", consumer: { interval: "0.05s" }, traffic: { locality: true } });
    await make<UpReport>("up", "JSON=1");
    const scene = await Scene.now();
    await scene.settled();
    const providers = await scene.mesh.pods(PROVIDER);
    const near = providers.find(({ spec }) => spec?.nodeName === FIRST);
    const far = providers.find(({ spec }) => spec?.nodeName === SECOND);
    const answered = async (): Promise<(string | undefined)[]> => {
      await sleep(1000);
      const [consumer] = await scene.mesh.pods(CONSUMER);
      const log = await scene.kubectl("logs", nameOf(consumer), "--container", "app", "--since=5s");
      const addresses = [...log.matchAll(/response from provider: ([\d.]+):/g)].map(([, address]) => address);
      return [...new Set(addresses.slice(-10))];
    };
    expect(await answered()).toEqual([near?.status?.podIP]);
    const watch = await Watch.begin(scene);
    await make("qos", `POD=${nameOf(near)}`, "COMMAND=offline", "JSON=1");
    await until("the calls have left the zone", 60, async () => {
      const [only, ...others] = await answered();
      return (only === far?.status?.podIP && others.length === 0) || undefined;
    });
    await make("qos", `POD=${nameOf(near)}`, "COMMAND=online", "JSON=1");
    await scene.settled();
    const seen = await watch.end();
    process.stdout.write(`  figure  out of the zone: ${JSON.stringify(seen)}\n`);
    expect(seen).toMatchObject({ failed: [], unaccounted: 0 });
    writeStack({ namespace: "dubbo-locality", consumer: { interval: "0.05s" } });
    await make<UpReport>("up", "JSON=1");
  });

  it("no call fails while the node of one provider cannot be reached for 15 s", async () => {
    await consumerOnFirst();
    const scene = await Scene.now();
    await scene.settled();
    const watch = await Watch.begin(scene);
    await docker(["pause", SECOND]);
    try {
      await sleep(15_000);
    } finally {
      await docker(["unpause", SECOND]);
    }
    await until("the node is ready", 60, async () => {
      const status = await scene.kubectl(
        ...["get", "node", SECOND, "--output", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'],
      );
      return status === "True" || undefined;
    });
    await scene.settled();
    const seen = await watch.end();
    process.stdout.write(`  figure  a node not reachable for 15 s: ${JSON.stringify(seen)}\n`);
    expect(seen).toMatchObject({ failed: [], unaccounted: 0 });
    expect(givenUp(seen)).toEqual({});
    expect(seen.answered).toBeGreaterThan(5 * seen.seconds);
    expect(seen.changes.some(({ state }) => state.startsWith("failed_active_health_check"))).toBe(true);
  });
});
