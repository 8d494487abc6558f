/** Units of `grpc-timeout`, ms. Source: gRPC over HTTP/2. */
const UNITS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
/** Largest number of a timeout, which has 8 digits. */
const MOST = 99_999_999;
/** Longest time of a timer of Node.js, ms. */
const LONGEST_TIMER = 2_147_483_647;

/**
 * Returns the deadline that a `grpc-timeout` sets, ms since 1970. Like Java, it ignores a malformed
 * one.
 */
export function deadlineOf(timeout: string | undefined): number {
  if (timeout === undefined) return Infinity;
  const [, amount, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(timeout) ?? [];
  return amount === undefined ? Infinity : Date.now() + Number(amount) * (UNITS[unit] ?? 0);
}

/** Returns the `grpc-timeout` that ends at a deadline. */
export function timeoutOf(deadline: number): string {
  const left = Math.max(0, Math.ceil(deadline - Date.now()));
  return left <= MOST ? `${left}m` : `${Math.min(MOST, Math.ceil(left / 1000))}S`;
}

/**
 * Runs `work` at a deadline. A deadline more than 24 days away sets no timer. Clear the returned
 * timer if the work is no longer needed.
 */
export function atDeadline(deadline: number, work: () => void): NodeJS.Timeout | undefined {
  const wait = deadline - Date.now();
  return wait <= LONGEST_TIMER ? setTimeout(work, Math.max(0, wait)) : undefined;
}
