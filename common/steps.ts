const HEARTBEAT_MS = 15_000;

/** Seconds since `start` (of `performance.now()`), for people. */
export function elapsed(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

function toStderr(line: string): void {
  process.stderr.write(`  ${line}\n`);
}

/**
 * Runs one step of long work and reports it with its time: a line when it ends, and one every 15 s
 * while it runs, so that neither a terminal nor a CI log looks dead.
 * @param report writes a line, to standard error by default
 */
export async function step<T>(title: string, work: () => Promise<T>, report = toStderr): Promise<T> {
  const start = performance.now();
  const heartbeat = setInterval(() => {
    report(`..    ${title} (${elapsed(start)})`);
  }, HEARTBEAT_MS);
  try {
    const result = await work();
    report(`ok    ${title} (${elapsed(start)})`);
    return result;
  } catch (error) {
    report(`FAIL  ${title} (${elapsed(start)})`);
    throw error;
  } finally {
    clearInterval(heartbeat);
  }
}
