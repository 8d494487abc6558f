import type { V1Pod } from "@kubernetes/client-node";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { UserError } from "../../../common/errors.ts";
import { promotionSettings } from "../../../settings/promotion.ts";
import { parseSettings } from "../../../settings/settings.ts";
import { Observer } from "../../../tools/promote/observe.ts";
import type { Check } from "../../../tools/verify/check.ts";
import type { MeshReader } from "../../../tools/verify/proxy.ts";
import type { VerifyReport, watch } from "../../../tools/verify/verify.ts";
import { userError } from "../tools/user-error.ts";

const verification = vi.hoisted(() => ({ watch: vi.fn() }));
vi.mock(import("../../../tools/verify/verify.ts"), async (original) => ({
  ...(await original()),
  watch: verification.watch as typeof watch,
}));
// Waits pass at once, on a clock that the tests share with the code.
vi.mock("node:timers/promises", () => ({
  setTimeout: async (ms: number, _value?: unknown, options?: { signal?: AbortSignal }) => {
    await new Promise((resolve) => setImmediate(resolve));
    options?.signal?.throwIfAborted();
    vi.advanceTimersByTime(ms);
  },
}));

const HOST = "greeter.shop.svc.cluster.local";
const SETTINGS = parseSettings({ cluster: "local" });
const CHECK: Check = { check: "ready", of: "greeter-v2", seen: "1 of 2", expected: "2", ok: false };

function report(...checks: Check[]): VerifyReport {
  const ok = checks.every((check) => check.ok);
  return { ok, seconds: 1, healthCheckLoad: { checksPerSecond: 0, perProviderPod: 0 }, checks, fixes: {} };
}

/** Counters of a version in the caller's Envoy. All its calls take 2 ms. */
interface Version {
  succeeded: number;
  failed: number;
  healthy: boolean;
}

let versions: { v1: Version; v2: Version };
/** Number of readings that still fail. */
let failing: number;
/** Makes all further readings hang. */
let hangs: boolean;
/** Changes the counters before each reading. */
let between: (look: number) => void;

beforeEach(() => {
  versions = {
    v1: { succeeded: 1000, failed: 0, healthy: true },
    v2: { succeeded: 50, failed: 9, healthy: true },
  };
  failing = 0;
  hangs = false;
  between = () => {
    versions.v1.succeeded += 40;
    versions.v2.succeeded += 4;
  };
  vi.useFakeTimers({ toFake: ["performance"] });
  verification.watch.mockReset().mockResolvedValue(report({ ...CHECK, ok: true }));
});
afterEach(() => {
  vi.useRealTimers();
});

const nameOf = (version: string): string => `outbound|50052|${version}|${HOST}`;

function clusters(): object {
  return {
    cluster_statuses: Object.entries(versions).map(([version, { succeeded, failed, healthy }]) => ({
      name: nameOf(version),
      host_statuses: [
        {
          address: { socket_address: { address: "10.0.0.1", port_value: 50052 } },
          stats: [
            { name: "rq_success", value: String(succeeded) },
            { name: "rq_error", value: String(failed) },
          ],
          health_status: healthy ? {} : { failed_active_health_check: true },
        },
      ],
    })),
  };
}

function statistics(): object {
  const each = Object.entries(versions);
  const counters = each.flatMap(([version, { succeeded, failed }]) =>
    ["total", "completed"].map((name) => ({
      name: `cluster.${nameOf(version)}.upstream_rq_${name}`,
      value: succeeded + failed,
    })),
  );
  const details = each.map(([version, { succeeded }]) => ({
    name: `cluster.${nameOf(version)}.upstream_rq_time`,
    totals: [{ lower_bound: 2, width: 0.1, count: succeeded }],
  }));
  return { stats: [...counters, { histograms: { details } }] };
}

const caller: V1Pod = {
  metadata: { name: "web-1" },
  spec: { containers: [{ name: "istio-proxy" }] },
  status: {
    containerStatuses: [
      { name: "istio-proxy", ready: true, restartCount: 0, image: "", imageID: "", state: { running: {} } },
    ],
  },
};

function observer(bounds: object = {}): Observer {
  let looks = 0;
  const mesh: MeshReader = {
    namespace: "shop",
    pods: () => Promise.resolve([caller]),
    log: () => Promise.reject(new Error("no log is read")),
    exec: (_pod, _container, command) => {
      if (hangs) return new Promise(() => undefined);
      const isClusters = command.at(-1)?.startsWith("clusters") === true;
      if (!isClusters) return Promise.resolve(JSON.stringify(statistics()));
      if (looks > 0) between(looks);
      looks += 1;
      if (failing > 0) {
        failing -= 1;
        return Promise.reject(new UserError("the cluster does not answer", "Start it."));
      }
      return Promise.resolve(JSON.stringify(clusters()));
    },
  };
  return new Observer({
    live: { mesh, istio: mesh },
    callee: {
      name: "greeter",
      port: 50052,
      versions: ["v1", "v2"].map((name) => ({ name, weight: 50 })),
    },
    host: HOST,
    callers: ["web"],
    version: "v2",
    others: ["v1"],
    bounds: promotionSettings.parse(bounds),
  });
}

const signal = new AbortController().signal;

describe("a step", () => {
  it("holds when the version has answered enough calls since the step before, and the mesh is verified", async () => {
    const observed = observer();
    await observed.start(signal);
    const first = await observed.step(SETTINGS, signal);
    expect(first).toMatchObject({ verdict: "held", version: { tries: 20, success: 100 } });
    expect(first.others).toMatchObject({ tries: 200, success: 100 });
    expect(verification.watch).toHaveBeenCalled();
    verification.watch.mockClear();
    const second = await observed.step(SETTINGS, signal);
    expect(second).toMatchObject({ verdict: "held", version: { tries: 20 }, others: { tries: 400 } });
    expect(verification.watch).toHaveBeenCalled();
  });

  it("compares with all earlier calls if the others get too few", async () => {
    between = () => {
      versions.v2.succeeded += 10;
    };
    const observed = observer();
    await observed.start(signal);
    expect(await observed.step(SETTINGS, signal)).toMatchObject({ verdict: "held", others: { tries: 1000 } });
  });

  it("waits for the verification", async () => {
    let finish: (value: VerifyReport) => void = () => undefined;
    verification.watch.mockReturnValue(new Promise((resolve) => (finish = resolve)));
    const observed = observer();
    await observed.start(signal);
    const step = observed.step(SETTINGS, signal);
    const early = await Promise.race([step, new Promise((resolve) => setTimeout(resolve, 200))]);
    expect(early).toBeUndefined();
    finish(report({ ...CHECK, ok: true }));
    expect(await step).toMatchObject({ verdict: "held" });
  });

  it("ends at the first failure that is certain, before it is verified", async () => {
    verification.watch.mockReturnValue(new Promise(() => undefined));
    between = () => {
      versions.v2.failed += 1;
    };
    const observed = observer();
    await observed.start(signal);
    expect(await observed.step(SETTINGS, signal)).toMatchObject({
      verdict: "worse",
      reason: "success 0 % (2 of 2 tries failed); minSuccess is 95 %; the others have 100 %",
    });
  });

  it("ends when the verification fails, with its failed checks", async () => {
    between = () => undefined;
    verification.watch
      .mockResolvedValueOnce(report({ ...CHECK, ok: true }))
      .mockResolvedValueOnce(report(CHECK, { ...CHECK, check: "sync", ok: true }));
    const observed = observer();
    await observed.start(signal);
    expect(await observed.step(SETTINGS, signal)).toMatchObject({
      verdict: "worse",
      reason: "verify failed: ready of greeter-v2: 1 of 2; expected: 2",
    });
  });

  it("ends when a caller's Envoy has no healthy endpoint in two readings in a row", async () => {
    const sick = new Set([2, 4, 5]);
    between = (look) => {
      versions.v2.healthy = !sick.has(look);
    };
    const observed = observer();
    await observed.start(signal);
    expect(await observed.step(SETTINGS, signal)).toMatchObject({
      verdict: "worse",
      reason: "the Envoy of web-1 has no healthy endpoint of v2",
    });
  });

  it("is undecided if the version has not answered enough calls in ten minutes", async () => {
    between = (look) => {
      if (look % 100 === 0) versions.v2.succeeded += 1;
    };
    const observed = observer();
    await observed.start(signal);
    const start = performance.now();
    expect(await observed.step(SETTINGS, signal)).toMatchObject({
      verdict: "undecided",
      reason: expect.stringMatching(/^undecided: \d answered calls in 10 minutes; 20 are needed$/) as string,
    });
    // The waits between verifications pass on the same clock.
    expect(performance.now() - start).toBeGreaterThan(600_000);
  });

  it("repeats a reading that fails twice, but not a third time", async () => {
    const observed = observer();
    failing = 2;
    await observed.start(signal);
    failing = 3;
    expect((await userError(observed.step(SETTINGS, signal))).message).toBe("the cluster does not answer");
  });

  it("ends with the signal, even if the cluster never answers", async () => {
    const controller = new AbortController();
    const observed = observer();
    await observed.start(controller.signal);
    hangs = true;
    verification.watch.mockReturnValue(new Promise(() => undefined));
    const step = observed.step(SETTINGS, controller.signal);
    controller.abort(new Error("the command got SIGTERM"));
    await expect(step).rejects.toThrow("the command got SIGTERM");
    await expect(observer().start(controller.signal)).rejects.toThrow("the command got SIGTERM");
  });

  it("compares with all earlier calls if the others answer none in this promotion", async () => {
    between = () => {
      versions.v1.failed += 40;
      versions.v2.succeeded += 4;
    };
    const observed = observer();
    await observed.start(signal);
    expect(await observed.step(SETTINGS, signal)).toMatchObject({ verdict: "held", others: { p50: 2.1 } });
  });

  it("ends with the signal", async () => {
    const controller = new AbortController();
    between = (look) => {
      if (look === 3) controller.abort(new Error("the command got SIGTERM"));
    };
    const observed = observer();
    await observed.start(controller.signal);
    await expect(observed.step(SETTINGS, controller.signal)).rejects.toThrow();
    expect(controller.signal.aborted).toBe(true);
  });
});
