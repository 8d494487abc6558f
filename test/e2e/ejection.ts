import { rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { applicationProcess } from "./host.ts";
import { nameOf, PROVIDER, type Scene } from "./scene.ts";
import { type Seen, Watch } from "./watch.ts";

/** Time that an ejected endpoint stays out, seconds. */
const OUT_SECONDS = 20;
/** Time in which the calls of the endpoint fail, ms. */
const FAILING_MS = 8000;

/** Traffic policy whose ejections end within a test. */
export const SHORT_EJECTION = {
  outlierDetection: { interval: "1s", baseEjectionTime: `${OUT_SECONDS}s` },
};

/** Switches the calls of a provider's process on and off. Its health check passes all the time. */
export type FailureSwitch = (pid: number, failing: boolean) => void;

/** Switch of the faulty provider on Node.js. */
export const nodeSwitch: FailureSwitch = (pid) => {
  process.kill(pid, "SIGUSR2");
};

/** Switch of the Java peer: it looks for this file. */
export const javaSwitch: FailureSwitch = (pid, failing) => {
  const path = `/proc/${pid}/root/dev/shm/failing`;
  if (failing) writeFileSync(path, "");
  else rmSync(path);
};

/** Results of an ejection. */
interface Ejection {
  /** Times that the endpoint was out, seconds, in order. */
  readonly outFor: readonly number[];
  /** Addresses of other endpoints that were out. */
  readonly others: readonly string[];
  readonly seen: Seen;
}

/** Makes the calls of one of the provider's pods fail, and waits until Envoy uses it again. */
export async function failCalls(scene: Scene, turn: FailureSwitch): Promise<Ejection> {
  const [victim] = await scene.mesh.pods(PROVIDER);
  const watch = await Watch.begin(scene);
  const pid = applicationProcess(victim?.metadata?.uid ?? "");
  turn(pid, true);
  await sleep(FAILING_MS);
  turn(pid, false);
  await sleep(OUT_SECONDS * 1000);
  await scene.settled();
  const seen = await watch.end();
  const address = `${victim?.status?.podIP ?? ""}:50052`;
  const own = seen.changes.filter((change) => change.address === address);
  const outFor = own.flatMap(({ at, state }, index) => {
    const back = own[index + 1];
    return state === "failed_outlier_check" && back?.state === "healthy" ? [back.at - at] : [];
  });
  const others = seen.changes.filter((change) => change.address !== address).map((change) => change.address);
  process.stdout.write(`  figure  failing ${nameOf(victim)}: ${JSON.stringify({ outFor, seen })}\n`);
  return { outFor, others, seen };
}

/**
 * Expects that the endpoint was out once, for its whole time, by failing calls alone, and that no
 * call of the consumer failed. Envoy looks once a second, the test every 0.4 s.
 */
export function expectLasting({ outFor, others, seen }: Ejection): void {
  expect(seen).toMatchObject({ failed: [], unaccounted: 0 });
  expect(seen.answered).toBeGreaterThan(100);
  expect(seen.envoy["health_check.failure"]).toBeUndefined();
  expect(seen.envoy["outlier_detection.ejections_enforced_total"]).toBe(1);
  expect(others).toEqual([]);
  expect(outFor).toHaveLength(1);
  expect(outFor[0]).toBeGreaterThan(OUT_SECONDS - 1);
  expect(outFor[0]).toBeLessThan(OUT_SECONDS + 2.5);
}
