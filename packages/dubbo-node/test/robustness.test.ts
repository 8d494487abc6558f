import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { drill, HealthPicker, LEAVING, type Pair, startPair, STAYING, stopPair } from "../bench/drill.ts";
import { MAX_HEAP_GROWTH, warmUp } from "../bench/robustness.ts";
import { scenarios } from "../bench/scenarios/index.ts";
import { checkWell, type Size, startTarget, type Target } from "../bench/target.ts";

// The test opens thousands of connections, on machines that may be busy.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** Number of readers; `make bench-apps` has 50. */
const SIZE: Size = { streams: 1000, readers: 5, garbage: 3, connections: 10_000 };

describe("a provider under abuse", () => {
  let target: Target;
  let warmHeap: number;

  beforeAll(async () => {
    target = await startTarget();
    await warmUp(target);
    warmHeap = (await target.server.heap()).heapUsed;
  });
  afterAll(() => target.server.kill());

  test.each(scenarios)("survives $title, and serves afterwards", async (scenario) => {
    expect(await scenario.run(target, SIZE)).not.toBe("");
    await checkWell(target);
  });

  test("uses no more memory than after the warm-up", async () => {
    const { heapUsed } = await target.server.heap();
    expect(heapUsed / warmHeap).toBeLessThan(MAX_HEAP_GROWTH);
  });
});

describe("a provider that gets SIGTERM under load", () => {
  const CHECK_MS = 100;
  const SHUTDOWN_WAIT_MS = 1500;
  let pair: Pair;
  let picker: HealthPicker;

  beforeAll(async () => {
    pair = await startPair(SHUTDOWN_WAIT_MS);
    picker = new HealthPicker(
      pair.ports.map(({ port }) => port),
      CHECK_MS,
    );
  });
  afterEach(async () => {
    await picker.stop();
    await stopPair(pair);
  });

  test("fails no call of a client that watches its health, and exits with 0", async () => {
    const outAfter = sleep(1000).then(() => vi.waitUntil(() => picker.healthy === 1, { timeout: 10_000 }));
    const { tally, exit, answeredWhileLeaving } = await drill(pair, (name) => picker.greet(name), 1000);
    await outAfter;
    expect(tally.failures).toEqual([]);
    expect(exit.code).toBe(0);
    expect(exit.ms).toBeGreaterThanOrEqual(SHUTDOWN_WAIT_MS);
    expect(exit.ms).toBeLessThan(SHUTDOWN_WAIT_MS + 5000);
    const { [LEAVING]: left = 0, [STAYING]: stayed = 0 } = tally.answered;
    expect(left + stayed).toBe(tally.begun);
    // Both providers were called before, but after the first check only the remaining one.
    expect(left - answeredWhileLeaving).toBeGreaterThan(50);
    expect(stayed).toBeGreaterThan(left);
  });
});
