import { describe, expect, it } from "vitest";
import { loadOf } from "../../../settings/graph.ts";
import { parseSettings } from "../../../settings/settings.ts";
import { windowSeconds } from "../../../tools/verify/expected.ts";
import {
  type LiveStack,
  requireVerifiable,
  verify,
  verifyText,
  watch,
} from "../../../tools/verify/verify.ts";
import { sampleProxies } from "../../../tools/verify/proxies.ts";
import { sampleMesh } from "../../../tools/verify/sample.ts";
import { userError } from "../tools/user-error.ts";
import { pair } from "../pair.ts";
import { EXPECTED, istiodOf, podOf, RecordedMesh, recording, SETTINGS } from "./recorded.ts";

const SOUND = recording("good", "before");

/** A stack with this mesh, and an istiod to which all of its pods are connected. */
function live(mesh: RecordedMesh, look = SOUND): LiveStack {
  return { mesh, istio: istiodOf(look) };
}

describe("verify", () => {
  it("ends as soon as every check is ok", async () => {
    const before = recording("good", "before");
    const mesh = new RecordedMesh(before, before, recording("good", "after"));
    const { ok, seconds, checks, healthCheckLoad } = await watch(live(mesh), SETTINGS, { pause: 1 });
    expect({ ok, checks: checks.length, quick: seconds < 6 }).toEqual({ ok: true, checks: 20, quick: true });
    expect(healthCheckLoad).toEqual(loadOf(SETTINGS.services));
  });

  it("begins anew when the pods are ready, since checks fail before", async () => {
    const before = recording("good", "before");
    const mesh = new RecordedMesh(recording("starting", "after"), before, recording("good", "after"));
    expect(await watch(live(mesh), SETTINGS, { pause: 1 })).toMatchObject({ ok: true });
  });

  it("begins anew when the pods are others, since Envoy then learns new endpoints", async () => {
    const [before, after] = [recording("good", "before"), recording("good", "after")];
    const [replaced] = before.pods.filter(({ metadata }) => metadata?.labels?.["app"] === EXPECTED.provider);
    const name = replaced?.metadata?.name ?? "";
    const earlier = recording("good", "before");
    earlier.pods = (JSON.parse(JSON.stringify(earlier.pods).replaceAll(name, "old")) as object[]).map(podOf);
    const mesh = new RecordedMesh(earlier, before, after);
    const { checks } = await watch(live(mesh), SETTINGS, { pause: 1 });
    // Without a new beginning, all lines in the log of the new pod would count.
    expect(checks.find(({ check }) => check === "inbound log")?.seen).toMatch(/^8 calls/);
  });

  it("gives up when the configured check and calls had time enough", async () => {
    const healthCheck = JSON.stringify({ interval: "0.001s", initial_jitter: "0s", interval_jitter: "0s" });
    const quick = {
      services: pair({ consumer: "interval: 0.001s" }),
      healthCheck,
      healthCheckBudget: "1000",
    };
    const settings = parseSettings({ cluster: "local", ...quick });
    const limit = windowSeconds(settings);
    expect(limit).toBeCloseTo(3.01);
    const look = recording("good", "after");
    const { ok, seconds } = await watch(live(new RecordedMesh(look), look), settings, { pause: 200 });
    expect(ok).toBe(false);
    expect(seconds).toBeGreaterThanOrEqual(3);
    expect(seconds).toBeLessThan(5);
  });

  it("refuses a stack that is not there", async () => {
    const nothing = { ...recording("good", "before"), pods: [] };
    expect(await userError(watch(live(new RecordedMesh(nothing)), SETTINGS, { pause: 1 }))).toEqual({
      message: "namespace dubbo-demo has no pods of the stack",
      fix: "Run `make up` first.",
    });
  });

  it("says that a proxy does not answer", async () => {
    const mesh = new RecordedMesh(recording("good", "before"));
    mesh.exec = () => Promise.reject(new Error("no route"));
    expect(await userError(watch(live(mesh), SETTINGS, { pause: 1 }))).toEqual({
      message: "the proxy of pod dubbo-samples-mesh-provider-v1-cc5f8654d-cw9kq does not answer: no route",
      fix: "Look at `kubectl logs dubbo-samples-mesh-provider-v1-cc5f8654d-cw9kq -n dubbo-demo -c istio-proxy`; if the pod was just replaced, run the command again.",
    });
  });

  it("observes for the whole time, however long a look takes", async () => {
    const quick = {
      services: pair({ consumer: "interval: 0.001s" }),
      healthCheck: "{profile: fast}",
      healthCheckBudget: "1000",
    };
    const settings = parseSettings({ cluster: "local", ...quick });
    const before = recording("good", "before");
    const mesh = new RecordedMesh(before, recording("good", "after"));
    const log = mesh.log.bind(mesh);
    // The first look takes longer than the whole observation should.
    let waits = windowSeconds(settings) * 1000 + 200;
    mesh.log = async (...question) => {
      const wait = waits;
      waits = 0;
      await new Promise((resolve) => setTimeout(resolve, wait));
      return log(...question);
    };
    const { checks } = await watch(live(mesh), settings, { pause: 1 });
    expect(checks.find(({ check }) => check === "calls")?.seen).toMatch(/^10 calls/);
  });

  it("leaves out a pod that ends while it is asked", async () => {
    const [before, after] = [recording("good", "before"), recording("good", "after")];
    const [gone] = after.pods.filter(({ metadata }) => metadata?.labels?.["app"] === EXPECTED.provider);
    const name = gone?.metadata?.name ?? "";
    const mesh = new RecordedMesh(before, after);
    const [exec, pods] = [mesh.exec.bind(mesh), mesh.pods.bind(mesh)];
    let ended = false;
    mesh.exec = (pod, ...rest) => {
      if (pod !== name) return exec(pod, ...rest);
      ended = true;
      return Promise.reject(new Error("container not found"));
    };
    mesh.pods = async (application) =>
      (await pods(application)).filter(({ metadata }) => !ended || metadata?.name !== name);
    const sample = await sampleMesh(mesh, EXPECTED);
    expect(sample.callees.map(({ pod }) => pod)).toHaveLength(2);
    const proxies = await sampleProxies(mesh, SETTINGS);
    expect(proxies.map(({ pod }) => pod)).not.toContain(name);
    expect(proxies).toHaveLength(2);
  });

  it.each<[Record<string, string>, RegExp]>([
    [{ injection: "false" }, /^dubbo-mesh:injection is false/],
    [{ accessLogs: "false" }, /^dubbo-mesh:accessLogs is false/],
    [
      { services: pair({ consumer: "replicas: 0" }) },
      /runs no service that calls another, so nothing is called/,
    ],
    [{ services: "[{app: provider}]" }, /runs no service that calls another, so nothing is called/],
  ])("refuses %o", async (configured, message) => {
    const settings = parseSettings({ cluster: "local", ...configured });
    const file = { stack: "dev", directory: "", raw: {}, encrypted: [], unread: [], settings };
    expect((await userError(verify(file))).message).toMatch(message);
    expect(() => {
      requireVerifiable(settings);
    }).toThrow(message);
  });
});

describe("the time to watch", () => {
  it("is the health check's bound, or what it takes to call each endpoint", () => {
    const seconds = (provider: object, consumer: object): number =>
      windowSeconds(
        parseSettings({
          cluster: "local",
          services: JSON.stringify([
            { app: "provider", ...provider },
            { app: "consumer", ...consumer },
          ]),
        }),
      );
    expect(seconds({}, {})).toBe(3 + 10);
    expect(seconds({}, { interval: "0.1s" })).toBe(3 + 8.5);
    const versions = [
      { name: "v1", weight: 80 },
      { name: "v2", weight: 20 },
      { name: "v3", weight: 0 },
    ];
    expect(seconds({ versions }, {})).toBe(3 + 50);
    expect(seconds({ versions }, { interval: "60s" })).toBe(3 + 120);
  });

  it("is that of a cluster without calls where a caller waits to be called", () => {
    const services = "[{app: provider}, {app: relay}]";
    expect(windowSeconds(parseSettings({ cluster: "local", services }))).toBe(3 + 7);
    expect(windowSeconds(parseSettings({ cluster: "local", services, healthCheck: "gentle" }))).toBe(3 + 36);
  });
});

describe("a report", () => {
  it("is a table with a sum", () => {
    const row = { of: "x", seen: "1", expected: "2" };
    const report = {
      ok: false,
      seconds: 1.5,
      healthCheckLoad: { checksPerSecond: 0.3636, perProviderPod: 0.1818 },
      checks: [
        { check: "ready", ...row, ok: true },
        { check: "calls", ...row, ok: false },
      ],
      fixes: { calls: "look at the log" },
    } as const;
    expect(verifyText(report)).toBe(
      [
        "      check  of  seen  expected",
        "ok    ready  x   1     2",
        "FAIL  calls  x   1     2",
        "",
        "calls: look at the log",
        "",
        "health checks: at most 0.36 a second in all, 0.18 a provider pod",
        "1 check ok, 1 failed (watched for 1.5 s)",
      ].join("\n"),
    );
  });
});
