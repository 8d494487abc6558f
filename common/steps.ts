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
 * @param waitsFor returns a text for the line every 15 s, which an error leaves out (default: none)
 */
export async function step<T>(
  title: string,
  work: () => Promise<T>,
  report = toStderr,
  waitsFor = () => Promise.resolve(""),
): Promise<T> {
  const start = performance.now();
  let runs = true;
  const beat = async (): Promise<void> => {
    const line = `..    ${title} (${elapsed(start)})`;
    const text = await waitsFor().catch(() => "");
    if (runs) report(text === "" ? line : `${line}: ${text}`);
  };
  const heartbeat = setInterval(() => void beat(), HEARTBEAT_MS);
  try {
    const result = await work();
    report(`ok    ${title} (${elapsed(start)})`);
    return result;
  } catch (error) {
    report(`FAIL  ${title} (${elapsed(start)})`);
    throw error;
  } finally {
    runs = false;
    clearInterval(heartbeat);
  }
}
