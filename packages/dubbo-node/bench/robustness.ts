import { step } from "../../../common/steps.ts";
import { Connection } from "./connection.ts";
import { scenarios } from "./scenarios/index.ts";
import { checkWell, type Size, startTarget, type Target, type TargetOptions } from "./target.ts";

/** Size of the scenarios in one round. */
export const FULL_SIZE: Size = { streams: 1000, readers: 50, garbage: 20, connections: 10_000 };
/** Largest allowed heap size relative to the warm-up. */
export const MAX_HEAP_GROWTH = 1.2;

const WARM_UP_CALLS = 5000;
/** Size of the warm-up, which fills compiled code, caches and counters. */
const WARM_UP_SIZE: Size = { streams: 200, readers: 2, garbage: 1, connections: 500 };

const MB = 1_000_000;

/** Memory after a round, MB; the heap is read after full collections. */
export interface Round {
  readonly round: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly rss: number;
  /** Largest resident memory so far. */
  readonly peakRss: number;
}

/** Result of all rounds. */
export interface Robustness {
  /** Result of each scenario in its last round. */
  readonly scenarios: Readonly<Record<string, string>>;
  /** Memory after the warm-up (round 0) and after each round. */
  readonly rounds: readonly Round[];
  /** Largest heap after any round, relative to the heap after the warm-up. */
  readonly growth: number;
  readonly ok: boolean;
}

/** Makes calls, and runs every scenario in a small size. */
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

/** Runs every scenario once, and checks the provider after each. */
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
 * Runs all scenarios on one provider, in rounds until the time is over, at least once.
 * After each round the heap may be at most a fifth larger than after the warm-up.
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
