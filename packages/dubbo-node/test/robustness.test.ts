import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { drill, HealthPicker, LEAVING, type Pair, startPair, STAYING, stopPair } from "../bench/drill.ts";
import { MAX_HEAP_GROWTH, warmUp } from "../bench/robustness.ts";
import { scenarios } from "../bench/scenarios/index.ts";
import { checkWell, type Size, startTarget, type Target } from "../bench/target.ts";

// Thousands of connections, on machines that may be busy.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** What `make bench-apps` does as well, with fewer readers: there it is 50. */
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

  test.each(scenarios)("gets through $title, and is well afterwards", async (scenario) => {
    expect(await scenario.run(target, SIZE)).not.toBe("");
    await checkWell(target);
  });

  test("holds no more memory than it did when it was warm", async () => {
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

  test("fails no call of a client that follows its health, and exits with 0 when the wait is over", async () => {
    const outAfter = sleep(1000).then(() => vi.waitUntil(() => picker.healthy === 1, { timeout: 10_000 }));
    const { tally, exit, answeredWhileLeaving } = await drill(pair, (name) => picker.greet(name), 1000);
    await outAfter;
    expect(tally.failures).toEqual([]);
    expect(exit.code).toBe(0);
    expect(exit.ms).toBeGreaterThanOrEqual(SHUTDOWN_WAIT_MS);
    expect(exit.ms).toBeLessThan(SHUTDOWN_WAIT_MS + 5000);
    const { [LEAVING]: left = 0, [STAYING]: stayed = 0 } = tally.answered;
    expect(left + stayed).toBe(tally.begun);
    // Both were called before, and after the first check only the one that stays.
    expect(left - answeredWhileLeaving).toBeGreaterThan(50);
    expect(stayed).toBeGreaterThan(left);
  });
});
