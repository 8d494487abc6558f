import { readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createTwoFilesPatch } from "diff";
import { messageOf, UserError } from "../../common/errors.ts";
import { step } from "../../common/steps.ts";
import { type Overrides, readStackFile, type StackFile } from "../../stack/stack-file.ts";
import { type Weights, withWeights } from "../../stack/weights.ts";
import type { PromotionLease } from "./lease.ts";
import type { Observation, Observer } from "./observe.ts";
import { type Plan, planned, servicesWith } from "./plan.ts";

/** Stack with a promotion, and the parts that change or observe it. */
export interface PromotedStack {
  readonly file: StackFile;
  readonly lease: Pick<PromotionLease, "hold" | "release">;
  readonly observer: Pick<Observer, "start" | "step">;
  /** Applies the stack to the cluster. */
  readonly deploy: (stack: StackFile) => Promise<unknown>;
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
  readonly outcome: "promoted" | "put back";
  /** Reason why the version was put back. */
  readonly reason?: string;
  /** Weights in the cluster, by version. */
  readonly weights: Weights;
  readonly steps: readonly PromotionStep[];
  /** Patch of the stack file, if it was not written. */
  readonly change?: string;
}

/** Promotion of a version. Its Lease is held. */
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
   * Runs the steps. Puts the weights back at the first fault, or when `signal` aborts.
   * @throws UserError as {@link Promotion.putBack} does, or if the file cannot be written
   */
  async run(signal: AbortSignal): Promise<PromotionReport> {
    const fault = await this.#climb(signal).catch((error: unknown) =>
      messageOf(signal.aborted ? signal.reason : error),
    );
    if (fault !== undefined) return this.putBack(fault);
    const weights = planned(this.#plan, this.#plan.steps.at(-1) ?? this.#plan.held);
    // Without a step that is left, an interrupted promotion may not have written them.
    if (this.#options.write) await this.#write(weights);
    const change = this.#options.write ? {} : { change: await this.#patch(weights) };
    await this.#stack.lease.release();
    return this.#report({ outcome: "promoted", weights, ...change });
  }

  /**
   * Restores the weights from before the promotion, first in the file.
   * @throws UserError if the cluster or the file cannot be updated; the Lease then stays
   */
  async putBack(reason: string): Promise<PromotionReport> {
    const { from, version } = this.#plan;
    const write = async (): Promise<void> => (this.#options.write ? this.#write(from) : undefined);
    const deploy = async (): Promise<unknown> => this.#stack.deploy(await this.#stackWith(from));
    // The cluster matters more than the file.
    const [written] = await Promise.allSettled([write()]);
    const [deployed] = await Promise.allSettled([
      step(`put ${version} back to ${from[version] ?? 0} %`, deploy),
    ]);
    this.#rejectFailure("in the cluster", deployed, reason);
    this.#rejectFailure(`in ${this.#fileName}`, written, reason);
    await this.#stack.lease.release();
    return this.#report({ outcome: "put back", reason, weights: from });
  }

  #rejectFailure(where: string, result: PromiseSettledResult<unknown>, reason: string): void {
    if (result.status === "fulfilled") return;
    const { version, service } = this.#plan;
    throw new UserError(
      `${version} of ${service} could not be put back ${where}: ${messageOf(result.reason)}\nReason to put it back: ${reason}`,
      `Fix the reported problem, then run \`make promote STACK=${this.#stack.file.stack} BACK=1\`.`,
      { cause: result.reason },
    );
  }

  /** Runs the steps. Returns the reason why the version must be put back, if there is one. */
  async #climb(signal: AbortSignal): Promise<string | undefined> {
    await this.#stack.observer.start(signal);
    for (const weight of this.#plan.steps) {
      const { reason } = await this.#step(weight, signal);
      if (reason !== undefined) return `${reason}, at ${weight} %`;
      if (this.#options.write) await this.#write(planned(this.#plan, weight));
      await this.#stack.lease.hold({ ...this.#plan, held: weight });
    }
    return undefined;
  }

  async #step(weight: number, signal: AbortSignal): Promise<PromotionStep> {
    const { version } = this.#plan;
    const { deploy, observer } = this.#stack;
    const start = performance.now();
    signal.throwIfAborted();
    const stack = await this.#stackWith(planned(this.#plan, weight));
    await step(`give ${version} ${weight} % of the calls`, () => deploy(stack));
    signal.throwIfAborted();
    const observation = await step(`judge ${version} at ${weight} %`, () =>
      observer.step(stack.settings, signal),
    );
    const seconds = Math.round((performance.now() - start) / 100) / 10;
    const ended = { weight, ...observation, seconds };
    this.#steps.push(ended);
    this.#options.onStep?.(ended);
    return ended;
  }

  #report(result: Omit<PromotionReport, "service" | "version" | "steps">): PromotionReport {
    const { service, version } = this.#plan;
    return { service, version, ...result, steps: this.#steps };
  }

  /** Returns the stack with other weights. */
  async #stackWith(weights: Weights): Promise<StackFile> {
    const { file } = this.#stack;
    const services = servicesWith(file, this.#plan.index, weights);
    return readStackFile(file.directory, file.stack, { ...this.#options.overrides, services });
  }

  get #fileName(): string {
    return `Pulumi.${this.#stack.file.stack}.yaml`;
  }

  /** Returns the text of the stack file, and that with other weights. */
  async #texts(weights: Weights): Promise<{ readonly before: string; readonly after: string }> {
    const { callee, index } = this.#plan;
    const before = await readFile(join(this.#stack.file.directory, this.#fileName), "utf8");
    const service = { name: callee.name, index };
    return { before, after: withWeights(before, this.#fileName, service, weights) };
  }

  /**
   * Writes weights to the stack file, as a whole or not at all.
   * @throws UserError if it cannot be written
   */
  async #write(weights: Weights): Promise<void> {
    const path = join(this.#stack.file.directory, this.#fileName);
    const { after } = await this.#texts(weights);
    try {
      await writeFile(`${path}.promote`, after, { mode: (await stat(path)).mode });
      await rename(`${path}.promote`, path);
    } catch (error) {
      throw new UserError(
        `${path} cannot be written: ${messageOf(error)}`,
        "Make room and allow writing there, or run the command with WRITE=0.",
        { cause: error },
      );
    }
  }

  async #patch(weights: Weights): Promise<string> {
    const { before, after } = await this.#texts(weights);
    return createTwoFilesPatch(`a/${this.#fileName}`, `b/${this.#fileName}`, before, after);
  }
}
