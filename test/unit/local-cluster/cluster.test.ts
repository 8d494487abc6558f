import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Pulumi } from "../../../packages/local-cluster/istio.ts";
import { type Answer, fakeCommand, type FakeCommand } from "../tools/fake-command.ts";

// The modules read the cache's place when they are loaded.
const CACHE = mkdtempSync(join(tmpdir(), "dubbo-mesh-cache-"));
vi.stubEnv("DUBBO_MESH_CACHE", CACHE);
vi.resetModules();
// Imported after the reset, so that its UserError is the class that the modules throw.
const { userError } = await import("../tools/user-error.ts");
const { artifacts, missingArtifacts } = await import("../../../packages/local-cluster/artifacts.ts");
const { clusterUp } = await import("../../../packages/local-cluster/cluster.ts");
const { installIstio } = await import("../../../packages/local-cluster/istio.ts");

const NODE = "dubbo-mesh-control-plane";
const STATE = join(CACHE, "cluster");
const KIND: Answer = { stdout: "kind v0.33.0 go1.26.0 linux/amd64\n" };
/** Docker's answers up to the question for the cluster's nodes. */
const PREPARED: readonly Answer[] = [
  { stdout: "28.2.2\n" }, // version
  { stdout: `${4 * 1024 ** 3}\n` }, // info
  {}, // image inspect
  {}, // tag
];
const INJECTED: Answer = { stdout: '{"spec":{"containers":[{"name":"istio-proxy"}]}}' };

function onPath(docker: readonly Answer[], kind: readonly Answer[]): [FakeCommand, FakeCommand] {
  const fakes = [fakeCommand("docker", docker), fakeCommand("kind", kind)] as const;
  vi.stubEnv("PATH", fakes.map(({ folder }) => folder).join(delimiter));
  return [...fakes];
}

function verbs(command: FakeCommand): string[] {
  return command.calls().map(({ args }) => args.slice(0, 2).join(" "));
}

/** Puts a fake Pulumi first on PATH. Its first answers are to `version` and `stack select`. */
async function fakePulumi(answer: Answer): Promise<{ fake: FakeCommand; pulumi: Pulumi }> {
  const fake = fakeCommand("pulumi", [{ stdout: "v3.276.0\n" }, {}, answer], false);
  vi.stubEnv("PATH", [fake.folder, process.env["PATH"]].join(delimiter));
  const command = await PulumiCommand.get({ skipVersionCheck: true });
  return { fake, pulumi: { command, env: {} } };
}

const noPulumi = (): Promise<never> => Promise.reject(new Error("asked for Pulumi"));

const { platform } = process;
beforeAll(() => {
  // A running cluster on this machine holds the same lock.
  Object.defineProperty(process, "platform", { value: "darwin" });
});
afterAll(() => {
  Object.defineProperty(process, "platform", { value: platform });
});

beforeEach(() => {
  vi.stubEnv("DOCKER_HOST", "unix:///nowhere.sock");
  vi.stubEnv("DUBBO_MESH_IMAGES", "public");
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(STATE, { recursive: true, force: true });
});

describe("clusterUp", () => {
  it("rejects a foreign cluster of the same name, and changes nothing", async () => {
    const [docker, kind] = onPath([...PREPARED, { stdout: `${NODE}\n` }], [KIND]);
    expect(await userError(clusterUp(noPulumi))).toEqual({
      message: "docker has a kind cluster dubbo-mesh that this project did not create",
      fix: "Remove it (kind delete cluster --name dubbo-mesh), or deploy to it: CONTEXT=kind-dubbo-mesh.",
    });
    expect(verbs(docker).at(-1)).toBe("ps --all");
    expect(verbs(kind)).toEqual(["version"]);
    expect(existsSync(STATE)).toBe(false);
  });

  it("rejects an engine with too little memory before it pulls an image", async () => {
    const [docker] = onPath([{ stdout: "28.2.2\n" }, { stdout: `${2 * 1024 ** 3}\n` }], [KIND]);
    expect((await userError(clusterUp(noPulumi))).message).toBe(
      "the docker engine has 2.0 GiB of memory, the local cluster needs 2.5 GiB",
    );
    expect(verbs(docker)).toEqual(["version --format", "info --format"]);
  });

  it.each([
    ["run", [{ stderr: "manifest unknown\n", code: 125 }], "manifest unknown"],
    [
      "exec",
      [{}, { stdout: `${NODE}\n` }, { stderr: "OCI runtime exec failed\n", code: 126 }],
      "OCI runtime exec failed",
    ],
  ])("explains a command that fails while the cluster starts: docker %s", async (verb, answers, told) => {
    // No node, a registry to remove, and none that runs or is left.
    const [docker] = onPath([...PREPARED, {}, {}, {}, {}, ...answers], [KIND, {}]);
    expect(await userError(clusterUp(noPulumi))).toEqual({
      message: `the local cluster does not start: ${told}`,
      fix: "Fix the reported problem, and run the command again; `make cluster-down` removes an incomplete cluster.",
    });
    expect(verbs(docker).at(-1)).toMatch(verb);
  });

  it("explains why Pulumi did not install Istio", async () => {
    const answers = [{}, { stdout: `${NODE}\n` }, {}, { stdout: "{}" }];
    onPath([...PREPARED, {}, {}, {}, {}, ...answers], [KIND, {}]);
    const failure = { stdout: "Updating (istio):\n", stderr: "error: the state cannot be read\n", code: 255 };
    const { fake, pulumi } = await fakePulumi(failure);
    expect((await userError(clusterUp(() => Promise.resolve(pulumi)))).message).toBe(
      "the local cluster does not start: error: the state cannot be read",
    );
    expect(verbs(fake)).toEqual(["version", "stack select", "up --yes"]);
  });

  it("replaces an incomplete cluster of an earlier run", async () => {
    const port = "docker: Error response from daemon: port is already allocated";
    // No node, then a registry to remove.
    onPath([...PREPARED, {}, {}], [KIND, { stderr: `${port}\n`, code: 1 }]);
    expect((await userError(clusterUp(noPulumi, 2))).message).toBe(
      `a port that the cluster needs is in use: ${port}`,
    );
    const shape = { source: "public", nodes: 2 };
    expect(JSON.parse(readFileSync(join(STATE, "shape.json"), "utf8"))).toMatchObject(shape);
    expect(existsSync(join(STATE, "made"))).toBe(false);

    vi.stubEnv("DUBBO_MESH_IMAGES", "");
    const [docker, kind] = onPath(
      [
        ...PREPARED,
        { stdout: `${NODE}\n` },
        {}, // rm: the registry
        ...[{}, {}, {}], // ps, rm, run: the registry
        { stdout: `${NODE}\n` },
        {}, // exec: the registry's address
        ...[INJECTED, INJECTED],
      ],
      [KIND, {}, {}],
    );
    await clusterUp(() => Promise.resolve({ command: {} as never, env: {} }));
    expect(verbs(kind)).toEqual(["version", "delete cluster", "create cluster"]);
    expect(kind.calls()[2]?.stdin).toContain("role: worker");
    expect(verbs(docker).slice(PREPARED.length)).toEqual([
      "ps --all",
      "rm --force",
      "ps --filter",
      "rm --force",
      "run --detach",
      "ps --all",
      ...Array.from({ length: 3 }, () => "exec --interactive"),
    ]);
    expect(existsSync(join(STATE, "made"))).toBe(true);
  });
});

describe("installIstio", () => {
  it("does not need the folder of the checkout that started the cluster", async () => {
    const project = join(STATE, "pulumi", "Pulumi.yaml");
    mkdirSync(dirname(project), { recursive: true });
    writeFileSync(project, "name: local-cluster\nruntime: nodejs\nmain: /removed\n");
    const { pulumi } = await fakePulumi({ stderr: "error: stop here\n", code: 1 });
    await expect(installIstio(pulumi, "public")).rejects.toThrow("stop here");
    expect(readFileSync(project, "utf8")).toBe("name: local-cluster\nruntime: nodejs\n");
  });
});

describe("missingArtifacts", () => {
  const room = (): number => missingArtifacts().missing.reduce((sum, { gib = 0 }) => sum + gib, 0);

  it("requires room and tools for the missing parts", () => {
    expect(missingArtifacts().go).toBe(true);
    // With 2 GiB more, and 7 GiB of Pulumi, this is the 24 GiB that the documentation names.
    expect(room()).toBe(15);
    for (const { file, key } of artifacts()) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, "");
      writeFileSync(`${file}.key`, key);
    }
    expect(missingArtifacts()).toEqual({ missing: [], go: false });
    rmSync(join(CACHE, "bin/node"));
    expect({ go: missingArtifacts().go, gib: room() }).toEqual({ go: false, gib: 0 });
    rmSync(join(CACHE, "bin/kind"));
    expect({ go: missingArtifacts().go, gib: room() }).toEqual({ go: true, gib: 1 });
  });
});
