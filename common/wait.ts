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

/** Options of {@link repeated}. */
interface Repetition {
  /** Times between the tries, ms (default: two of 2000). */
  readonly pauses?: readonly number[];
  /** Ends the repetition. */
  readonly signal?: AbortSignal;
  /** Returns true for an error that another try cannot fix (default: for none). */
  readonly isFinal?: (error: unknown) => boolean;
}

/**
 * Repeats work that may fail for a moment.
 * @throws the last error, or the signal's reason
 */
export async function repeated<T>(work: () => Promise<T>, repetition: Repetition = {}): Promise<T> {
  const { pauses = [2000, 2000], signal, isFinal = () => false } = repetition;
  const [pause, ...later] = pauses;
  return work().catch(async (error: unknown) => {
    if (pause === undefined || isFinal(error)) throw error;
    signal?.throwIfAborted();
    await sleep(pause, undefined, { signal });
    return repeated(work, { ...repetition, pauses: later });
  });
}

/** Returns the result of work, or throws the signal's reason as soon as it aborts. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => {
      signal.removeEventListener("abort", abort);
    });
  });
}
