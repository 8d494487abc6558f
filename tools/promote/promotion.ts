import { realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createTwoFilesPatch } from "diff";
import { messageOf, UserError } from "../../common/errors.ts";
import { step } from "../../common/steps.ts";
import { TakenOver } from "../../stack/promotion.ts";
import type { Overrides, StackFile } from "../../stack/stack-file.ts";
import type { Weights } from "../../stack/weights.ts";
import type { PromotionLease } from "./lease.ts";
import type { Observation, Observer } from "./observe.ts";
import { type Plan, planned, stackAt, textsAt } from "./plan.ts";

/** Stack with a promotion, and the parts that change or observe it. */
export interface PromotedStack {
  readonly file: StackFile;
  readonly lease: Pick<PromotionLease, "confirm" | "record" | "release">;
  readonly observer: Pick<Observer, "start" | "step">;
  /** Applies the stack to the cluster. */
  readonly deploy: (stack: StackFile) => Promise<unknown>;
  /** Mends the state of the engine after a failed update. */
  readonly repair: () => Promise<unknown>;
}

/** Options of a promotion. */
export interface PromotionOptions {
  /** Writes the weights to the stack file. If false, the report has the change. */
  readonly write: boolean;
  /** Values of the command line that replace those of the stack file. */
  readonly overrides: Overrides;
  /** Receives each step when it has ended. */
  readonly onStep?: (step: PromotionStep) => void;
}

/** A step of a promotion. */
export interface PromotionStep extends Observation {
  /** Weight of the version, percent. */
  readonly weight: number;
  /** Duration, seconds. */
  readonly seconds: number;
}

/** Result of a promotion. */
export interface PromotionReport {
  readonly service: string;
  readonly version: string;
  readonly outcome: "promoted" | "rolled back";
  /** Reason why the version was rolled back. */
  readonly reason?: string;
  /** Weights in the cluster, by version. */
  readonly weights: Weights;
  readonly steps: readonly PromotionStep[];
  /** True if the stack file has these weights. */
  readonly written: boolean;
  /** Patch of the stack file; undefined if it has these weights, or cannot be edited. */
  readonly change?: string;
}

/** Returns an error and its remedy in words. */
function told(error: unknown): string {
  return error instanceof UserError ? `${error.message}\n  fix: ${error.fix}` : messageOf(error);
}

/** Promotion of a version. Its process has the Lease. */
export class Promotion {
  readonly #stack: PromotedStack;
  readonly #plan: Plan;
  readonly #options: PromotionOptions;
  readonly #steps: PromotionStep[] = [];

  constructor(stack: PromotedStack, plan: Plan, options: PromotionOptions) {
    this.#stack = stack;
    this.#plan = plan;
    this.#options = options;
  }

  /**
   * Runs the steps. Restores the weights at the first fault, or when `signal` aborts.
   * @throws UserError as {@link Promotion.rollBack} does, or if the file cannot be written
   */
  async run(signal: AbortSignal): Promise<PromotionReport> {
    const fault = await this.#climb(signal).catch((error: unknown) => {
      if (error instanceof TakenOver) throw error;
      return told(signal.aborted ? signal.reason : error);
    });
    if (fault !== undefined) return this.rollBack(fault);
    const weight = this.#plan.steps.at(-1) ?? this.#plan.held;
    // If no step is left, the interrupted process may not have deployed or written this.
    if (this.#plan.steps.length === 0) await this.#deploy(weight);
    if (this.#options.write) await this.#write(weight);
    return this.#end("promoted", weight);
  }

  /**
   * Restores the weights from before the promotion, in the file and in the cluster.
   * @throws UserError if the cluster or the file cannot be updated; the Lease then stays. TakenOver
   *   if another process has the Lease; nothing is changed then
   */
  async rollBack(reason: string): Promise<PromotionReport> {
    const { from, version } = this.#plan;
    const weight = from[version] ?? 0;
    // The deployment below reports all other errors.
    await this.#stack.lease.confirm().catch((error: unknown) => {
      if (error instanceof TakenOver) throw error;
    });
    // The deployment follows even if the file cannot be written.
    const [written] = await Promise.allSettled([this.#options.write ? this.#write(weight) : undefined]);
    const [deployed] = await Promise.allSettled([
      step(`roll ${version} back to ${weight} %`, () => this.#deployAnyway(weight)),
    ]);
    this.#rejectFailure("in the cluster", deployed, reason);
    this.#rejectFailure(`in ${this.#fileName}`, written, reason);
    return this.#end("rolled back", weight, reason);
  }

  #rejectFailure(where: string, result: PromiseSettledResult<unknown>, reason: string): void {
    if (result.status === "fulfilled") return;
    const { version, service } = this.#plan;
    const cause: unknown = result.reason;
    const command = `\`make promote STACK=${this.#stack.file.stack} BACK=1\``;
    throw new UserError(
      `${version} of ${service} could not be rolled back ${where}: ${messageOf(cause)}\nReason for the rollback: ${reason}`,
      `${cause instanceof UserError ? cause.fix : "Fix the reported problem."} Then run ${command}.`,
      { cause },
    );
  }

  /** Runs the steps. Returns the reason for a rollback, if there is one. */
  async #climb(signal: AbortSignal): Promise<string | undefined> {
    const { lease, observer } = this.#stack;
    await observer.start(signal);
    for (const weight of this.#plan.steps) {
      const { reason } = await this.#step(weight, signal);
      if (reason !== undefined) return `at ${weight} %: ${reason}`;
      await lease.confirm();
      if (this.#options.write) await this.#write(weight);
      await lease.record({ ...this.#plan, held: weight });
    }
    return undefined;
  }

  async #step(weight: number, signal: AbortSignal): Promise<PromotionStep> {
    const { version } = this.#plan;
    const start = performance.now();
    signal.throwIfAborted();
    const { settings } = await step(`give ${version} ${weight} % of the calls`, () => this.#deploy(weight));
    signal.throwIfAborted();
    const observation = await step(`judge ${version} at ${weight} %`, () =>
      this.#stack.observer.step(settings, signal),
    );
    const seconds = Math.round((performance.now() - start) / 100) / 10;
    const ended = { weight, ...observation, seconds };
    this.#steps.push(ended);
    this.#options.onStep?.(ended);
    return ended;
  }

  async #deploy(weight: number): Promise<StackFile> {
    const stack = await stackAt(this.#stack.file, this.#plan, weight, this.#options.overrides);
    await this.#stack.deploy(stack);
    return stack;
  }

  /** Deploys weights, even if a killed engine has left its lock. */
  async #deployAnyway(weight: number): Promise<void> {
    await this.#deploy(weight).catch(async () => {
      await this.#stack.repair();
      return this.#deploy(weight);
    });
  }

  /** Ends the promotion: reports, and releases the Lease. */
  async #end(outcome: PromotionReport["outcome"], weight: number, reason?: string): Promise<PromotionReport> {
    const { service, version } = this.#plan;
    const patch = this.#options.write ? { written: true } : await this.#patch(weight);
    await this.#stack.lease.release();
    const why = reason === undefined ? {} : { reason };
    const weights = planned(this.#plan, weight);
    return { service, version, outcome, ...why, weights, steps: this.#steps, ...patch };
  }

  #texts(weight: number): ReturnType<typeof textsAt> {
    return textsAt(this.#stack.file, this.#plan, weight, this.#options.overrides);
  }

  get #fileName(): string {
    return `Pulumi.${this.#stack.file.stack}.yaml`;
  }

  /**
   * Writes weights to the stack file, as a whole or not at all.
   * @throws UserError if it cannot be written
   */
  async #write(weight: number): Promise<void> {
    const { after } = await this.#texts(weight);
    const path = await realpath(join(this.#stack.file.directory, this.#fileName));
    const draft = `${path}.promote`;
    try {
      await writeFile(draft, after, { mode: (await stat(path)).mode });
      await rename(draft, path);
    } catch (error) {
      await rm(draft, { force: true }).catch(() => undefined);
      throw new UserError(
        `${path} cannot be written: ${messageOf(error)}`,
        "Make room and allow writing there, or run the command with WRITE=0.",
        { cause: error },
      );
    }
  }

  /** Returns the patch of the stack file, if it needs one and can be edited. */
  async #patch(weight: number): Promise<Pick<PromotionReport, "written" | "change">> {
    const texts = await this.#texts(weight).catch(() => undefined);
    if (texts === undefined) return { written: false };
    const { before, after } = texts;
    if (before === after) return { written: true };
    const change = createTwoFilesPatch(`a/${this.#fileName}`, `b/${this.#fileName}`, before, after);
    return { written: false, change };
  }
}
