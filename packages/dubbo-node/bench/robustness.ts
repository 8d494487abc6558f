import { step } from "../../../common/steps.ts";
import { Connection } from "./connection.ts";
import { scenarios } from "./scenarios/index.ts";
import { checkWell, type Size, startTarget, type Target, type TargetOptions } from "./target.ts";

/** What one round does. */
export const FULL_SIZE: Size = { streams: 1000, readers: 50, garbage: 20, connections: 10_000 };
/** What the heap may have grown by since the warm-up, as a ratio. */
export const MAX_HEAP_GROWTH = 1.2;

const WARM_UP_CALLS = 5000;
/** What has been done once is in the heap: compiled code, caches, counters. */
const WARM_UP_SIZE: Size = { streams: 200, readers: 2, garbage: 1, connections: 500 };

const MB = 1_000_000;

/** Memory after a round, MB; the heap after full collections. */
export interface Round {
  readonly round: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly rss: number;
  /** The most that was ever resident. */
  readonly peakRss: number;
}

/** What has been seen. */
export interface Robustness {
  /** What each scenario has seen in its last round. */
  readonly scenarios: Readonly<Record<string, string>>;
  /** Memory after the warm-up, which is round 0, and after each round. */
  readonly rounds: readonly Round[];
  /** Heap after the last round to that after the warm-up. */
  readonly growth: number;
  readonly ok: boolean;
}

/** Every scenario small, and calls. */
export async function warmUp(target: Target): Promise<void> {
  const connection = await Connection.open(target.port);
  for (let call = 0; call < WARM_UP_CALLS; call += 100) {
    await Promise.all(Array.from({ length: 100 }, () => connection.greet("warm up")));
  }
  connection.close();
  for (const scenario of scenarios) await scenario.run(target, WARM_UP_SIZE);
  await checkWell(target);
}

async function memory({ server }: Target, round: number): Promise<Round> {
  const { heapUsed, external, rss } = await server.heap();
  return {
    round,
    heapUsed: heapUsed / MB,
    external: external / MB,
    rss: rss / MB,
    peakRss: server.peakRss() / MB,
  };
}

/** Every scenario once, with a look at the provider after each. */
async function oneRound(target: Target, round: number, seen: Record<string, string>): Promise<Round> {
  for (const scenario of scenarios) {
    seen[scenario.title] = await step(`round ${round}: ${scenario.title}`, async () => {
      const found = await scenario.run(target, FULL_SIZE);
      await checkWell(target);
      return found;
    });
  }
  const found = await memory(target, round);
  process.stderr.write(
    `        heap ${found.heapUsed.toFixed(1)} MB, RSS ${found.rss.toFixed(0)} MB, at most ${found.peakRss.toFixed(0)} MB\n`,
  );
  return found;
}

/**
 * Every scenario on one provider, in rounds until the time is over, at least once. The heap may not have grown by more than a fifth
 * since the warm-up after any round.
 */
export async function robustness(minutes: number, options: TargetOptions): Promise<Robustness> {
  const target = await step("start the provider", () => startTarget(options));
  try {
    const end = performance.now() + minutes * 60_000;
    const seen: Record<string, string> = {};
    await step("warm up", () => warmUp(target));
    const warm = await memory(target, 0);
    const rounds = [warm];
    do rounds.push(await oneRound(target, rounds.length, seen));
    while (performance.now() < end);
    const growth = Math.max(...rounds.slice(1).map(({ heapUsed }) => heapUsed)) / warm.heapUsed;
    return { scenarios: seen, rounds, growth, ok: growth <= MAX_HEAP_GROWTH };
  } finally {
    await target.server.kill();
  }
}
