import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { type EngineEvent, PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { changeOf, driftOf, Engine, engineEnvironment } from "../../../tools/engine/engine.ts";
import { parseYaml } from "../../../common/yaml.ts";
import { readStackFile, type StackFile } from "../../../stack/stack-file.ts";
import { type Answer, fakeCommand, type FakeCommand } from "./fake-command.ts";
import { userError } from "./user-error.ts";

const VERSION = { stdout: "v3.259.0\n" };
/** Key that marks a secret value in Pulumi's state and events. */
const SECRET = "4dabf18193072939515e22adb298388d";

let home: string;
beforeEach(() => {
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
  home = realpathSync(mkdtempSync(join(tmpdir(), "dubbo-mesh-home-")));
  vi.stubEnv("PATH", "/nowhere");
  vi.stubEnv("HOME", home);
  for (const name of ["HOME", "BACKEND_URL", "CONFIG_PASSPHRASE", "CONFIG_PASSPHRASE_FILE"]) {
    vi.stubEnv(`PULUMI_${name}`, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

/** A CLI on PATH. */
function onPath(...answers: Answer[]): FakeCommand {
  const fake = fakeCommand("pulumi", answers, false);
  vi.stubEnv("PATH", fake.folder);
  return fake;
}

async function stack(overrides: Readonly<Record<string, string>> = {}): Promise<StackFile> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "dubbo-mesh-test-")));
  writeFileSync(join(directory, "Pulumi.yaml"), "name: dubbo-mesh\nruntime: nodejs\n");
  writeFileSync(join(directory, "Pulumi.test.yaml"), "config:\n  dubbo-mesh:cluster: local\n");
  return readStackFile(directory, "test", overrides);
}

describe("the change in an event of the engine", () => {
  const event = (op: string, diffs?: string[]): EngineEvent =>
    ({
      sequence: 1,
      timestamp: 1,
      resourcePreEvent: {
        metadata: {
          op,
          urn: "urn:pulumi:test::dubbo-mesh::dubbo-mesh:service:DubboService$kubernetes:core/v1:Service::provider-service",
          type: "kubernetes:core/v1:Service",
          diffs,
        },
      },
    }) as unknown as EngineEvent;
  const target = "kubernetes:core/v1:Service provider-service";

  it.each(["create", "update", "replace", "delete"])("is found: %s", (operation) => {
    expect(changeOf(event(operation))).toEqual([{ operation, target }]);
    expect(changeOf(event(operation, []))).toEqual([{ operation, target }]);
  });

  it("names the properties that differ", () => {
    expect(changeOf(event("update", ["spec", "metadata"]))).toEqual([
      { operation: "update", target, detail: "spec, metadata" },
    ]);
  });

  // A replacement has three events; only `replace` counts.
  it.each(["same", "read", "refresh", "import", "create-replacement", "delete-replaced", "discard-replaced"])(
    "is ignored: %s",
    (operation) => {
      expect(changeOf(event(operation, ["spec"]))).toEqual([]);
    },
  );

  it("is undefined for other events", () => {
    expect(changeOf({ sequence: 1, timestamp: 1, cancelEvent: {} })).toEqual([]);
  });
});

describe("the drift in an event of a refresh", () => {
  const urn = "urn:pulumi:test::dubbo-mesh::kubernetes:core/v1:Service::provider-service";
  const event = (op: string): EngineEvent =>
    ({
      sequence: 1,
      timestamp: 1,
      resOutputsEvent: { metadata: { op, urn, type: "kubernetes:core/v1:Service", diffs: ["spec"] } },
    }) as unknown as EngineEvent;

  it.each(["update", "delete"])("is found: %s", (operation) => {
    const target = "kubernetes:core/v1:Service provider-service";
    expect(driftOf(event(operation))).toEqual([{ operation, target, detail: "spec" }]);
  });

  it("is undefined if the object is unchanged, or its refresh only begins", () => {
    expect(driftOf(event("refresh"))).toEqual([]);
    expect(driftOf(event("same"))).toEqual([]);
    expect(driftOf({ sequence: 1, timestamp: 1, resourcePreEvent: {} } as EngineEvent)).toEqual([]);
  });
});

describe("Pulumi's engine", () => {
  const EMPTY = { stdout: JSON.stringify({ version: 3, deployment: { resources: [] } }) };
  const FAILURE = { stderr: "error: no good\n", code: 255 };
  const FIX = "Fix the reported problem and run the command again; the stack's state is kept.";

  async function engine(file: StackFile): Promise<Engine> {
    const command = await PulumiCommand.get({ skipVersionCheck: true });
    return new Engine(file, { command, env: {} });
  }

  it("updates the stack in the project's folder, and refreshes it", async () => {
    const fake = onPath(VERSION, FAILURE);
    const file = await stack();
    expect(await userError((await engine(file)).up())).toEqual({
      message: "pulumi up failed: error: no good",
      fix: FIX,
    });
    const [, update, ...more] = fake.calls();
    expect(more).toEqual([]);
    expect(update?.directory).toBe(file.directory);
    expect(update?.args.slice(0, 4)).toEqual(["up", "--yes", "--skip-preview", "--refresh"]);
    expect(update?.args.slice(-3)).toEqual(["--stack", "test", "--non-interactive"]);
    expect(update?.args).not.toContain("--config-file");
  });

  it("creates a missing stack, and runs the command again", async () => {
    const missing = { stderr: "error: no stack named 'test' found\n", code: 255 };
    const verbs = (fake: FakeCommand): string[] => fake.calls().map(({ args }) => args.slice(0, 2).join(" "));
    const updated = onPath(VERSION, missing, {}, FAILURE);
    expect((await userError((await engine(await stack())).up())).message).toBe(
      "pulumi up failed: error: no good",
    );
    expect(verbs(updated)).toEqual(["version", "up --yes", "stack init", "up --yes"]);
    const unprotected = onPath(VERSION, missing, {}, {});
    await (await engine(await stack())).unprotect();
    expect(verbs(unprotected)).toEqual(["version", "state unprotect", "stack init", "state unprotect"]);
  });

  describe("updates one object only", () => {
    const urn =
      "urn:pulumi:test::dubbo-mesh::kubernetes:networking.istio.io/v1:VirtualService::mesh-a-routes";
    const virtualService = (name: string): object => ({
      urn,
      type: "kubernetes:networking.istio.io/v1:VirtualService",
      inputs: { apiVersion: "networking.istio.io/v1", kind: "VirtualService", metadata: { name } },
    });
    const service = {
      urn: "urn:pulumi:test::dubbo-mesh::kubernetes:core/v1:Service::mesh-a-service",
      type: "kubernetes:core/v1:Service",
      inputs: { apiVersion: "v1", kind: "Service", metadata: { name: "a" } },
    };
    const state = (...resources: object[]): Answer => ({
      stdout: JSON.stringify({ version: 3, deployment: { resources } }),
    });

    it("by its URN in the state", async () => {
      const fake = onPath(VERSION, state(service, virtualService("a")), FAILURE);
      expect((await userError((await engine(await stack())).upObject("VirtualService", "a"))).message).toBe(
        "pulumi up --target VirtualService/a failed: error: no good",
      );
      const { args = [] } = fake.calls()[2] ?? {};
      expect(args[0]).toBe("up");
      expect(args.filter((arg, index) => arg === "--target" || args[index - 1] === "--target")).toEqual([
        "--target",
        urn,
      ]);
    });

    it("but not all of them if it does not exist", async () => {
      const fake = onPath(VERSION, state(service, virtualService("b")));
      expect(await userError((await engine(await stack())).upObject("VirtualService", "a"))).toEqual({
        message: "stack test has no VirtualService a",
        fix: "Run `make up STACK=test` first.",
      });
      expect(fake.calls().map(({ args }) => args[0])).toEqual(["version", "stack"]);
    });
  });

  it("reads a copy with overrides, which it removes, and refreshes only the local cluster", async () => {
    const fake = onPath(VERSION, FAILURE);
    const file = await stack({ cluster: "existing", context: "minikube", registry: "r.test/org" });
    await userError((await engine(file)).down());
    const { args = [], configFile = "" } = fake.calls()[1] ?? {};
    expect(args[0]).toBe("destroy");
    const copy = args[args.indexOf("--config-file") + 1] ?? "";
    expect(basename(copy)).toBe("Pulumi.test.yaml");
    expect(existsSync(dirname(copy))).toBe(false);
    expect(parseYaml(readFileSync(configFile, "utf8"))).toEqual(file.overridden);
    expect(statSync(configFile).mode & 0o777).toBe(0o600);
    expect(args).not.toContain("--refresh");
  });

  it("reports the engine's diagnostics, without its progress and counts", async () => {
    const stdout = `Updating (test):

@ updating....
 +  kubernetes:core/v1:Service provider-service creating (0s) error: conflict
Diagnostics:
  kubernetes:core/v1:Service (provider-service):
    error: conflict
      with what is there

Resources:
    + 1 created

Duration: 1s
`;
    onPath(VERSION, { stdout, code: 255 });
    expect(await userError((await engine(await stack())).up())).toEqual({
      message:
        "pulumi up failed: \n  kubernetes:core/v1:Service (provider-service):\n    error: conflict\n      with what is there",
      fix: FIX,
    });
  });

  it("reports the program's error and its fix as one", async () => {
    const error = "stacks a and b both deploy to namespace n of c";
    const stdout = (lines: string): string =>
      `Diagnostics:\n  pulumi:pulumi:Stack (dubbo-mesh-test):\n${lines}\nResources:\n    1 unchanged\n`;
    const failure = async (lines: string): Promise<unknown> => {
      onPath(VERSION, { stdout: stdout(lines), code: 255 });
      return userError((await engine(await stack())).up());
    };
    expect(await failure(`    error: ${error}\n    Give one another.\n`)).toEqual({
      message: error,
      fix: "Give one another.",
    });
    expect(await failure(`    error: ${error}\n`)).toMatchObject({ fix: FIX });
    expect(await failure(`    error: ${error}\n    Fix.\n    error: another\n`)).toMatchObject({ fix: FIX });
    const unhandled = "Running program 'index.ts' failed with an unhandled exception:";
    expect(await failure(`    error: ${unhandled}\n    Error: x\n`)).toMatchObject({ fix: FIX });
  });

  it("previews without an update", async () => {
    // The CLI sends its summary over a connection that the fake does not open.
    vi.spyOn(console, "warn").mockReturnValue();
    const fake = onPath(VERSION, EMPTY, {});
    expect(await (await engine(await stack())).preview()).toEqual({ changes: [], warnings: [] });
    expect(fake.calls().map(({ env }) => env["PULUMI_SKIP_CHECKPOINTS"])).toEqual([
      ...[undefined, undefined, "true"],
    ]);
    expect(fake.calls().map(({ args }) => args.slice(0, 2).join(" "))).toEqual([
      "version",
      "stack export",
      "preview --refresh",
    ]);
  });

  describe("previews changes that callers notice", () => {
    // The last version that writes its events to a file, like the fake.
    const OLD = { stdout: "v3.200.0\n" };
    const urnOf = (type: string, name: string): string => `urn:pulumi:test::dubbo-mesh::x$${type}::${name}`;
    const resource = (type: string, name: string, kind: string, more: object = {}): object => ({
      urn: urnOf(type, name),
      type,
      inputs: { apiVersion: "v1", kind, metadata: { name: `the-${name}` }, ...more },
    });
    const SERVICE = "kubernetes:core/v1:Service";
    const NAMESPACE = "kubernetes:core/v1:Namespace";
    const resources = [
      resource(NAMESPACE, "ns", "Namespace"),
      resource(SERVICE, "a", "Service"),
      resource(SERVICE, "b", "Service"),
      { ...resource(SERVICE, "c", "Service"), delete: true },
      { urn: urnOf("dubbo-mesh:x:X", "x"), type: "dubbo-mesh:x:X", inputs: {} },
      {
        urn: urnOf("kubernetes:helm.sh/v3:Release", "istio"),
        type: "kubernetes:helm.sh/v3:Release",
        inputs: { name: "istiod" },
      },
    ];
    const STATE: Answer = { stdout: JSON.stringify({ version: 3, deployment: { resources } }) };
    const event = (op: string, type: string, name: string): object => ({
      resourcePreEvent: { metadata: { op, type, urn: urnOf(type, name) } },
    });
    const summary = { summaryEvent: { resourceChanges: {} } };
    const kept = [
      event("same", "dubbo-mesh:x:X", "x"),
      event("same", "kubernetes:helm.sh/v3:Release", "istio"),
    ];
    const gone = (name: string): object => ({
      target: `Service/the-${name}`,
      text: `the-${name} cannot be called any more; no service of the stack calls it, but others may.`,
    });
    const refused = (...errors: string[]): Answer => ({
      stdout: `Diagnostics:\n${errors.map((error) => `    error: ${error}`).join("\n")}\n\nResources:\n    1 unchanged\n`,
      code: 255,
    });
    const PROTECTED = 'Preview failed: resource "urn" cannot be deleted\n    because it is protected.';

    it("for deleted and replaced resources, once each", async () => {
      const events = [
        ...[event("refresh", SERVICE, "b"), event("same", NAMESPACE, "ns"), ...kept],
        ...["create-replacement", "replace", "delete-replaced"].map((op) => event(op, SERVICE, "a")),
        ...[event("delete", SERVICE, "b"), summary],
      ];
      onPath(OLD, STATE, { events });
      expect(await (await engine(await stack())).preview()).toEqual({
        changes: [
          { operation: "replace", target: `${SERVICE} a` },
          { operation: "delete", target: `${SERVICE} b` },
        ],
        warnings: [
          {
            target: "Service/the-a",
            text: "the-a cannot be called until its Service is created again; no service of the stack calls it, but others may.",
          },
          gone("b"),
        ],
      });
    });

    it("if the engine stops at a protected resource, with the remaining ones", async () => {
      const events = [
        ...[event("refresh", SERVICE, "b"), event("same", NAMESPACE, "ns"), ...kept],
        ...[event("delete", SERVICE, "a"), summary],
      ];
      onPath(OLD, STATE, { events, ...refused(PROTECTED, "preview failed") });
      expect(await (await engine(await stack())).preview()).toEqual({
        changes: ["a", "b"].map((name) => ({ operation: "delete", target: `${SERVICE} ${name}` })),
        warnings: [gone("a"), gone("b")],
      });
      onPath(OLD, STATE, { events, ...refused(PROTECTED) });
      expect(await (await engine(await stack())).forecast()).toEqual({
        warnings: [gone("a"), gone("b")],
        lostImages: [],
      });
    });

    it("without a preview if the stack has no resources", async () => {
      const fake = onPath(OLD, EMPTY);
      expect(await (await engine(await stack())).forecast()).toEqual({ warnings: [], lostImages: [] });
      expect(fake.calls().map(({ args }) => args.slice(0, 2).join(" "))).toEqual(["version", "stack export"]);
    });

    const outputs = { namespace: "demo", images: { a: "x@sha256:1" } };
    const seen = (found: object, op = "same"): object => ({
      resOutputsEvent: { metadata: { op, type: "pulumi:pulumi:Stack", new: { outputs: found } } },
    });

    it("and updates without a question for outputs and history", async () => {
      const events = [
        seen({ namespace: "old" }, "refresh"),
        event("create", SERVICE, "a"),
        seen(outputs),
        summary,
      ];
      const fake = onPath(OLD, { events });
      expect(await (await engine(await stack())).up()).toEqual({
        outputs,
        changes: [{ operation: "create", target: `${SERVICE} a` }],
      });
      expect(fake.calls().map(({ args }) => args[0])).toEqual(["version", "up"]);
    });

    it("and asks for outputs if one is secret", async () => {
      const events = [
        seen({ key: "old" }, "refresh"),
        seen({ key: { [SECRET]: "1b", value: "[secret]" } }),
        summary,
      ];
      const masked = { stdout: JSON.stringify({ key: "[secret]" }) };
      const plain = { stdout: JSON.stringify({ key: "a" }) };
      // The Automation API asks for both at the same time.
      const fake = onPath(OLD, { events }, masked, plain);
      const { outputs: found } = await (await engine(await stack())).up();
      expect(Object.keys(found)).toEqual(["key"]);
      expect(
        fake
          .calls()
          .slice(2)
          .map(({ args }) => args.slice(0, 2).join(" ")),
      ).toEqual([...["stack output", "stack output"]]);
    });

    describe("and reports if there is nothing to do", () => {
      const root = (found: object): object => ({
        urn: urnOf("pulumi:pulumi:Stack", "x"),
        type: "pulumi:pulumi:Stack",
        outputs: found,
      });
      const forecast = async (found: object, deployment: object, ...more: object[]): Promise<unknown> => {
        const stdout = JSON.stringify({
          version: 3,
          deployment: { resources: [root(outputs)], ...deployment },
        });
        onPath(OLD, { stdout }, { events: [...more, seen(found), summary] });
        return (await engine(await stack())).forecast();
      };

      it("if outputs and objects are unchanged", async () => {
        expect(await forecast(outputs, {})).toEqual({ warnings: [], lostImages: [], outputs });
      });

      it.each([
        ["an object changes", outputs, {}, [event("update", SERVICE, "a")]],
        ["an output changes", { ...outputs, namespace: "other" }, {}, []],
        [
          "something was begun and not ended",
          outputs,
          { pending_operations: [{ type: "creating", resource: { urn: urnOf(SERVICE, "a") } }] },
          [],
        ],
        [
          "an output is secret",
          {
            key: {
              [SECRET]: "1b47061264138c4ac30d75fd1eb44270",
              ciphertext: "v1:x",
            },
          },
          {
            resources: [
              root({
                key: {
                  [SECRET]: "1b47061264138c4ac30d75fd1eb44270",
                  ciphertext: "v1:x",
                },
              }),
            ],
          },
          [],
        ],
      ])("but not if %s", async (_, found, deployment, more) => {
        expect(await forecast(found, deployment, ...more)).toEqual({ warnings: [], lostImages: [] });
      });
    });

    describe("with images that the local registry", () => {
      const URN = urnOf("docker:index/image:Image", "mesh-a");
      const image = (repoDigest: string): object => ({
        urn: URN,
        type: "docker:index/image:Image",
        inputs: {},
        outputs: { repoDigest },
      });
      const PUSHED = "localhost:5001/org/a@sha256:1";
      const forecast = async (answers: Answer[], repoDigest = PUSHED, overrides = {}) => {
        const stdout = JSON.stringify({ version: 3, deployment: { resources: [image(repoDigest)] } });
        const pulumi = onPath(OLD, { stdout }, { events: [summary] });
        const docker = fakeCommand("docker", answers, false);
        if (answers.length > 0) vi.stubEnv("PATH", [pulumi.folder, docker.folder].join(delimiter));
        const { lostImages } = await (await engine(await stack(overrides))).forecast();
        const args = pulumi.calls().at(-1)?.args ?? [];
        return { lostImages, replaces: args.includes("--replace"), asked: docker.calls() };
      };

      it("has lost: previews them again", async () => {
        const { lostImages, replaces, asked } = await forecast([{ code: 1 }]);
        expect([lostImages, replaces]).toEqual([[URN], true]);
        const path = "/var/lib/registry/docker/registry/v2/repositories/org/a/_manifests/revisions";
        expect(asked.map(({ args }) => args)).toEqual([
          ["exec", "dubbo-mesh-registry", "test", "-e", `${path}/sha256/1/link`],
        ]);
      });

      it.each<[string, Answer[]]>([
        ["has", [{}]],
        ["does not tell, because it does not run", [{ stderr: "Error: No such container", code: 1 }]],
        ["does not tell, because there is no docker", []],
      ])("%s: leaves them", async (_, answers) => {
        expect(await forecast(answers)).toMatchObject({ lostImages: [], replaces: false });
      });

      it("does not hold: asks nothing", async () => {
        const unasked = { lostImages: [], replaces: false, asked: [] };
        expect(await forecast([{ code: 1 }], "r.test/org/a@sha256:1")).toEqual(unasked);
        // Another registry may have the same address.
        const existing = { cluster: "existing", context: "kind-mine", registry: "localhost:5001/org" };
        expect(await forecast([{ code: 1 }], PUSHED, existing)).toEqual(unasked);
      });
    });

    it("and fails on any other error", async () => {
      onPath(OLD, STATE, { events: [summary], ...refused(PROTECTED, "no good") });
      expect((await userError((await engine(await stack())).preview())).message).toContain("error: no good");
    });
  });

  it("removes protection, only in the state", async () => {
    const fake = onPath(VERSION, {});
    const file = await stack();
    await (await engine(file)).unprotect();
    const [, unprotect] = fake.calls();
    expect(unprotect?.args).toEqual(["state", "unprotect", "--all", "--yes", "--stack", "test"]);
    expect(unprotect?.directory).toBe(file.directory);
    expect(unprotect?.env["PULUMI_BACKEND_URL"]).toBe("file://~");
  });

  it("removes protection before it removes a production stack, and only then", async () => {
    vi.spyOn(console, "warn").mockReturnValue();
    const verbs = async (overrides: Readonly<Record<string, string>>): Promise<(string | undefined)[]> => {
      const fake = onPath(VERSION, ...Array<Answer>(4).fill({}));
      await (await engine(await stack(overrides))).down();
      return fake.calls().map(({ args }) => args[0]);
    };
    const security = '{"identities":"per-workload","networkPolicy":true,"defaultDeny":true}';
    const production = ["version", "state", "destroy"];
    expect(await verbs({ production: "true", security })).toEqual(production);
    expect(await verbs({ security })).toEqual(["version", "destroy"]);
  });

  describe("after an interrupted update", () => {
    const lockedBy = (host: string, pid: number): Answer => ({
      stderr:
        "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the lock file " +
        `with \`pulumi cancel\`.\n  file:///state/lock.json: created by me@${host} (pid ${pid}) at 2026-01-01T00:00:00Z\n`,
      code: 255,
    });
    const urn = "urn:pulumi:test::dubbo-mesh::dubbo-mesh:c:C$kubernetes:apps/v1:Deployment::provider-v1";
    const state = (operations: readonly object[]): Answer => ({
      stdout: JSON.stringify({ version: 3, deployment: { pending_operations: operations } }),
    });
    const BUSY = state([{ type: "updating", resource: { urn } }]);
    const verbs = (fake: FakeCommand): string[] => fake.calls().map(({ args }) => args.slice(0, 2).join(" "));

    beforeEach(() => {
      // The CLI sends its summary over a connection that the fake does not open.
      vi.spyOn(console, "warn").mockReturnValue();
    });

    it("names the repair command if the stack is locked", async () => {
      onPath(VERSION, lockedBy("elsewhere", 1));
      expect(await userError((await engine(await stack())).up())).toMatchObject({
        fix: "If no other command is running, run `make repair STACK=test`.",
      });
    });

    it("releases the lock, and updates the state from the cluster", async () => {
      const fake = onPath(VERSION, BUSY, lockedBy("elsewhere", process.pid), {}, {});
      expect(await (await engine(await stack())).repair()).toEqual({
        unlocked: true,
        interrupted: ["updating kubernetes:apps/v1:Deployment provider-v1"],
        changes: [],
      });
      expect(verbs(fake).slice(1, 5)).toEqual([
        "stack export",
        "refresh --skip-preview",
        "cancel --yes",
        "refresh --skip-preview",
      ]);
      expect(fake.calls()[4]?.args).toContain("--clear-pending-creates");
    });

    it("releases the lock of an ended process on this machine", async () => {
      // Linux has no process with such a high number.
      const fake = onPath(VERSION, BUSY, lockedBy(hostname(), 2 ** 30), {}, {});
      expect(await (await engine(await stack())).repair()).toMatchObject({ unlocked: true });
      expect(verbs(fake)).toContain("cancel --yes");
    });

    it("keeps the lock of a running process", async () => {
      const fake = onPath(VERSION, BUSY, lockedBy(hostname(), process.pid));
      expect(await userError((await engine(await stack())).repair())).toEqual({
        message: `the stack is not interrupted: process ${process.pid} is working on it`,
        fix: "Wait until it ends, or stop it, then run the command again.",
      });
      expect(fake.calls()).toHaveLength(3);
    });

    it("cancels nothing without a lock, or if the refresh fails for another reason", async () => {
      const fake = onPath(VERSION, state([]), {});
      expect(await (await engine(await stack())).repair()).toEqual({
        unlocked: false,
        interrupted: [],
        changes: [],
      });
      expect(verbs(fake)).not.toContain("cancel --yes");
      const failing = onPath(VERSION, BUSY, FAILURE);
      expect(await userError((await engine(await stack())).repair())).toMatchObject({
        message: "pulumi refresh failed: error: no good",
      });
      expect(failing.calls()).toHaveLength(3);
    });
  });

  it("finds drift without changing state or cluster, and fails if the refresh fails", async () => {
    const fake = onPath(VERSION, FAILURE);
    expect(await userError((await engine(await stack())).drift())).toEqual({
      message: "pulumi refresh --preview-only failed: error: no good",
      fix: FIX,
    });
    expect(fake.calls()[1]?.args.slice(0, 3)).toEqual(["refresh", "--preview-only", "--expect-no-changes"]);
  });

  it("returns what the refresh has read: differences, and the objects that are there", async () => {
    const type = "kubernetes:core/v1:Service";
    const urn = `urn:pulumi:test::dubbo-mesh::${type}::a`;
    const object = { apiVersion: "v1", kind: "Service", metadata: { name: "a" } };
    const secret = {
      [SECRET]: "1b47061264138c4ac30d75fd1eb44270",
      ciphertext: "x",
    };
    const event = (op: string, states: object, of = type): object => ({
      resOutputsEvent: { metadata: { op, urn, type: of, ...states } },
    });
    const inputs = { ...object, spec: secret };
    const outputs = { ...object, spec: secret, status: { list: [secret, "b"] }, __fieldManager: "m" };
    const events = [
      event("refresh", { old: { inputs: object }, new: { outputs: object } }, "dubbo-mesh:x:X"),
      event("refresh", { old: { inputs: {} }, new: { outputs: {} } }, "kubernetes:helm.sh/v3:Release"),
      event("update", { old: { inputs }, new: { outputs }, diffs: ["spec"] }),
      event("delete", { old: { inputs } }),
      { summaryEvent: { resourceChanges: {} } },
    ];
    // The last CLI that writes its events to a file, as the fake does.
    onPath({ stdout: "v3.200.0\n" }, { events, code: 255 });
    expect(await (await engine(await stack())).drift()).toEqual({
      changes: [
        { operation: "update", target: `${type} a`, detail: "spec" },
        { operation: "delete", target: `${type} a` },
      ],
      objects: [
        {
          live: { ...object, status: { list: [undefined, "b"] }, __fieldManager: "m" },
          declared: object,
          isChanged: true,
        },
      ],
    });
  });

  it("removes the state only of a pull request's stack", async () => {
    vi.spyOn(console, "warn").mockReturnValue();
    const down = async (name: string): Promise<string[][]> => {
      const { directory } = await stack();
      writeFileSync(join(directory, `Pulumi.${name}.yaml`), "config:\n  dubbo-mesh:cluster: local\n");
      const fake = onPath(VERSION, { stdout: "[]" }, {}, {});
      await (await engine(await readStackFile(directory, name))).down();
      return fake.calls().map(({ args }) => [...args]);
    };
    expect(await down("pr-7")).toContainEqual(["stack", "rm", "--yes", "pr-7", "--non-interactive"]);
    for (const name of ["dev", "prod", "pr-x", "my-pr-7"]) {
      expect((await down(name)).filter(([, verb]) => verb === "rm")).toEqual([]);
    }
  });

  const logIn = (current: string): void => {
    mkdirSync(join(home, ".pulumi"));
    writeFileSync(join(home, ".pulumi/credentials.json"), JSON.stringify({ current }));
  };
  const environment = async (): Promise<Record<string, string | undefined>> => {
    const fake = onPath(VERSION, FAILURE);
    await userError((await engine(await stack())).up());
    const env = fake.calls()[1]?.env ?? {};
    const names = ["PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"];
    return Object.fromEntries(names.flatMap((name) => (name in env ? [[name, env[name]]] : [])));
  };
  const FILE_BACKEND = "file://~";

  it("uses a file backend and an empty passphrase by default", async () => {
    expect(await environment()).toEqual({ PULUMI_BACKEND_URL: FILE_BACKEND, PULUMI_CONFIG_PASSPHRASE: "" });
    logIn("");
    expect(await environment()).toMatchObject({ PULUMI_BACKEND_URL: FILE_BACKEND });
  });

  it("uses the user's backend and passphrase", async () => {
    vi.stubEnv("PULUMI_BACKEND_URL", "s3://bucket");
    vi.stubEnv("PULUMI_CONFIG_PASSPHRASE", "secret");
    const chosen = { PULUMI_BACKEND_URL: "s3://bucket", PULUMI_CONFIG_PASSPHRASE: "secret" };
    expect(await environment()).toEqual(chosen);
  });

  it("uses the backend of the user's login, and the passphrase file", async () => {
    logIn("https://api.pulumi.com");
    vi.stubEnv("PULUMI_CONFIG_PASSPHRASE_FILE", "/secret");
    expect(await environment()).toEqual({ PULUMI_CONFIG_PASSPHRASE_FILE: "/secret" });
  });
});

describe("the environment of plain pulumi", () => {
  it("has this Node.js on PATH, and the backend and passphrase of the commands here", async () => {
    vi.stubEnv("NODE_COMPILE_CACHE", "/compiled");
    const { folder } = onPath(VERSION);
    for (const part of ["language-nodejs", "resource-kubernetes", "resource-docker"]) {
      writeFileSync(join(folder, `pulumi-${part}`), "");
    }
    expect(await engineEnvironment()).toEqual({
      NODE_COMPILE_CACHE: "/compiled",
      PATH: [dirname(process.execPath), folder].join(delimiter),
      PULUMI_BACKEND_URL: "file://~",
      PULUMI_CONFIG_PASSPHRASE: "",
      PULUMI_SKIP_UPDATE_CHECK: "true",
    });
  });
});
