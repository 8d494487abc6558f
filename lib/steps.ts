const HEARTBEAT_MS = 15_000;

/** Seconds since `start` (of `performance.now()`), for people. */
export function elapsed(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

/**
 * Runs one step of long work and reports it with its time on standard error: a line when it ends,
 * and one every 15 s while it runs, so that neither a terminal nor a CI log looks dead.
 */
export async function step<T>(title: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const heartbeat = setInterval(() => {
    process.stderr.write(`  ..    ${title} (${elapsed(start)})\n`);
  }, HEARTBEAT_MS);
  try {
    const result = await work();
    process.stderr.write(`  ok    ${title} (${elapsed(start)})\n`);
    return result;
  } catch (error) {
    process.stderr.write(`  FAIL  ${title} (${elapsed(start)})\n`);
    throw error;
  } finally {
    clearInterval(heartbeat);
  }
}
