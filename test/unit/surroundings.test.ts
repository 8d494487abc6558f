import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it, vi } from "vitest";
import program from "../../index.ts";
import { UserError } from "../../lib/errors.ts";
import { checkStack, unchecked } from "../../stack/checks.ts";
import { parseSettings } from "../../settings.ts";
import { register } from "./components/mocks.ts";
import { userError } from "./tools/user-error.ts";

const settings = {
  context: "elsewhere",
  services: "[{ app: provider, image: 'r/p:1' }, { app: consumer, image: 'r/c:1' }]",
};

function configure(): void {
  const entries = Object.entries(settings).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
  pulumi.runtime.setAllConfig(Object.fromEntries(entries) as Record<string, string>);
}

/** Runs the program under mocks; its error, and what it registered before. */
async function run(work: () => Promise<unknown>): Promise<{ error: unknown; registered: readonly string[] }> {
  let error: unknown;
  const { resources } = await register(async () => {
    configure();
    await work().catch((thrown: unknown) => {
      error = thrown;
    });
  });
  return { error, registered: resources.map(({ name }) => name) };
}

/** The folder of a project with these stacks, each with a context and a kubeconfig. */
function project(kubeconfig: string, stacks: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  for (const [stack, context] of Object.entries(stacks)) {
    const keys = { context, kubeconfig, registry: "r.test/org" };
    const lines = Object.entries(keys).map(([key, value]) => `  dubbo-mesh:${key}: ${value}\n`);
    writeFileSync(join(directory, `Pulumi.${stack}.yaml`), `config:\n${lines.join("")}`);
  }
  return directory;
}

describe("the program", () => {
  it("is checked before it declares anything, and refuses with one error and its fix", async () => {
    const fault = new UserError("the cluster is on fire", "Put it out.");
    const { error, registered } = await run(() =>
      program(async () => {
        // As long as a cluster takes to answer.
        await new Promise((resolve) => setTimeout(resolve, 20));
        throw fault;
      }),
    );
    expect(pulumi.RunError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ message: "the cluster is on fire\nPut it out.", stack: "" });
    expect(registered).toEqual([]);
  });

  it("is checked as Pulumi runs it: without arguments", async () => {
    vi.stubEnv("KUBECONFIG", "/nowhere/kubeconfig");
    const { error, registered } = await run(() => program());
    vi.unstubAllEnvs();
    expect(error).toMatchObject({
      message:
        "the kubeconfig cannot be read: ENOENT: no such file or directory, open '/nowhere/kubeconfig'\nCheck its path and content.",
    });
    expect(registered).toEqual([]);
  });

  it("declares all it has where nothing is wrong", async () => {
    const { error, registered } = await run(() => program(unchecked));
    expect(error).toBeUndefined();
    expect(registered).toContain("mesh");
  });
});

describe("a stack", () => {
  it("that goes where another one goes is refused before the cluster is asked", async () => {
    const directory = project("/nowhere/kubeconfig", { a: "x", b: "x" });
    const raw = { context: "x", kubeconfig: "/nowhere/kubeconfig", registry: "r.test/org" };
    const placed = { directory, settings: parseSettings(raw) };
    expect(await userError(checkStack({ ...placed, stack: "a" }))).toEqual({
      message: "stacks a and b both go to namespace dubbo-demo of x",
      fix: "Give one of them another namespace: dubbo-mesh:namespace in Pulumi.a.yaml.",
    });
  });

  it("that goes nowhere is refused", async () => {
    const directory = project("/nowhere/kubeconfig", { a: "x", b: "y" });
    const raw = { context: "x", kubeconfig: "/nowhere/kubeconfig", registry: "r.test/org" };
    const placed = { directory, settings: parseSettings(raw) };
    expect((await userError(checkStack({ ...placed, stack: "a" }))).message).toBe(
      "the kubeconfig cannot be read: ENOENT: no such file or directory, open '/nowhere/kubeconfig'",
    );
  });
});
