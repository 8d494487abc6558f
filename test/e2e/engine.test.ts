import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { type DriftReport, isDrift } from "../../tools/drift/drift.ts";
import type { Change, Repair } from "../../tools/engine/engine.ts";
import type { UpReport } from "../../tools/up.ts";
import { CONFIRM, make, type PairStack, PROJECT_DIRECTORY, STACK, writeStack } from "./make.ts";
import { CONSUMER, PROVIDER, Scene, until } from "./scene.ts";

const NAMESPACE = "dubbo-engine";
const SECRET = "a-value-that-nobody-may-read";

let environment: Readonly<Record<string, string>>;
let folder: string;

interface Ran {
  readonly exitCode: number | undefined;
  /** Standard output and standard error, in order. */
  readonly all: string;
}

/** Runs plain `pulumi`, as a user does after `eval "$(make -s env)"`. */
async function pulumi(...args: string[]): Promise<Ran> {
  const options = { cwd: PROJECT_DIRECTORY, env: { ...environment, PULUMI_EXPERIMENTAL: "true" } };
  const { exitCode, all } = await execa("pulumi", [...args, "--non-interactive"], {
    ...options,
    reject: false,
    all: true,
  });
  return { exitCode, all };
}

/** Runs a plain `pulumi` command that must succeed, and returns its output. */
async function succeeded(...args: string[]): Promise<string> {
  const { all, exitCode } = await pulumi(...args);
  if (exitCode !== 0) throw new Error(`pulumi ${args.join(" ")}: ${all}`);
  return all;
}

function write(settings: PairStack = {}): void {
  writeStack({ namespace: NAMESPACE, ...settings });
}

/** Runs `make drift`. It fails if there is a drift. */
async function drift(): Promise<DriftReport> {
  const { stdout, exitCode } = await execa(
    "make",
    ["--no-print-directory", "drift", `STACK=${STACK}`, "JSON=1"],
    { cwd: PROJECT_DIRECTORY, reject: false },
  );
  const report = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as DriftReport;
  expect(exitCode !== 0).toBe(isDrift(report));
  return report;
}

async function previewed(): Promise<readonly Change[]> {
  return (await make<{ changes: readonly Change[] }>("preview", "JSON=1")).result.changes;
}

/** Returns the names of the objects of some kinds in the namespace. */
async function names(kinds: string): Promise<string[]> {
  const scene = await Scene.now();
  const found = await scene.kubectl("get", kinds, "-o", "name");
  return found.split("\n").sort();
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dubbo-mesh-engine-"));
  write();
  await make<UpReport>("up", "JSON=1");
  environment = (await make<Record<string, string>>("env", "JSON=1")).result;
});

afterAll(async () => {
  await make("down", CONFIRM);
  rmSync(folder, { recursive: true });
});

describe("plain pulumi", () => {
  it("previews no change for a mesh that make deployed", async () => {
    expect(await succeeded("preview", "-s", STACK, "--expect-no-changes")).toMatch(/\d+ unchanged/);
    const outputs = z.object({ namespace: z.string() });
    expect(outputs.parse(JSON.parse(await succeeded("stack", "output", "-s", STACK, "--json")))).toEqual({
      namespace: NAMESPACE,
    });
  });

  it("rejects a bad change by the policy pack, and accepts a good one", async () => {
    const pack = ["--policy-pack", "policy/pack"];
    expect(await succeeded("preview", "-s", STACK, ...pack)).toContain("dubbo-mesh");
    write({ security: { mtls: "PERMISSIVE" } });
    const { exitCode, all } = await pulumi("preview", "-s", STACK, ...pack);
    write();
    expect(exitCode).not.toBe(0);
    expect(all).toMatch(/\[mandatory\]/);
  });

  it("applies a saved plan, and rejects it if the program has changed", async () => {
    const plan = join(folder, "plan.json");
    const versions = (weight: number): PairStack => ({
      traffic: { perTryTimeout: `${weight}s` },
    });
    write(versions(2));
    await succeeded("preview", "-s", STACK, "--save-plan", plan);
    expect(await succeeded("up", "--yes", "--skip-preview", "-s", STACK, "--plan", plan)).toMatch(
      /1 updated/,
    );
    await succeeded("preview", "-s", STACK, "--save-plan", plan);
    write(versions(3));
    const { exitCode, all } = await pulumi("up", "--yes", "--skip-preview", "-s", STACK, "--plan", plan);
    expect(exitCode).not.toBe(0);
    expect(all).toMatch(/violates plan/);
    write(versions(2));
    expect(await previewed()).toEqual([]);
  });
});

describe("what was changed by hand", () => {
  it("is found by a refresh, and overwritten by up", async () => {
    const scene = await Scene.now();
    const read = (object: string, path: string): Promise<string> =>
      scene.kubectl("get", object, "-o", `jsonpath={${path}}`);
    const provider = `deployment/${PROVIDER}-v1`;
    const imagePath = ".spec.template.spec.containers[0].image";
    const image = await read(provider, imagePath);
    const wrong = image.replace(/@sha256:.*/, ":wrong");
    await scene.kubectl("set", "image", provider, `app=${wrong}`);
    const patch = '{"spec":{"mtls":{"mode":"PERMISSIVE"}}}';
    await scene.kubectl("patch", "peerauthentication", "default", "--type=merge", "-p", patch);
    const { changes, fields, undeclared } = await drift();
    expect(
      changes.map(({ operation, target }) => `${operation} ${target.split(" ")[0] ?? ""}`).sort(),
    ).toEqual([
      "update kubernetes:apps/v1:Deployment",
      "update kubernetes:security.istio.io/v1:PeerAuthentication",
    ]);
    expect(fields.map(({ what, field, value, manager }) => ({ what, field, value, manager }))).toEqual(
      expect.arrayContaining([
        { what: "changed", field: "spec.mtls.mode", value: "PERMISSIVE", manager: "kubectl-patch" },
        {
          what: "changed",
          field: expect.stringContaining("image") as unknown,
          value: wrong,
          manager: "kubectl-set",
        },
      ]),
    );
    expect(fields).toHaveLength(2);
    expect(undeclared).toEqual([]);
    const { result } = await make<UpReport>("up", "JSON=1");
    expect(result.changes).toHaveLength(2);
    expect(await read("peerauthentication/default", ".spec.mtls.mode")).toBe("STRICT");
    expect(await read(provider, imagePath)).toBe(image);
    expect(isDrift(await drift())).toBe(false);
  });
});

describe("what others add by hand", () => {
  it("is found, and the printed commands remove it", async () => {
    const scene = await Scene.now();
    const rolledOut = async (): Promise<void> => {
      for (const name of [CONSUMER, `${PROVIDER}-v1`])
        await scene.kubectl("rollout", "status", `deployment/${name}`);
    };
    const tls = '{"spec":{"trafficPolicy":{"tls":{"mode":"DISABLE"}}}}';
    await scene.kubectl("patch", "destinationrule", PROVIDER, "--type=merge", "-p", tls);
    await scene.kubectl("set", "env", `deployment/${CONSUMER}`, "BY_HAND=1");
    await scene.kubectl("rollout", "restart", "deployment", `${PROVIDER}-v1`);
    await scene.apply({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "by-hand" },
      spec: { podSelector: { matchLabels: { app: "no-app-of-the-stack" } } },
    });
    await rolledOut();
    const { changes, fields, undeclared } = await drift();
    expect(changes).toEqual([]);
    expect(fields.map(({ what, object, value, manager }) => ({ what, object, value, manager }))).toEqual(
      expect.arrayContaining([
        {
          what: "added",
          object: `DestinationRule/${PROVIDER}`,
          value: { mode: "DISABLE" },
          manager: "kubectl-patch",
        },
        {
          what: "added",
          object: `Deployment/${CONSUMER}`,
          value: { name: "BY_HAND", value: "1" },
          manager: "kubectl-set",
        },
      ]),
    );
    expect(fields).toHaveLength(2);
    expect(undeclared.map(({ object }) => object)).toEqual(["NetworkPolicy/by-hand"]);
    for (const { mend } of [...fields, ...undeclared]) await execa("sh", ["-c", mend]);
    await rolledOut();
    expect(isDrift(await drift())).toBe(false);
  });
});

describe("an encrypted value", () => {
  const path = join(PROJECT_DIRECTORY, `Pulumi.${STACK}.yaml`);
  const KEY = "dubbo.application.owner";

  it("reaches the application, but shows in neither state nor preview", async () => {
    write({ consumer: { properties: { [KEY]: "" } } });
    const property = `dubbo-mesh:services[1].properties["${KEY}"]`;
    await succeeded("config", "set", "-s", STACK, "--path", "--secret", property, SECRET);
    expect(readFileSync(path, "utf8")).not.toContain(SECRET);
    expect(await succeeded("preview", "-s", STACK, "--diff")).not.toContain(SECRET);
    await make<UpReport>("up", "JSON=1");
    const scene = await Scene.now();
    expect(await scene.kubectl("get", "deployment", CONSUMER, "-o", "json")).toContain(SECRET);
    expect(await succeeded("stack", "export", "-s", STACK)).not.toContain(SECRET);
    expect(isDrift(await drift())).toBe(false);

    await succeeded("config", "set", "-s", STACK, "--path", "dubbo-mesh:healthCheck.interval", "7s");
    const diff = await succeeded("preview", "-s", STACK, "--diff");
    expect(diff).toMatch(/interval *: "\w+" => "7s"/);
    expect(diff).not.toContain(SECRET);
    write();
    await make<UpReport>("up", "JSON=1");
  });
});

describe("an exported state", () => {
  it("can be imported into the stack", async () => {
    const file = join(folder, "state.json");
    const salt = readFileSync(join(PROJECT_DIRECTORY, `Pulumi.${STACK}.yaml`), "utf8");
    await succeeded("stack", "export", "-s", STACK, "--file", file);
    await succeeded("stack", "rm", STACK, "--force", "--yes", "--preserve-config");
    await succeeded("stack", "init", STACK);
    writeFileSync(join(PROJECT_DIRECTORY, `Pulumi.${STACK}.yaml`), salt);
    await succeeded("stack", "import", "-s", STACK, "--file", file);
    expect(await previewed()).toEqual([]);
  });
});

/** Returns the ids of processes whose command line matches. */
async function processes(pattern: string): Promise<number[]> {
  const { stdout } = await execa("pgrep", ["-f", pattern], { reject: false });
  return stdout.split("\n").flatMap((line) => (line === "" ? [] : [Number(line)]));
}

describe("an engine that is killed while it creates a Deployment", () => {
  it("leaves a stack that repair and up complete, without duplicate objects", async () => {
    await make("down", CONFIRM);
    const updating = pulumi("up", "--yes", "--skip-preview", "-s", STACK);
    await until("the provider's Deployment is being made", 120, async () => {
      const scene = await Scene.now();
      const found = await scene.kubectl("get", "deployments", "-o", "name").catch(() => "");
      return found.includes(`${PROVIDER}-v1`) ? true : undefined;
    });
    const killed = [
      ...(await processes("pulumi up --yes")),
      ...(await processes("pulumi-resource-kubernetes")),
    ];
    expect(killed.length).toBeGreaterThanOrEqual(2);
    for (const pid of killed) process.kill(pid, "SIGKILL");
    await updating;
    // The program ends because it has lost its engine.
    await until("the program ends", 30, async () =>
      (await processes("@pulumi/pulumi/cmd/run")).length === 0 ? true : undefined,
    );
    const { result: repair } = await make<{ repair: Repair }>("repair", "JSON=1");
    expect(repair.repair.unlocked).toBe(true);
    expect(repair.repair.interrupted.length).toBeGreaterThan(0);
    const { result } = await make<UpReport>("up", "JSON=1");
    expect(result.reply).toContain(`response from provider`);
    expect(await previewed()).toEqual([]);
    expect(await names("deployments")).toEqual(
      [`deployment.apps/${CONSUMER}`, `deployment.apps/${PROVIDER}-v1`].sort(),
    );
    const urns = z.object({ deployment: z.object({ resources: z.array(z.object({ urn: z.string() })) }) });
    const { resources } = urns.parse(JSON.parse(await succeeded("stack", "export", "-s", STACK))).deployment;
    expect(new Set(resources.map(({ urn }) => urn)).size).toBe(resources.length);
  });
});

describe("a production stack", () => {
  it("is not destroyed by plain pulumi, and by make only with confirmation", async () => {
    const security = { identities: "per-workload", networkPolicy: true, defaultDeny: true };
    write({ production: true, security });
    await make<UpReport>("up", "JSON=1", CONFIRM);
    const { exitCode, all } = await pulumi("destroy", "--yes", "--skip-preview", "-s", STACK);
    expect(exitCode).not.toBe(0);
    expect(all).toMatch(/protected/);
    const scene = await Scene.now();
    expect(await scene.mesh.pods(PROVIDER)).not.toEqual([]);
    await expect(make("down", "JSON=1")).rejects.toThrow("is production");
    await make("down", CONFIRM);
    await sleep(1000);
    await expect(scene.kubectl("get", "namespace", NAMESPACE)).rejects.toThrow("not found");
  });
});
