import { setTimeout as sleep } from "node:timers/promises";
import { status } from "dubbo-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { APPLICATION_CONTAINER, GREETER } from "../../settings/names.ts";
import type { UpReport } from "../../tools/up.ts";
import { callFrom, jsonFrom, type Outcome } from "./call.ts";
import { expectLasting, failCalls, nodeSwitch, SHORT_EJECTION } from "./ejection.ts";
import { buildFaultyProvider } from "./image.ts";
import { CONFIRM, make, writeStack } from "./make.ts";
import { CONSUMER, nameOf, PROVIDER, Scene } from "./scene.ts";
import { givenUp, Watch } from "./watch.ts";

const NAMESPACE = "dubbo-calls";
const HEALTH = "/grpc.health.v1.Health/Check";
/**
 * Number of calls for the measured split. With 1,000 calls, chance alone exceeds 3 points in one of
 * 56 runs. With 4,000 calls it never does in 100,000 runs.
 */
const SPLIT_CALLS = 4000;

/** Retries and timeouts of the stack; `greet` is idempotent. */
const TRAFFIC = { attempts: 2, perTryTimeout: "1s", ...SHORT_EJECTION };
const METHODS = { [`/${GREETER}/UpperCaseGreet`]: { timeout: "2s" } };

let images: Record<string, string>;

beforeAll(async () => {
  const versions = [
    { name: "v1", replicas: 2, weight: 80 },
    { name: "v2", replicas: 2, weight: 20 },
  ];
  writeStack({ namespace: NAMESPACE, provider: { versions }, consumer: { replicas: 2, interval: "0.008s" } });
  const { result } = await make<UpReport>("up", "JSON=1");
  images = result.outputs["images"] as Record<string, string>;
  await (await Scene.now()).settled();
});

afterAll(async () => {
  await make("down");
});

/** Counts the matching log lines of the provider's pods, or of those with the given version. */
async function logged(scene: Scene, pattern: RegExp, version?: string): Promise<number> {
  const pods = (await scene.mesh.pods(PROVIDER)).filter(
    ({ metadata }) => version === undefined || metadata?.labels?.["version"] === version,
  );
  const logs = await Promise.all(pods.map((pod) => scene.mesh.log(nameOf(pod), undefined, 1_000_000)));
  return logs.reduce((sum, log) => sum + log.split("\n").filter((line) => pattern.test(line)).length, 0);
}

async function consumer(scene: Scene): Promise<string> {
  return nameOf((await scene.mesh.pods(CONSUMER)).at(-1));
}

/** Returns an idle pod with Node.js. With a sidecar it has the identity of its ServiceAccount. */
function idlePod(name: string, sidecar: boolean): object[] {
  const metadata = { name, labels: { app: name, "sidecar.istio.io/inject": String(sidecar) } };
  const command = ["node", "-e", "setInterval(() => undefined, 1000)"];
  const container = { name: APPLICATION_CONTAINER, image: images[CONSUMER], command };
  const spec = { serviceAccountName: name, terminationGracePeriodSeconds: 0, containers: [container] };
  return [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name } },
    { apiVersion: "v1", kind: "Pod", metadata, spec },
  ];
}

describe("a canary", () => {
  it("gets its share of the calls within 3 points, counted at the providers", async () => {
    const scene = await Scene.now();
    const greeted = async (): Promise<[number, number]> => {
      const count = (version: string): Promise<number> => logged(scene, /received greet request/, version);
      return [await count("v1"), await count("v2")];
    };
    const before = await greeted();
    let counts: [number, number] = [0, 0];
    while (counts[0] + counts[1] < SPLIT_CALLS) {
      await sleep(2000);
      const after = await greeted();
      counts = [after[0] - before[0], after[1] - before[1]];
    }
    const share = (100 * counts[1]) / (counts[0] + counts[1]);
    process.stdout.write(
      `  figure  split 80/20: ${counts.join(" and ")} calls, v2 has ${share.toFixed(1)} %\n`,
    );
    expect(Math.abs(share - 20)).toBeLessThanOrEqual(3);
  });
});

describe("STRICT mTLS with authorization", () => {
  it("rejects an outsider and a wrong identity, while checks pass and calls succeed", async () => {
    const scene = await Scene.now();
    await scene.apply(...idlePod("outsider", false), ...idlePod("intruder", true));
    await scene.kubectl("wait", "--for=condition=Ready", "--timeout=120s", "pod/outsider", "pod/intruder");
    const [caller, watch] = [await consumer(scene), await Watch.begin(scene)];
    const checks = await scene.checks(caller);
    const seen: Record<string, Outcome> = {};
    for (const pod of ["outsider", "intruder", caller]) {
      for (const method of [
        "greet",
        "Greet",
        HEALTH,
        "/org.apache.dubbo.metadata.MetadataService/getMetadataInfo",
      ])
        seen[`${pod === caller ? "consumer" : pod} ${method}`] = await callFrom(scene, pod, method, "");
    }
    await sleep(12_000);
    const calls = await watch.end();
    process.stdout.write(`  figure  refused: ${JSON.stringify({ ...seen, calls })}\n`);
    const refused = { grpc: status.PERMISSION_DENIED, message: "RBAC: access denied", replies: 0 };
    expect(seen).toMatchObject({
      "outsider greet": { error: "ECONNRESET", replies: 0 },
      "outsider Greet": { error: "ECONNRESET", replies: 0 },
      [`outsider ${HEALTH}`]: { error: "ECONNRESET", replies: 0 },
      "intruder greet": refused,
      "intruder Greet": refused,
      [`intruder ${HEALTH}`]: refused,
      "consumer greet": { grpc: status.OK, replies: 1 },
      "consumer Greet": { grpc: status.OK, replies: 1 },
      [`consumer ${HEALTH}`]: { grpc: status.OK, replies: 1 },
      "consumer /org.apache.dubbo.metadata.MetadataService/getMetadataInfo": refused,
    });
    expect(calls).toMatchObject({ failed: [], unaccounted: 0, changes: [] });
    expect(givenUp(calls)).toEqual({});
    expect(calls.answered).toBeGreaterThan(100);
    expect(calls.envoy["health_check.failure"]).toBeUndefined();
    expect(await scene.checks(caller)).toBeGreaterThan(checks);
  });
});

describe("callers in other languages, through two sidecars", () => {
  it("send attachments in Latin-1 and with spaces, and read them in replies", async () => {
    const scene = await Scene.now();
    const caller = await consumer(scene);
    const ok = { grpc: status.OK, replies: 1 };
    for (const text of ["café", "  spaces  "])
      expect(await callFrom(scene, caller, "greetWithAttachment", "x", text)).toMatchObject({
        ...ok,
        attachment: `hello,${text}`,
      });
  });

  it("call in JSON over HTTP/1.1, which reaches the provider as HTTP/2, with the same rights", async () => {
    const scene = await Scene.now();
    const caller = await consumer(scene);
    expect(await jsonFrom(scene, caller, "UpperCaseGreet", '{"name":"é€"}')).toEqual({
      code: 200,
      body: '{"message":"É€"}',
    });
    expect(await jsonFrom(scene, caller, "greetWithAttachment", '{"name":"x"}', "café")).toEqual({
      code: 200,
      body: '{"message":"hello,x"}',
      attachment: "hello,café",
    });
    expect(await jsonFrom(scene, caller, "nothing", "{}")).toEqual({
      code: 404,
      body: '{"message":"Invoker not found","status":"404"}',
    });
    expect(await jsonFrom(scene, "intruder", "UpperCaseGreet", '{"name":"x"}')).toEqual({
      code: 403,
      body: "RBAC: access denied",
    });
  });
});

describe("with a provider that fails on request", () => {
  let image: string;

  async function faultyMesh(settings: object): Promise<void> {
    const [provider, caller] = [{ image, methods: METHODS }, { interval: "0.05s" }];
    writeStack({ namespace: NAMESPACE, provider, consumer: caller, traffic: TRAFFIC, ...settings });
    // CONFIRM, because the first change removes a version that answers calls.
    await make<UpReport>("up", "JSON=1", CONFIRM);
    await (await Scene.now()).settled();
  }

  beforeAll(async () => {
    image = await buildFaultyProvider();
    await faultyMesh({});
  });

  /**
   * Calls once from the pod of the consumer, and counts the tries that arrive.
   * @param served name of the method that the provider runs
   */
  async function tried(
    method: string,
    behaviour: string,
    served = method,
  ): Promise<Outcome & { tries: number }> {
    const scene = await Scene.now();
    const name = `${behaviour}-${Date.now()}`;
    const ended = await callFrom(scene, await consumer(scene), method, name);
    // A further try would arrive within the time of one try.
    await sleep(1500);
    const seen = { ...ended, tries: await logged(scene, new RegExp(`arrived ${served} ${name}$`)) };
    process.stdout.write(`  figure  ${method} ${behaviour}: ${JSON.stringify(seen)}\n`);
    return seen;
  }

  it("retries an idempotent method that fails, up to its attempts", async () => {
    expect(await tried("greet", "abort")).toMatchObject({ grpc: status.UNAVAILABLE, tries: 3 });
  });

  it("retries it, too, if it is called by its name with a capital first letter", async () => {
    expect(await tried("Greet", "abort", "greet")).toMatchObject({ grpc: status.UNAVAILABLE, tries: 3 });
  });

  it("retries an idempotent method that hangs, after perTryTimeout", async () => {
    const seen = await tried("greet", "hang");
    expect(seen).toMatchObject({ replies: 0, tries: 3 });
    expect([status.UNAVAILABLE, status.DEADLINE_EXCEEDED]).toContain(seen.grpc);
    expect(seen.ms).toBeGreaterThanOrEqual(3000);
    expect(seen.ms).toBeLessThan(5000);
  });

  it("does not retry a method that is not idempotent", async () => {
    expect(await tried("UpperCaseGreet", "abort")).toMatchObject({ grpc: status.UNAVAILABLE, tries: 1 });
  });

  it("ends a method at its timeout", async () => {
    const seen = await tried("UpperCaseGreet", "hang");
    expect(seen).toMatchObject({ replies: 0, tries: 1 });
    expect([status.UNAVAILABLE, status.DEADLINE_EXCEEDED]).toContain(seen.grpc);
    expect(seen.ms).toBeGreaterThanOrEqual(1990);
    expect(seen.ms).toBeLessThan(3000);
  });

  it("neither cuts nor retries a stream", async () => {
    const seen = await tried("greetServerStream", "slow");
    expect(seen).toMatchObject({ grpc: status.OK, replies: 12, tries: 1 });
    expect(seen.ms).toBeGreaterThan(6000);
    expect(await tried("greetServerStream", "abort")).toMatchObject({ grpc: status.UNAVAILABLE, tries: 1 });
  });

  it.each(["seed", "fast"])(
    "keeps an endpoint whose calls fail out for its ejection time, although its check %s passes",
    async (healthCheck) => {
      await faultyMesh({ healthCheck });
      expectLasting(await failCalls(await Scene.now(), nodeSwitch));
    },
  );
});
