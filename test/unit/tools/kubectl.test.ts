import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CACHE_DIR } from "../../../common/artifacts/cache.ts";
import { kubectl, kubectlCommand } from "../../../tools/kubectl.ts";
import { type Answer, fakeCommand, type FakeCommand } from "./fake-command.ts";
import { userError } from "./user-error.ts";

const TARGET = { cluster: "existing", context: "minikube", kubeconfig: undefined } as const;

afterEach(() => {
  vi.unstubAllEnvs();
});

function fakeKubectl(...answers: Answer[]): FakeCommand {
  const fake = fakeCommand("kubectl", answers);
  vi.stubEnv("PATH", fake.folder);
  return fake;
}

describe("kubectl's command line", () => {
  it("names the context, and the stack's kubeconfig", () => {
    expect(kubectlCommand(TARGET)).toEqual(["kubectl", "--context", "minikube"]);
    expect(kubectlCommand({ ...TARGET, kubeconfig: "/k" })).toEqual([
      "kubectl",
      "--context",
      "minikube",
      "--kubeconfig",
      "/k",
    ]);
  });

  it("is that of the local cluster, if it has one", () => {
    const local = { cluster: "local", context: "dubbo-mesh", kubeconfig: "/k" } as const;
    const rest = ["kubectl", "--context", "dubbo-mesh", "--kubeconfig", "/k"];
    expect(kubectlCommand(local)).toEqual(rest);
    const kube = join(CACHE_DIR, "bin", "kube");
    mkdirSync(dirname(kube), { recursive: true });
    writeFileSync(kube, "");
    expect(kubectlCommand(local)).toEqual([kube, ...rest]);
    rmSync(kube);
  });
});

describe("a run of kubectl", () => {
  it("passes arguments and input, and returns the output", async () => {
    const fake = fakeKubectl({ stdout: "a 'b'\n", stderr: "Warning: not of interest\n" });
    expect(await kubectl(TARGET, ["apply", "-f", "-", "a b", "$HOME"], '{"kind": "List"}')).toBe("a 'b'");
    const [call, ...more] = fake.calls();
    expect(more).toEqual([]);
    expect(call?.args).toEqual(["--context", "minikube", "apply", "-f", "-", "a b", "$HOME"]);
    expect(call?.stdin).toBe('{"kind": "List"}');
  });

  // Seen with kubectl 1.34: without credentials it prints "Please enter Username: " and waits.
  it("has empty input by default", async () => {
    const fake = fakeKubectl({});
    await kubectl(TARGET, ["get", "pods"]);
    expect(fake.calls().map(({ stdin }) => stdin)).toEqual([""]);
  });
});

describe("a kubectl that fails", () => {
  it("is not installed", async () => {
    vi.stubEnv("PATH", "/nowhere");
    expect(await userError(kubectl(TARGET, ["get", "pods"]))).toEqual({
      message: "kubectl is not installed",
      fix: "Install kubectl 1.27 or newer and run the command again.",
    });
  });

  // Messages of kubectl 1.34, as seen.
  it.each([
    "Error in configuration: context was not found for specified context: minikube",
    'error: context "minikube" does not exist',
  ])("does not know the context: %s", async (stderr) => {
    fakeKubectl({ stderr: `${stderr}\n`, code: 1 });
    expect(await userError(kubectl(TARGET, ["get", "pods"]))).toEqual({
      message: "the kubeconfig has no context minikube",
      fix: "Choose one of `kubectl config get-contexts` (CONTEXT=NAME, or `pulumi config set -s STACK context NAME`).",
    });
  });

  it.each([
    "error: stat /nope: no such file or directory",
    'error: error loading config file "/tmp/broken": yaml: line 1: did not find expected node content',
  ])("cannot read the kubeconfig: %s", async (stderr) => {
    fakeKubectl({ stderr: `${stderr}\n`, code: 1 });
    expect(await userError(kubectl(TARGET, ["get", "pods"]))).toEqual({
      message: `the kubeconfig cannot be read: ${stderr}`,
      fix: "Check its path and content.",
    });
  });

  it.each([
    "The connection to the server 127.0.0.1:9 was refused - did you specify the right host or port?",
    "Unable to connect to the server: dial tcp: lookup nohost.invalid on 10.0.0.1:53: no such host",
    "Unable to connect to the server: dial tcp 192.0.2.1:443: i/o timeout",
    "Unable to connect to the server: context deadline exceeded",
  ])("does not reach the cluster: %s", async (reason) => {
    const noise = 'E1123 21:25:23.71 1 memcache.go:265] "Unhandled Error" err="..."';
    fakeKubectl({ stderr: `${noise}\n${noise}\n${reason}\n`, code: 1 });
    expect(await userError(kubectl(TARGET, ["get", "pods"]))).toEqual({
      message: `the cluster of context minikube does not answer: ${reason}`,
      fix: "Start it, or choose another context.",
    });
  });

  it("reports a webhook that does not answer, not the cluster", async () => {
    const stderr =
      'Error from server (InternalError): Internal error occurred: failed calling webhook "validation.istio.io": failed to call ' +
      'webhook: Post "https://istiod.istio-system.svc:443/validate?timeout=10s": dial tcp 10.0.0.9:443: connect: connection refused';
    fakeKubectl({ stderr: `${stderr}\n`, code: 1 });
    expect(await userError(kubectl(TARGET, ["apply"]))).toEqual({
      message: `kubectl failed: ${stderr}`,
      fix: "Fix the reported problem and run the command again.",
    });
  });

  it("has its whole output quoted", async () => {
    const stderr =
      'error: resource mapping not found for name: "cluster" namespace: "dubbo-demo" from "STDIN": no matches for kind ' +
      '"EnvoyFilter" in version "networking.istio.io/v1alpha3"\nensure CRDs are installed first';
    fakeKubectl({ stderr: `${stderr}\n`, code: 1 });
    expect(await userError(kubectl(TARGET, ["apply"]))).toEqual({
      message: `kubectl failed: ${stderr}`,
      fix: "Fix the reported problem and run the command again.",
    });
  });
});

describe("the kubectl of a local cluster", async () => {
  const target = { cluster: "local", context: "dubbo-mesh", kubeconfig: "/k" } as const;
  // The module reads the cache's place once, when it is loaded.
  const cache = mkdtempSync(join(tmpdir(), "dubbo-mesh-cache-"));
  vi.stubEnv("DUBBO_MESH_CACHE", cache);
  vi.resetModules();
  const { kubectl: localKubectl } = await import("../../../tools/kubectl.ts");

  it("is the one on PATH before the cluster is built", async () => {
    const fake = fakeKubectl({ stdout: "found\n" });
    expect(await localKubectl(target, ["get"])).toBe("found");
    expect(fake.calls().map(({ args }) => args)).toEqual([
      ["--context", "dubbo-mesh", "--kubeconfig", "/k", "get"],
    ]);
    vi.stubEnv("PATH", cache);
    await expect(localKubectl(target, ["get"])).rejects.toMatchObject({
      name: "UserError",
      message: "kubectl is not installed",
      fix: "Run `make up` first, which may bring one. Install kubectl 1.27 or newer and run the command again.",
    });
  });

  it("has no kubeconfig before the cluster is up", async () => {
    const fake = fakeCommand("kube", [{ stderr: "error: stat /k: no such file or directory\n", code: 1 }]);
    symlinkSync(fake.folder, join(cache, "bin"));
    await expect(localKubectl(target, ["get"])).rejects.toMatchObject({
      name: "UserError",
      message: "the local cluster is not running",
      fix: "Run `make up` first.",
    });
    expect(fake.calls().map(({ args }) => args)).toEqual([
      ["kubectl", "--context", "dubbo-mesh", "--kubeconfig", "/k", "get"],
    ]);
  });
});
