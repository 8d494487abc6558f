import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1Pod } from "@kubernetes/client-node";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Service } from "../../../settings/graph.ts";
import { parseSettings, type Settings } from "../../../settings/settings.ts";
import { UserError } from "../../../common/errors.ts";
import {
  firstReply,
  loggingConsumer,
  replyIn,
  describeWait,
  withWaitReasons,
} from "../../../tools/first-reply.ts";
import { LiveMesh } from "../../../tools/mesh.ts";
import { userError } from "./user-error.ts";

const READ_FIX =
  "Check that it runs and that the context may read pods and logs (kubectl auth can-i get pods/log).";
const EXEC_FIX =
  "Check that it runs and that the context may run commands in pods (kubectl auth can-i create pods/exec).";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.useRealTimers();
});

function file(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), "dubbo-mesh-test-")), "kubeconfig");
  writeFileSync(path, text);
  return path;
}

/** Kubeconfig with the contexts x and y of one cluster, and z of a missing one. */
function kubeconfig(server: string): string {
  return file(`apiVersion: v1
kind: Config
clusters: [{ name: c, cluster: { server: "${server}", insecure-skip-tls-verify: true } }]
users: [{ name: u, user: { token: t } }]
contexts:
  - { name: x, context: { cluster: c, user: u } }
  - { name: y, context: { cluster: c, user: u } }
  - { name: z, context: { cluster: gone, user: u } }
`);
}

function settings(path: string, context = "x"): Settings {
  const services = '[{"app":"provider","image":"r/p:1"},{"app":"consumer","image":"r/c:1"}]';
  return parseSettings({ services, context, kubeconfig: path });
}

async function closedPort(): Promise<number> {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Runs the work with the address of an API server that gives these answers. */
async function withServer<T>(answer: RequestListener, work: (server: string) => Promise<T>): Promise<T> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    return await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

describe("a mesh whose kubeconfig is wrong", () => {
  const make = (wrong: Settings): Promise<LiveMesh> => Promise.resolve().then(() => new LiveMesh(wrong));

  it("is missing", async () => {
    expect(await userError(make(settings("/nowhere/kubeconfig")))).toEqual({
      message: "the kubeconfig cannot be read: ENOENT: no such file or directory, open '/nowhere/kubeconfig'",
      fix: "Check its path and content.",
    });
  });

  it("is missing at KUBECONFIG", async () => {
    vi.stubEnv("KUBECONFIG", "/nowhere/kubeconfig");
    expect(await userError(make({ ...settings(""), kubeconfig: undefined }))).toMatchObject({
      message: "the kubeconfig cannot be read: ENOENT: no such file or directory, open '/nowhere/kubeconfig'",
    });
  });

  it("is missing because the local cluster is down", async () => {
    const local = { ...settings("/nowhere/kubeconfig"), cluster: "local" as const };
    expect(await userError(make(local))).toEqual({
      message: "the local cluster is not running",
      fix: "Run `make up` first.",
    });
  });

  it("is broken", async () => {
    const { message, fix } = await userError(make(settings(file("clusters: ["))));
    expect(message).toMatch(
      /^the kubeconfig cannot be read: unexpected end of the stream within a flow collection/,
    );
    expect(fix).toBe("Check its path and content.");
  });

  it("lacks the context", async () => {
    expect(await userError(make(settings(kubeconfig("https://127.0.0.1:1"), "minikube")))).toEqual({
      message: "the kubeconfig has no context minikube",
      fix: "Choose one of: x, y, z (CONTEXT=NAME, or pulumi config set -s STACK context NAME).",
    });
  });

  it("lacks the context's cluster", async () => {
    expect(await userError(make(settings(kubeconfig("https://127.0.0.1:1"), "z")))).toEqual({
      message: "the kubeconfig's context z refers to a cluster that it does not define",
      fix: "Correct the kubeconfig, or choose another context.",
    });
  });
});

describe("a cluster that does not answer", async () => {
  const port = await closedPort();
  const mesh = new LiveMesh(settings(kubeconfig(`https://127.0.0.1:${port}`)));
  const refused = `connect ECONNREFUSED 127.0.0.1:${port}`;

  it.each([
    ["pods", () => mesh.pods("a"), READ_FIX],
    ["log", () => mesh.log("p"), READ_FIX],
    ["exec", () => mesh.exec("p", "c", ["true"]), EXEC_FIX],
  ])("is an error: %s", async (_name, ask, fix) => {
    expect(await userError(ask())).toEqual({
      message: `the cluster of context x refuses or does not answer: ${refused}`,
      fix,
    });
  });
});

describe("a cluster that takes a request and never answers", () => {
  it("is an error after a time", async () => {
    const timeout = vi.spyOn(AbortSignal, "timeout");
    timeout.mockImplementation((ms) => {
      expect(ms).toBe(60_000);
      const controller = new AbortController();
      setTimeout(() => {
        controller.abort(new Error("the operation timed out"));
      }, 50);
      return controller.signal;
    });
    try {
      await withServer(
        () => undefined,
        async (server) => {
          const mesh = new LiveMesh(settings(kubeconfig(server)));
          expect((await userError(mesh.log("p"))).message).toBe(
            "the cluster of context x refuses or does not answer: the operation timed out",
          );
        },
      );
    } finally {
      timeout.mockRestore();
    }
  });
});

describe("a cluster that answers", () => {
  it("lists the pods that do not terminate, oldest first", async () => {
    const pod = (name: string, day: number, ending = false): object => ({
      metadata: {
        name,
        creationTimestamp: `2026-01-0${day}T00:00:00Z`,
        ...(ending && { deletionTimestamp: "2026-01-09T00:00:00Z" }),
      },
    });
    const items = [pod("new", 3), pod("ending", 2, true), pod("old", 1)];
    const asked: (string | undefined)[] = [];
    const names = await withServer(
      (request, response) => {
        asked.push(request.url);
        response.setHeader("content-type", "application/json").end(JSON.stringify({ items }));
      },
      async (server) =>
        (await new LiveMesh(settings(kubeconfig(server))).pods("a")).map((found) => found.metadata?.name),
    );
    expect(asked).toEqual(["/api/v1/namespaces/dubbo-demo/pods?labelSelector=app%3Da"]);
    expect(names).toEqual(["old", "new"]);
  });

  it.each([
    ["pods", (mesh: LiveMesh) => mesh.pods("a"), "HTTP-Code: 403", READ_FIX],
    ["exec", (mesh: LiveMesh) => mesh.exec("p", "c", ["true"]), "Unexpected server response: 403", EXEC_FIX],
  ])("reports missing rights: %s", async (_what, ask, told, fix) => {
    const error = await withServer(
      (_request, response) => {
        response.writeHead(403, { "content-type": "application/json" }).end('{"message":"forbidden"}');
      },
      (server) => userError(ask(new LiveMesh(settings(kubeconfig(server))))),
    );
    expect(error).toEqual({
      message: `the cluster of context x refuses or does not answer: ${told}`,
      fix,
    });
  });
});

describe("the consumer's reply", () => {
  const LINE =
    'consumer Unary reply <-message: "hello,service mesh, response from provider-v1: 10.0.0.7:50052"';

  it("is the first one in its log", () => {
    const log = `[1] INFO start\n[2] INFO ${LINE}, 3 ms\n[3] INFO ${LINE.replace("v1", "v2")}\n`;
    expect(replyIn(log)).toBe(LINE);
    expect(replyIn(`consumer Unary reply <-message:"x" `)).toBe('consumer Unary reply <-message:"x"');
  });

  it("is found in a JSON log", () => {
    const json = (message: string): string => JSON.stringify({ level: "INFO", message });
    expect(replyIn(`${json("start")}\n${json(LINE)}\n${json(LINE.replace("v1", "v2"))}\n`)).toBe(LINE);
  });

  it.each([
    "",
    "consumer Unary request: hello\n",
    "consumer Unary reply failed: 14 UNAVAILABLE\n",
    'consumer Unary reply <-message: "unfinished\nline"',
  ])("is not found in %j", (log) => {
    expect(replyIn(log)).toBeUndefined();
  });

  interface State {
    readonly waiting?: string;
    readonly running?: boolean;
  }
  const status = (name: string, { waiting, running }: State): object => ({
    name,
    state: {
      ...(waiting !== undefined && { waiting: { reason: waiting } }),
      ...(running && { running: {} }),
    },
  });
  const pod = (name: string, app: State): V1Pod => {
    const made: unknown = {
      metadata: { name },
      status: { phase: "Pending", containerStatuses: [status("app", app)] },
    };
    return made as V1Pod;
  };

  it.each<[unknown, string]>([
    [{}, "pod: no status"],
    [{ metadata: { name: "p" }, status: { phase: "Pending" } }, "p: Pending"],
    [pod("p", { running: true }), "p: app runs, but is not ready"],
    [pod("p", { waiting: "ImagePullBackOff" }), "p: app ImagePullBackOff"],
    [
      {
        metadata: { name: "p" },
        status: {
          initContainerStatuses: [status("istio-proxy", { waiting: "CrashLoopBackOff" })],
          containerStatuses: [status("app", { waiting: "PodInitializing" })],
        },
      },
      "p: istio-proxy CrashLoopBackOff, app PodInitializing",
    ],
    [
      {
        metadata: { name: "p" },
        status: {
          phase: "Pending",
          conditions: [{ type: "PodScheduled", status: "False", message: "0/3 nodes are available" }],
        },
      },
      "p: 0/3 nodes are available",
    ],
  ])("is delayed by the pod's wait reasons: %#", (waiting, reason) => {
    expect(describeWait(waiting as V1Pod)).toBe(reason);
  });

  it("adds the wait reasons to an engine's error, which only names Deployments", () => {
    const error = new UserError("timed out", "Mend it.");
    const late = pod("p", { waiting: "ErrImagePull" });
    const ready = {
      status: { containerStatuses: [{ ...status("app", { running: true }), ready: true }] },
    } as unknown as V1Pod;
    const told = withWaitReasons(error, [ready, late, pod("r", { waiting: "ErrImagePull" })]);
    expect([told.message, told.fix]).toEqual([
      "timed out\npods that are not ready: p: app ErrImagePull; r: app ErrImagePull",
      "Mend it.",
    ]);
    expect(withWaitReasons(error, [ready])).toBe(error);
  });

  /** Returns a mesh that lists these pods one after the other, and has these logs. */
  function fakeMesh(
    rounds: V1Pod[][],
    logs: Readonly<Record<string, string[]>>,
  ): { mesh: LiveMesh; read: string[] } {
    const read: string[] = [];
    const mesh = {
      namespace: "dubbo-demo",
      pods: (application: string) => {
        expect(application).toBe("dubbo-samples-mesh-consumer");
        return Promise.resolve(rounds.length > 1 ? rounds.shift() : rounds[0]);
      },
      log: (name: string) => {
        read.push(name);
        return Promise.resolve(logs[name]?.shift() ?? "");
      },
    };
    return { mesh: mesh as unknown as LiveMesh, read };
  }

  const consumer = (): Service => {
    const found = loggingConsumer({ settings: settings("/k"), unread: [] });
    if (found === undefined) throw new Error("the stack runs no consumer");
    return found;
  };

  it("is that of the sample's consumer", () => {
    expect(consumer().name).toBe("dubbo-samples-mesh-consumer");
    const consumerOf = (text: string, unread: readonly string[] = []): string | undefined =>
      loggingConsumer({ settings: parseSettings({ cluster: "local", services: text }), unread })?.name;
    expect(consumerOf("[{app: provider}, {app: relay}]")).toBeUndefined();
    expect(consumerOf("[{app: provider}, {app: consumer, replicas: 0}]")).toBeUndefined();
    const two = "[{app: provider}, {app: consumer, replicas: 0}, {app: consumer, name: other}]";
    expect(consumerOf(two)).toBe("other");
    // The stack may have other services, or another namespace.
    expect(consumerOf(two, ["namespace"])).toBeUndefined();
  });

  it("is read from the newest running pod", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const [old, young] = [pod("old", { running: true }), pod("young", { waiting: "PodInitializing" })];
    const rounds = [[], [young], [old, young], [old, pod("young", { running: true })]];
    const { mesh, read } = fakeMesh(rounds, { old: ["no reply"], young: ["no reply yet", LINE] });
    expect(await firstReply(mesh, consumer())).toBe(LINE);
    expect(read).toEqual(["old", "young", "young"]);
  });

  it.each([
    [[pod("p", { waiting: "ImagePullBackOff" }), pod("q", {})], "p: app ImagePullBackOff; q: Pending"],
    [[], "dubbo-samples-mesh-consumer has no pods"],
  ])("is an error with the wait reasons if it does not come: %#", async (pods, reasons) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { mesh } = fakeMesh([pods], {});
    const waiting = userError(firstReply(mesh, consumer()));
    vi.setSystemTime(Date.now() + 300_000);
    expect(await waiting).toEqual({
      message: `the consumer got no reply within 300 s (${reasons})`,
      fix:
        "Look at `kubectl logs -n dubbo-demo -l app=dubbo-samples-mesh-consumer`, and with `-c istio-proxy` at its proxy's; " +
        "then run `make up` again.",
    });
  });
});
