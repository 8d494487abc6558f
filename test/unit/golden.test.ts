import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import {
  committedStacks,
  expectedGolden,
  goldenObjects,
  presentGolden,
  writeGolden,
} from "../../tools/golden.ts";
import { newRepository } from "./tools/repository.ts";
import { userError } from "./tools/user-error.ts";

const ROOT = resolve(import.meta.dirname, "../..");

describe("test/golden", async () => {
  const [expected, present] = [await expectedGolden(ROOT), await presentGolden(ROOT)];

  it("matches the committed stacks: if this fails, run `make golden` and commit the files", () => {
    const names = [...new Set([...expected.keys(), ...present.keys()])].sort();
    const differing = names.filter((name) => expected.get(name) !== present.get(name));
    expect(differing, "these files of test/golden differ; run `make golden` and commit them").toEqual([]);
    expect(names.length).toBeGreaterThan(30);
  });

  it("has a folder for each committed stack", async () => {
    const folders = new Set([...present.keys()].map((name) => name.split("/")[0]));
    expect([...folders].sort()).toEqual((await committedStacks(ROOT)).sort());
  });

  it("has nothing of a machine, such as its registry or a path", () => {
    const text = [...present.values()].join("\n");
    expect(text).not.toMatch(/localhost|127\.0\.0\.1:|\/root|\/home\//);
    expect(text).toMatch(/image: registry\.invalid\/dubbo-samples-mesh-provider:[0-9a-f]{16}\n/);
  });
});

describe("the golden objects of a stack", { timeout: 120_000 }, () => {
  it("do not depend on the registry or the context", async () => {
    const repository = await newRepository();
    const { directory } = repository;
    repository.stack("here", { context: "here", registry: "one.test/a" });
    repository.stack("there", { context: "there", registry: "other.test:5000/b/c" });
    const here = await goldenObjects(directory, "here");
    expect(await goldenObjects(directory, "there")).toEqual(here);
    const images = JSON.stringify([...here.values()]).match(/"registry\.invalid\/[^"]+"/g);
    expect(images).toHaveLength(2);
    for (const image of images ?? [])
      expect(image).toMatch(/^"registry\.invalid\/dubbo-samples-mesh-(provider|consumer):[0-9a-f]{16}"$/);
  });

  it("do not show encrypted values", async () => {
    const repository = await newRepository();
    const provider = { app: "provider", properties: { "dubbo.provider.token": { secure: "v1:abc" } } };
    repository.stack("secret", { cluster: "local", services: [provider, { app: "consumer" }] });
    const text = JSON.stringify([...(await goldenObjects(repository.directory, "secret"))]);
    expect(text).not.toContain("v1:abc");
    expect(text).toContain('"value":"[secret]"');
  });
});

describe("the environments", () => {
  it("are the stacks whose files are committed", async () => {
    const repository = await newRepository();
    repository.stack("dev", { cluster: "local" });
    repository.stack("prod", { cluster: "local" });
    await repository.commit();
    repository.stack("mine", { cluster: "local" });
    expect(await committedStacks(repository.directory)).toEqual(["dev", "prod"]);
  });

  it("cannot be listed outside a checkout", async () => {
    const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
    expect(await userError(committedStacks(directory))).toMatchObject({
      fix: "Run it with git, in a checkout of the project.",
    });
  });
});

describe("make golden", { timeout: 120_000 }, () => {
  it("writes changed files, removes undeclared ones, and reports them", async () => {
    const repository = await newRepository();
    const { directory } = repository;
    repository.stack("a", { cluster: "local" });
    await repository.commit();
    const first = await writeGolden(directory);
    expect(first).toHaveLength(18);
    expect(first).toContain("test/golden/a/telemetry-access-logs.yaml");
    expect(await writeGolden(directory)).toEqual([]);

    repository.stack("a", { cluster: "local", accessLogs: false });
    mkdirSync(join(directory, "test/golden/gone"));
    writeFileSync(join(directory, "test/golden/gone/service-old.yaml"), "old");
    writeFileSync(join(directory, "test/golden/a/namespace-dubbo-demo.yaml"), "wrong");
    expect(await writeGolden(directory)).toEqual([
      "test/golden/a/namespace-dubbo-demo.yaml",
      "test/golden/a/telemetry-access-logs.yaml",
      "test/golden/gone/service-old.yaml",
    ]);
    expect(await presentGolden(directory)).toEqual(await expectedGolden(directory));
    expect(readFileSync(join(directory, "test/golden/a/namespace-dubbo-demo.yaml"), "utf8")).toContain(
      "kind: Namespace\n",
    );
  });
});
