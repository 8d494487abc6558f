const HEARTBEAT_MS = 15_000;

/** Returns the time since `start` (from `performance.now()`) as text, such as `1.5 s`. */
export function elapsed(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

function toStderr(line: string): void {
  process.stderr.write(`  ${line}\n`);
}

/**
 * Runs one long step and reports its time. It prints a line every 15 s and one at the end, so a
 * terminal or CI log shows progress.
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
