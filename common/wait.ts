import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 100;

/** Polls ten times a second until `look` finds something; undefined after `seconds`. */
export async function within<T>(seconds: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const found = await look();
    if (found !== undefined || performance.now() > end) return found;
    await sleep(POLL_MS);
  }
}
