import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { toYaml } from "../../../common/yaml.ts";
import { UserError } from "../../../common/errors.ts";
import { down as remove, type DownReport, maskedOrNone } from "../../../tools/down.ts";
import type { Engine } from "../../../tools/engine/engine.ts";
import { downText } from "../../../tools/report.ts";
import { readMaskedStackFile, type StackFile } from "../../../stack/stack-file.ts";
import { fakeCommand, type FakeCommand } from "./fake-command.ts";
import { userError } from "./user-error.ts";

beforeEach(() => {
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
  vi.stubEnv("PATH", "/nowhere");
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

async function stack(name: string, config: Readonly<Record<string, unknown>>): Promise<StackFile> {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  const entries = Object.entries(config).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
  writeFileSync(
    join(directory, `Pulumi.${name}.yaml`),
    toYaml({ config: Object.fromEntries(entries) as object }),
  );
  return readMaskedStackFile(directory, name);
}

/** Removes a stack. Its encrypted values may be masked. */
function down(file: StackFile, engine: Pick<Engine, "down">, withImages: boolean): Promise<DownReport> {
  return remove(file, file, engine, withImages);
}

/** An engine that records the removal of the stack. */
function engine(): { engine: Pick<Engine, "down">; removed: () => boolean } {
  let removed = false;
  const remove = (): Promise<void> => {
    removed = true;
    return Promise.resolve();
  };
  return { engine: { down: remove }, removed: () => removed };
}

describe("the report of down", () => {
  const docker = (): FakeCommand => {
    const fake = fakeCommand("docker", [{ stdout: "abc\n" }, {}, {}], false);
    vi.stubEnv("PATH", fake.folder);
    return fake;
  };
  const whats = ({ remains }: DownReport): string[] => remains.map(({ what }) => what.replace(/: .*/, ""));

  it("lists what stays: images, the local cluster, and the state", async () => {
    const { engine: pulumi, removed } = engine();
    const report = await down(await stack("dev", { cluster: "local" }), pulumi, false);
    expect(removed()).toBe(true);
    expect(report).toMatchObject({ removed: "dev", images: [] });
    expect(whats(report)).toEqual([
      "images in docker",
      "images in the registry",
      "the local cluster",
      "the stack's state and history",
    ]);
    expect(report.remains[0]?.what).toMatch(
      /: localhost:5001\/dubbo-mesh\/dubbo-samples-mesh-provider:[0-9a-f]{16}, localhost:5001\/dubbo-mesh\/dubbo-samples-mesh-consumer:[0-9a-f]{16}$/,
    );
    expect(report.remains[3]?.why).toContain("`pulumi stack rm dev --preserve-config`");
    const lines = downText(report).split("\n");
    expect(lines.slice(0, 2)).toEqual(["dev is removed", "what stays:"]);
    expect(lines).toHaveLength(10);
  });

  it("omits the state of a pull request's stack, and images that it did not build", async () => {
    const config = { context: "there", registry: "r.test/org" };
    const review = await down(await stack("pr-7", config), engine().engine, false);
    expect(whats(review)).toEqual(["images in docker", "images in the registry"]);
    expect(review.remains[1]?.why).toBe("other stacks may use them; delete them in the registry");
    const services = [
      { app: "provider", image: "r.test/p:1" },
      { app: "consumer", image: "r.test/c:1" },
    ];
    const report = await down(await stack("pr-7", { context: "there", services }), engine().engine, true);
    expect(report).toEqual({ removed: "pr-7", images: [], remains: [] });
    expect(downText(report)).toBe("pr-7 is removed");
  });

  it.each(["crds", "install"])("lists Istio's CRDs if the stack has installed them: %s", async (mode) => {
    const { engine: pulumi, removed } = engine();
    const config = { context: "there", registry: "r.test/org", istio: { mode } };
    const report = await down(await stack("dev", config), pulumi, false);
    expect(removed()).toBe(true);
    expect(whats(report)).toEqual([
      "images in docker",
      "images in the registry",
      "Istio's namespace and CRDs",
      "the stack's state and history",
    ]);
  });

  it("lists removed images: those that docker had", async () => {
    const fake = docker();
    const report = await down(
      await stack("dev", { context: "there", registry: "r.test/org" }),
      engine().engine,
      true,
    );
    const [look, remove, second, ...more] = fake.calls().map(({ args }) => args);
    expect(look?.slice(0, 3)).toEqual(["image", "ls", "--quiet"]);
    expect(remove).toEqual(["image", "rm", look?.[3]]);
    expect(second?.[3]).toMatch(/^r\.test\/org\/dubbo-samples-mesh-consumer:/);
    expect(more).toEqual([]);
    expect(report.images).toEqual([look?.[3]]);
    expect(whats(report)).toEqual(["images in the registry", "the stack's state and history"]);
    expect(downText(report).split("\n")[1]).toBe(`${look?.[3] ?? ""} is removed from docker`);
  });

  it("is an error with a fix if docker does not answer after the stack is removed", async () => {
    const { engine: pulumi, removed } = engine();
    const file = await stack("dev", { context: "there", registry: "r.test/org" });
    expect(await userError(down(file, pulumi, true))).toMatchObject({
      fix: "The stack is removed. Start docker and run the command again to remove its images.",
    });
    expect(removed()).toBe(true);
  });

  it("neither shows nor needs encrypted values", async () => {
    const file = await stack("dev", { context: { secure: "v1:abc" }, registry: "r.test/org" });
    expect(file.settings.context).toBe("[secret]");
    const report = await down(file, engine().engine, false);
    expect(JSON.stringify(report)).not.toContain("v1:abc");
  });

  it("accepts a stack whose masked values are invalid, but no other error", async () => {
    const file = await stack("dev", { cluster: "local" });
    const wrong = (): Promise<StackFile> => Promise.reject(new UserError("wrong", "Mend it."));
    const fault = (): Promise<StackFile> => Promise.reject(new TypeError("a fault"));
    expect(await maskedOrNone({ encrypted: ["namespace"] }, wrong)).toBeUndefined();
    expect(await maskedOrNone({ encrypted: ["namespace"] }, () => Promise.resolve(file))).toBe(file);
    await expect(maskedOrNone({ encrypted: ["namespace"] }, fault)).rejects.toThrow("a fault");
    await expect(maskedOrNone({ encrypted: [] }, wrong)).rejects.toThrow("wrong");
  });

  it("says if the images depend on encrypted values", async () => {
    const file = { ...(await stack("dev", { cluster: "local" })), encrypted: ["clusterDomain"] };
    const { engine: pulumi, removed } = engine();
    const { images, remains } = await remove(file, undefined, pulumi, true);
    expect([removed(), images]).toEqual([true, []]);
    expect(remains.map(({ what }) => what)).toEqual([
      "images, if it built any",
      "the local cluster",
      "the stack's state and history",
    ]);
    expect(remains[0]?.why).toBe("their names depend on the encrypted values of clusterDomain");
  });
});
