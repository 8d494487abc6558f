import { milliseconds } from "../../settings/duration.ts";
import type { PromotionSettings } from "../../settings/promotion.ts";
import type { Bin, Counts } from "./counts.ts";

/** Figures of the calls to a version, or to several. */
export interface Figures {
  /** Number of tries that have ended. A call may have several. */
  readonly tries: number;
  /** Success rate of the tries, percent; undefined without tries. */
  readonly success: number | undefined;
  /** Time that half of the answered calls need at most, ms; undefined without answers. */
  readonly p50: number | undefined;
  /** Time that 99 % of the answered calls need at most, ms; undefined without answers. */
  readonly p99: number | undefined;
}

/** Result of a step. */
export type Verdict =
  { readonly verdict: "held" } | { readonly verdict: "worse" | "undecided"; readonly reason: string };

/**
 * Number of calls from which the p99 is judged. The p99 of fewer is the time of one to four calls,
 * such as the first ones of a pod.
 */
const P99_CALLS = 500;
/** Rounding error of percents such as 100 - 99.9. */
const ROUNDING = 1e-6;

/** Returns the number of calls in a histogram. */
function countOf(times: readonly Bin[]): number {
  return times.reduce((sum, { calls }) => sum + calls, 0);
}

/** Returns the time that a share of the calls needs at most, ms. Assumes even times in a bin. */
export function quantile(times: readonly Bin[], share: number): number | undefined {
  let left = countOf(times) * share;
  for (const { from, width, calls } of times) {
    if (left <= calls) return Math.round((from + (width * left) / calls) * 10) / 10;
    left -= calls;
  }
  return undefined;
}

/**
 * Returns the number of failures: failed tries, calls that were given up, and calls that Envoy
 * answered itself. A failed connection counts once. Two of the last two kinds, or 1 % of the tries
 * if that is more, do not count, because the counters are not read at the same moment.
 */
function failuresOf({ succeeded, failed, unaccounted }: Counts): number {
  const unanswered = unaccounted >= 0 ? unaccounted : -unaccounted - failed;
  const excess = unanswered - Math.max(2, (succeeded + failed) / 100);
  return failed + Math.max(0, Math.ceil(excess));
}

/** Returns the figures of counts. */
export function figuresOf(counts: Counts): Figures {
  const { succeeded, times } = counts;
  const tries = succeeded + failuresOf(counts);
  return {
    tries,
    success: tries === 0 ? undefined : (100 * succeeded) / tries,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
  };
}

/**
 * Returns the number of answered calls. Envoy adds times to its histograms late, so those of a step
 * contain some of the step before.
 */
export function answeredOf(counts: Counts): number {
  return Math.min(figuresOf(counts).tries, countOf(counts.times));
}

/** Formats a rate in percent. It rounds down, so that only a rate without failures is 100 %. */
export function percent(rate: number | undefined): string {
  return rate === undefined ? "-" : `${Math.floor(rate * 10) / 10} %`;
}

/** Formats a time. */
export function ms(time: number | undefined): string {
  return time === undefined ? "-" : `${time} ms`;
}

function failureReason(
  counts: Counts,
  others: Figures,
  { calls, minSuccess }: PromotionSettings,
): string | undefined {
  const { succeeded } = counts;
  const failed = failuresOf(counts);
  // More failures than the bound allows, even if all calls that are still to come succeed.
  const judged = Math.max(succeeded + failed, calls);
  const allowed = (judged * (100 - minSuccess)) / 100;
  if (failed <= allowed + ROUNDING) return undefined;
  const rate = percent((100 * succeeded) / (succeeded + failed));
  return `success ${rate} (${failed} of ${succeeded + failed} tries failed); minSuccess is ${minSuccess} %; the others have ${percent(others.success)}`;
}

function latencyReason(
  counts: Counts,
  others: Figures,
  { maxAddedLatency }: PromotionSettings,
): string | undefined {
  const bound = milliseconds(maxAddedLatency);
  const own = figuresOf(counts);
  const isMany = Math.min(answeredOf(counts), others.tries) >= P99_CALLS;
  const judged = isMany ? (["p50", "p99"] as const) : (["p50"] as const);
  for (const name of judged) {
    const [time, other] = [own[name], others[name]];
    if (time === undefined || other === undefined || time <= other + bound) continue;
    return `${name} ${ms(time)}; the others have ${ms(other)}; at most ${bound} ms more is allowed`;
  }
  return undefined;
}

/**
 * Judges a version by its calls in a step; undefined if it is too early. Too many failures are
 * certain at once. All else is judged when the version has answered enough calls.
 * @param counts calls to the version in this step
 * @param others figures of the versions that it replaces
 */
export function judge(counts: Counts, others: Figures, bounds: PromotionSettings): Verdict | undefined {
  const failure = failureReason(counts, others, bounds);
  if (failure !== undefined) return { verdict: "worse", reason: failure };
  const comparable = answeredOf(counts) >= bounds.calls && others.p50 !== undefined;
  if (!comparable) return undefined;
  const latency = latencyReason(counts, others, bounds);
  return latency === undefined ? { verdict: "held" } : { verdict: "worse", reason: latency };
}
