import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Shape } from "../../../packages/local-cluster/kind.ts";
import { type Answer, fakeCommand, type FakeCommand } from "../tools/fake-command.ts";

const SHAPE: Shape = { source: "public", image: "node:1", nodes: 1 };

// The cache's place is read once, when the modules are loaded: an empty one has no kind of its own.
vi.stubEnv("DUBBO_MESH_CACHE", mkdtempSync(join(tmpdir(), "dubbo-mesh-cache-")));
vi.resetModules();
// Of the same load as what throws it.
const { userError } = await import("../tools/user-error.ts");
const { requireEngine } = await import("../../../packages/local-cluster/docker.ts");
const { createNodes, requireKind } = await import("../../../packages/local-cluster/kind.ts");

/** Puts commands on PATH, and nothing else. */
function onPath(commands: Readonly<Record<string, Answer>>): FakeCommand[] {
  const fakes = Object.entries(commands).map(([name, answer]) => fakeCommand(name, [answer]));
  vi.stubEnv("PATH", ["/nowhere", ...fakes.map(({ folder }) => folder)].join(delimiter));
  return fakes;
}

beforeEach(() => {
  vi.stubEnv("DOCKER_HOST", "unix:///nowhere.sock");
});
afterEach(() => {
  vi.unstubAllEnvs();
});

describe("the docker engine", () => {
  const fix =
    "Start Docker Desktop or the docker engine, let this user reach it (group docker), and run the command again.";

  it("is asked for its version", async () => {
    const [docker] = onPath({ docker: { stdout: "28.2.2\n" } });
    await expect(requireEngine()).resolves.toBeUndefined();
    expect(docker?.calls().map(({ args }) => args)).toEqual([["version", "--format", "{{.Server.Version}}"]]);
  });

  it("that does not answer is told with docker's own reason", async () => {
    onPath({ docker: { stderr: "Client: x\npermission denied while trying to connect\n", code: 1 } });
    expect(await userError(requireEngine())).toEqual({
      message: "docker does not answer: permission denied while trying to connect",
      fix,
    });
  });
});

describe("kind", () => {
  it("on PATH is used where it is not older than the nodes' image", async () => {
    onPath({ kind: { stdout: "kind v0.34.1 go1.26.0 darwin/arm64\n" } });
    await expect(requireKind()).resolves.toBeUndefined();
  });

  it.each([
    [{}, "kind v0.33.0 or newer is not installed"],
    [
      { kind: { stdout: "kind v0.30.0 go1.25.0 linux/amd64\n" } },
      "kind v0.33.0 or newer on PATH is older: kind v0.30.0 go1.25.0 linux/amd64",
    ],
  ])("that cannot be had is one error: %j", async (commands, reason) => {
    onPath(commands);
    expect(await userError(requireKind())).toEqual({
      message: `Go is not installed, and ${reason}`,
      fix: "install Go 1.26 or newer, put it on PATH, and run the same command again",
    });
  });

  it.each([
    [
      "ERROR: failed to create cluster: docker: Bind for 127.0.0.1:6443 failed: port is already allocated",
      /^a port that the cluster needs is taken: ERROR: /,
      "Stop the program that holds it, and run the command again.",
    ],
    [
      "ERROR: runc: unable to apply caps: operation not permitted",
      /^the docker engine may not run privileged containers, which kind's nodes are: ERROR: /,
      "Use an engine with root's rights (https://kind.sigs.k8s.io/docs/user/known-issues/), or a cluster of your own: CONTEXT=NAME.",
    ],
    [
      "ERROR: write /var/lib/docker/x: no space left on device",
      /^the disk of the docker engine is full: ERROR: /,
      "Free some room (docker system df), and run the command again.",
    ],
    [
      "ERROR: something else",
      /^kind does not make the cluster: ERROR: something else$/,
      "Mend what it names, and run the command again; `make cluster-down` removes what is half made.",
    ],
  ])("that fails says why and what to do: %s", async (stderr, message, fix) => {
    const [kind] = onPath({ kind: { stderr: `${stderr}\n`, code: 1 } });
    const error = await userError(createNodes(SHAPE));
    expect(error.message).toMatch(message);
    expect(error.fix).toBe(fix);
    expect(kind?.calls().map(({ args }) => args.slice(0, 2))).toEqual([["create", "cluster"]]);
  });
});
