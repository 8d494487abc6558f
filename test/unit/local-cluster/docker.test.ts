import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Answer, fakeCommand, type FakeCommand } from "../tools/fake-command.ts";

/** Docker's error if a program uses the cluster's port. */
const TAKEN_PORT = [
  'ERROR: failed to create cluster: command "docker run --publish=127.0.0.1:6443:6443" failed with error: exit status 125',
  "",
  "docker: Error response from daemon: Bind for 127.0.0.1:6443 failed: port is already allocated",
  "Run 'docker run --help' for more information",
].join("\n");

// The modules read the cache's place once. An empty cache has no kind.
vi.stubEnv("DUBBO_MESH_CACHE", mkdtempSync(join(tmpdir(), "dubbo-mesh-cache-")));
vi.resetModules();
// Imported after the reset, so that its UserError is the class that the modules throw.
const { userError } = await import("../tools/user-error.ts");
const { explained, requireEngine } = await import("../../../packages/local-cluster/docker.ts");
const { connectPods, requireKind } = await import("../../../packages/local-cluster/kind.ts");

/** Puts only these commands on PATH. */
function onPath(commands: Readonly<Record<string, Answer | readonly Answer[]>>): FakeCommand[] {
  const fakes = Object.entries(commands).map(([name, answers]) => fakeCommand(name, [answers].flat()));
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

  it("reports its version", async () => {
    const [docker] = onPath({ docker: { stdout: "28.2.2\n" } });
    await expect(requireEngine()).resolves.toBeUndefined();
    expect(docker?.calls().map(({ args }) => args)).toEqual([["version", "--format", "{{.Server.Version}}"]]);
  });

  it("reports docker's reason if it does not answer", async () => {
    onPath({ docker: { stderr: "Client: x\npermission denied while trying to connect\n", code: 1 } });
    expect(await userError(requireEngine())).toEqual({
      message: "docker does not answer: permission denied while trying to connect",
      fix,
    });
  });
});

describe("a missing docker engine", () => {
  const fix =
    "Start Docker Desktop or the docker engine, let this user reach it (group docker), and run the command again.";

  it("is one error", async () => {
    onPath({});
    expect(await userError(requireEngine())).toEqual({
      message: "docker does not answer: it is not installed, or takes more than 10 s",
      fix,
    });
  });

  it("is one error if docker hangs", async () => {
    const folder = mkdtempSync(join(tmpdir(), "dubbo-mesh-bin-"));
    writeFileSync(join(folder, "docker"), "#!/bin/sh\nexec /bin/sleep 60\n", { mode: 0o755 });
    vi.stubEnv("PATH", folder);
    expect(await userError(requireEngine(200))).toEqual({
      message: "docker does not answer: it is not installed, or takes more than 0.2 s",
      fix,
    });
  });
});

describe("the wrapper of runc", () => {
  it("removes a capability from the request that root lacks", () => {
    const bundle = mkdtempSync(join(tmpdir(), "dubbo-mesh-bundle-"));
    const capabilities = {
      bounding: ["CAP_SYS_RESOURCE", "CAP_KILL"],
      effective: ["CAP_KILL", "CAP_SYS_RESOURCE"],
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify({ capabilities }));
    const runc = fakeCommand("runc", [{ stdout: "made" }]);
    const wrapper = join(import.meta.dirname, "../../../packages/local-cluster/runc");
    const args = ["--root", "/run", "create", "--bundle", bundle, "1"];
    const env = { PATH: `${runc.folder}:/usr/bin:/bin` };
    expect(execFileSync(wrapper, args, { env, encoding: "utf8" })).toBe("made");
    expect(runc.calls().map((call) => call.args)).toEqual([args]);
    expect(JSON.parse(readFileSync(join(bundle, "config.json"), "utf8"))).toEqual({
      capabilities: { bounding: ["CAP_KILL"], effective: ["CAP_KILL"] },
    });
  });
});

describe("connectPods", () => {
  it("waits for each node's range, then configures its pod network and routes", async () => {
    const [docker] = onPath({
      docker: [
        { stderr: "The connection to the server was refused", code: 1 },
        { stdout: "one 172.18.0.2 10.244.0.0/24\ntwo 172.18.0.3 \n" },
        { stdout: "one 172.18.0.2 10.244.0.0/24\ntwo 172.18.0.3 10.244.1.0/24\n" },
        ...Array.from({ length: 6 }, () => ({})),
      ],
    });
    await connectPods();
    const calls = docker?.calls().slice(3) ?? [];
    const copy = (node: string): string[] => [
      ...["exec", "--interactive", node, "cp", "/dev/stdin", "/etc/cni/net.d/10-pods.conflist"],
    ];
    const route = (node: string, range: string, by: string): string[] => [
      ...["exec", node, "ip", "route", "replace", range, "via", by],
    ];
    expect([0, 1, 3, 4].map((index) => calls[index]?.args)).toEqual([
      copy("one"),
      route("one", "10.244.1.0/24", "172.18.0.3"),
      copy("two"),
      route("two", "10.244.0.0/24", "172.18.0.2"),
    ]);
    expect(calls.map(({ stdin }) => /10\.244\.\d/.exec(stdin)?.[0]).filter(Boolean)).toEqual([
      "10.244.0",
      "10.244.1",
    ]);
    expect(calls[5]?.args.at(-1)).toContain("-j NFQUEUE --queue-num 98 --queue-bypass");
  });
});

describe("kind", () => {
  it("on PATH is used unless it is older than the nodes' image", async () => {
    onPath({ kind: { stdout: "kind v0.34.1 go1.26.0 darwin/arm64\n" } });
    await expect(requireKind()).resolves.toBeUndefined();
  });

  it.each([
    [{}, "kind v0.33.0 or newer is not installed"],
    [
      { kind: { stdout: "kind v0.30.0 go1.25.0 linux/amd64\n" } },
      "kind v0.33.0 or newer on PATH is older: kind v0.30.0 go1.25.0 linux/amd64",
    ],
  ])("is one error if it is unavailable: %j", async (commands, reason) => {
    onPath(commands);
    expect(await userError(requireKind())).toEqual({
      message: `Go is not installed, and ${reason}`,
      fix: "Install Go 1.26 or newer, put it on PATH, and run the command again.",
    });
  });
});

describe("a failure of docker or kind", () => {
  it.each([
    [
      TAKEN_PORT,
      /^a port that the cluster needs is in use: docker: Error response from daemon: Bind for 127.0.0.1:6443 failed: port is already allocated$/,
      "Stop the program that uses it, and run the command again.",
    ],
    [
      "ERROR: runc: unable to apply caps: operation not permitted",
      /^the docker engine may not run privileged containers, which kind's nodes are: ERROR: runc: unable to apply caps: operation not permitted$/,
      "Use an engine that runs as root (https://kind.sigs.k8s.io/docs/user/known-issues/), or another cluster: CONTEXT=NAME.",
    ],
    [
      "ERROR: write /var/lib/docker/x: no space left on device",
      /^the disk of the docker engine is full: ERROR: write \/var\/lib\/docker\/x: no space left on device$/,
      "Free some space (docker system df), and run the command again.",
    ],
    [
      "ERROR: something else",
      /^the local cluster does not start: ERROR: something else$/,
      "Fix the reported problem, and run the command again; `make cluster-down` removes an incomplete cluster.",
    ],
  ])("is explained, with a fix: %s", (stderr, message, fix) => {
    const error = Object.assign(new Error("exit code 1"), { stderr: `${stderr}\n` });
    const told = explained(error);
    expect(told.message).toMatch(message);
    expect(told.fix).toBe(fix);
  });
});
