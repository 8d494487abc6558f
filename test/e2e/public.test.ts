import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NAME } from "../../common/local-cluster.ts";
import { docker, startEngine, stopEngine } from "../../packages/local-cluster/docker.ts";
import type { UpReport } from "../../tools/up.ts";
import { type Traces, traces } from "./host.ts";
import { Laptop } from "./laptop.ts";
import { CONFIRM, make, writeStack } from "./make.ts";
import { publish, type Published, unpublish, VERSION } from "./published.ts";

/** Kind cluster of the user, without Istio. */
const OTHER = "other";
const THERE = `CONTEXT=kind-${OTHER}`;

const IMAGES = ["--output", "jsonpath={.items[*].spec.containers[*].image}"];

let before: Traces;
let published: Published;
let laptop: Laptop;

async function imageOf(container: string): Promise<string> {
  return (await docker(["inspect", "--format", "{{.Config.Image}}", container])).stdout;
}

beforeAll(async () => {
  // This makes the images that are published.
  await make("cluster-up");
  await make("cluster-down");
  before = await traces();
  await startEngine();
  published = await publish();
  const { node, registry, base, charts, hub } = published;
  writeStack({ namespace: "dubbo-public" });
  laptop = new Laptop({
    DUBBO_MESH_IMAGES: "public",
    DUBBO_MESH_NODE_IMAGE: node,
    DUBBO_MESH_REGISTRY_IMAGE: registry,
    DUBBO_MESH_BASE_IMAGE: base,
    DUBBO_MESH_ISTIO_CHARTS: charts,
    DUBBO_MESH_ISTIO_HUB: hub,
  });
  await laptop.takeCheckout();
});

afterAll(async () => {
  await unpublish();
  await stopEngine();
  expect(await traces()).toEqual(before);
});

describe("a user with docker, without root and Go", () => {
  it("has neither root's rights nor the programs that build the images", async () => {
    expect(await laptop.run("id", "-u")).not.toBe("0");
    expect(await laptop.run("sh", "-c", "command -v go debootstrap || echo none")).toBe("none");
  });

  it("gets the first reply from images and charts of a registry", async () => {
    const { reply } = await laptop.make<UpReport>("up", "JSON=1");
    expect(reply).toContain("response from provider");
    expect(await imageOf(`${NAME}-control-plane`)).toBe(published.node);
    expect(await imageOf(`${NAME}-registry`)).toBe(published.registry);
    expect((await laptop.make<{ ok: boolean }>("verify", "JSON=1")).ok).toBe(true);
  });

  it("removes the cluster, and nothing else", async () => {
    await laptop.make("down");
    await laptop.make("cluster-down");
    const { stdout } = await docker(["ps", "--all", "--format", "{{.Names}}"]);
    expect(stdout).toBe("published");
  });

  it("deploys to another kind cluster, and installs Istio there", async () => {
    const { base, charts, hub, node } = published;
    await laptop.run("kind", "create", "cluster", "--name", OTHER, "--image", node);
    writeStack({ namespace: "dubbo-public", baseImage: base, istio: { mode: "install", charts, hub } });
    await laptop.takeStack();
    const { reply } = await laptop.make<UpReport>("up", "JSON=1", THERE);
    expect(reply).toContain("response from provider");
    expect(await laptop.run("kubectl", "--namespace", "istio-system", "get", "pods", ...IMAGES)).toBe(
      `${hub}/pilot:${VERSION}`,
    );
    expect((await laptop.make<{ ok: boolean }>("verify", "JSON=1", THERE)).ok).toBe(true);
    expect((await laptop.make<UpReport>("up", "JSON=1", THERE)).changes).toEqual([]);
  });

  it("removes that stack with its Istio, but not Istio's CRDs", async () => {
    await laptop.make("down", THERE, CONFIRM);
    expect(await laptop.run("kubectl", "--namespace", "istio-system", "get", "pods", ...IMAGES)).toBe("");
    expect(
      await laptop.run("kubectl", "get", "crd", "envoyfilters.networking.istio.io", "--output", "name"),
    ).toBe("customresourcedefinition.apiextensions.k8s.io/envoyfilters.networking.istio.io");
  });
});
