import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { UpReport } from "../../tools/up.ts";
import { make, type PairStack, writeStack } from "./make.ts";
import { CONSUMER, PROVIDER, Scene, until } from "./scene.ts";

const STRANGER = "stranger";
const PROVIDER_PORT = 50052;
const CONNECT_MS = 3000;

/** Returns a sleeping pod without a sidecar, from an image that the cluster has. */
function stranger(image: string): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: STRANGER, labels: { app: STRANGER, "sidecar.istio.io/inject": "false" } },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [{ name: STRANGER, image, command: ["node", "-e", "setInterval(() => {}, 1000)"] }],
    },
  };
}

async function up(security: object): Promise<UpReport> {
  const stack: PairStack = { namespace: "dubbo-isolation", consumer: { interval: "0.1s" }, security };
  writeStack(stack);
  return (await make<UpReport>("up", "JSON=1")).result;
}

/**
 * Returns the result of a connection from the stranger to a provider pod.
 * Authorization rules apply only to an established connection.
 */
async function connection(): Promise<string> {
  const scene = await Scene.now();
  const [provider] = await scene.mesh.pods(PROVIDER);
  const script = `
    const socket = require("node:net").connect(${PROVIDER_PORT}, "${provider?.status?.podIP ?? ""}");
    const tell = (what) => { console.log(what); process.exit(0); };
    socket.on("connect", () => tell("connected")).on("error", ({ code }) => tell(code));
    setTimeout(() => tell("no answer"), ${CONNECT_MS});`;
  return (await scene.mesh.exec(STRANGER, STRANGER, ["node", "-e", script])).trim();
}

beforeAll(async () => {
  const { outputs } = await up({});
  const { [CONSUMER]: image = "" } = outputs["images"] as Record<string, string>;
  await (await Scene.now()).apply(stranger(image));
  await until("the stranger runs", 60, async () => {
    const phase = await (
      await Scene.now()
    ).kubectl("get", "pod", STRANGER, "--output", "jsonpath={.status.phase}");
    return phase === "Running" || undefined;
  });
});

afterAll(async () => {
  await (await Scene.now()).kubectl("delete", "pod", STRANGER, "--ignore-not-found");
  await make("down");
});

describe("a pod outside the mesh", () => {
  it("reaches a provider without network policies", async () => {
    expect(await connection()).toBe("connected");
  });

  it("reaches no provider with network policies", async () => {
    await up({ networkPolicy: true, defaultDeny: true });
    expect(await connection()).toBe("no answer");
  });

  it("does not affect the consumer's calls or verify", async () => {
    expect((await make<{ ok: boolean }>("verify", "JSON=1")).result.ok).toBe(true);
  });

  it("reaches it again after they are removed", async () => {
    await up({});
    expect(await connection()).toBe("connected");
  });
});
