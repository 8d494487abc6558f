import { setTimeout as sleep } from "node:timers/promises";
import { repeated, untilAborted } from "../../common/wait.ts";
import type { PromotionSettings } from "../../settings/promotion.ts";
import type { Settings } from "../../settings/settings.ts";
import type { Check, CheckName } from "../verify/check.ts";
import { type LiveStack, watch } from "../verify/verify.ts";
import {
  type Callee,
  countsBetween,
  NONE,
  plus,
  readCallers,
  type Reading,
  withoutEndpoint,
} from "./counts.ts";
import { answeredOf, figuresOf, type Figures, judge, type Verdict } from "./judge.ts";

/** Time between two readings of the callers' Envoys, ms. */
const PAUSE_MS = 2000;
/** Time between two verifications in a step, ms. A verification costs more than a reading. */
const VERIFY_PAUSE_MS = 10_000;
/** Longest time for the calls of a step, seconds. */
export const STEP_SECONDS = 600;

/** Checks of single calls. The promotion judges these by its own bounds. */
const OF_CALLS: ReadonlySet<CheckName> = new Set(["calls", "outbound log", "inbound log"]);

/** Reports whether a check is about the mesh, not about single calls. */
export function isOfMesh({ check }: Check): boolean {
  return !OF_CALLS.has(check);
}

/** Service to observe: its callers, its versions and bounds. */
export interface Observed extends Callee {
  readonly live: LiveStack;
  /** Names of the calling services. */
  readonly callers: readonly string[];
  /** Version that is promoted. */
  readonly version: string;
  /** Versions that it replaces. */
  readonly others: readonly string[];
  readonly bounds: PromotionSettings;
}

/** Calls to the versions of a service, as the Envoys of its callers count them. */
class Calls {
  readonly #observed: Observed;
  #last: Reading | undefined;
  #others = NONE;
  /** Calls to the version in this step. */
  step = NONE;

  constructor(observed: Observed) {
    this.#observed = observed;
  }

  /** Reads the callers' Envoys and adds the new calls. */
  async read(signal: AbortSignal): Promise<Reading> {
    const { live, callers, version, others } = this.#observed;
    const now = await repeated(() => readCallers(live.mesh, callers, this.#observed), { signal });
    if (this.#last !== undefined) {
      this.step = plus(this.step, countsBetween([version], this.#last, now));
      this.#others = plus(this.#others, countsBetween(others, this.#last, now));
    }
    this.#last = now;
    return now;
  }

  /**
   * Figures of the other versions in this promotion. If they got too few calls, it uses all calls
   * since the Envoys started.
   */
  get others(): Figures {
    const figures = figuresOf(this.#others);
    const isEnough = figures.tries >= this.#observed.bounds.calls && figures.p50 !== undefined;
    if (isEnough || this.#last === undefined) return figures;
    return figuresOf(countsBetween(this.#observed.others, undefined, this.#last));
  }
}

function undecided({ step, others }: Calls, bounds: PromotionSettings): Verdict {
  const seen = `undecided: ${answeredOf(step)} answered calls in ${STEP_SECONDS / 60} minutes`;
  const missing =
    others.p50 === undefined
      ? "the versions that it replaces answered no call to compare with"
      : `${bounds.calls} are needed`;
  return { verdict: "undecided", reason: `${seen}; ${missing}` };
}

/** Counts calls until the version can be judged. */
async function judged(calls: Calls, { version, bounds }: Observed, signal: AbortSignal): Promise<Verdict> {
  const end = performance.now() + STEP_SECONDS * 1000;
  let missing: string[] = [];
  for (;;) {
    const reading = await calls.read(signal);
    const without = withoutEndpoint(version, reading);
    // A new pod has no healthy endpoint until its first checks pass, so two readings must agree.
    const pod = without.find((name) => missing.includes(name));
    if (pod !== undefined)
      return { verdict: "worse", reason: `the Envoy of ${pod} has no healthy endpoint of ${version}` };
    missing = without;
    const verdict = judge(calls.step, calls.others, bounds);
    if (verdict !== undefined) return verdict;
    if (performance.now() > end) return undecided(calls, bounds);
    await sleep(PAUSE_MS, undefined, { signal });
  }
}

/** Returns the failed checks in words. */
export function failedText(checks: readonly Check[]): string {
  const failed = checks.filter(({ ok }) => !ok);
  return failed
    .map(({ check, of, seen, expected }) => `${check} of ${of}: ${seen}; expected: ${expected}`)
    .join("\n");
}

/**
 * Verifies the mesh repeatedly, until the first failure.
 * @param callsJudged ends the repetition after a verification that passed
 */
async function verified(
  { live }: Observed,
  settings: Settings,
  callsJudged: AbortSignal,
  signal: AbortSignal,
): Promise<Verdict> {
  for (;;) {
    const { ok, checks } = await repeated(() => watch(live, settings, { about: isOfMesh, signal }), {
      signal,
    });
    if (!ok) return { verdict: "worse", reason: `verify failed: ${failedText(checks)}` };
    await sleep(VERIFY_PAUSE_MS, undefined, { signal: AbortSignal.any([callsJudged, signal]) }).catch(
      () => undefined,
    );
    signal.throwIfAborted();
    if (callsJudged.aborted) return { verdict: "held" };
  }
}

/** Result of a step, and its figures. */
export interface Observation {
  readonly verdict: Verdict["verdict"];
  /** Reason why the step has not held. */
  readonly reason?: string;
  /** Figures of the version in this step. */
  readonly version: Figures;
  /** Figures of the versions that it replaces. */
  readonly others: Figures;
}

/** Observes the steps of a promotion. */
export class Observer {
  readonly #observed: Observed;
  readonly #calls: Calls;

  constructor(observed: Observed) {
    this.#observed = observed;
    this.#calls = new Calls(observed);
  }

  /**
   * Starts to count calls.
   * @throws UserError if the cluster or a proxy does not answer
   */
  async start(signal: AbortSignal): Promise<void> {
    await untilAborted(this.#calls.read(signal), signal);
  }

  /**
   * Observes a step until the version has answered enough calls and the mesh is verified, or until
   * the first fault. The calls count from the end of the step before.
   * @param settings the stack with the weights of the step
   * @param signal ends the observation early
   * @throws UserError if the cluster or a proxy does not answer; the signal's reason
   */
  async step(settings: Settings, signal: AbortSignal): Promise<Observation> {
    const verdict = await untilAborted(this.#verdict(settings, signal), signal);
    const version = figuresOf(this.#calls.step);
    this.#calls.step = NONE;
    return { ...verdict, version, others: this.#calls.others };
  }

  async #verdict(settings: Settings, signal: AbortSignal): Promise<Verdict> {
    const [callsJudged, stop] = [new AbortController(), new AbortController()];
    const either = AbortSignal.any([signal, stop.signal]);
    const verification = verified(this.#observed, settings, callsJudged.signal, either);
    const counting = judged(this.#calls, this.#observed, either);
    try {
      const first = await Promise.race([verification, counting]);
      if (first.verdict !== "held") return first;
      callsJudged.abort();
      return await verification;
    } finally {
      stop.abort();
    }
  }
}
