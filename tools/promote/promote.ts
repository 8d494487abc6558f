import { UserError } from "../../common/errors.ts";
import { step } from "../../common/steps.ts";
import { hostOf } from "../../settings/model.ts";
import { describePromotion, type FoundPromotion } from "../../stack/promotion.ts";
import type { StackFile } from "../../stack/stack-file.ts";
import type { Engine } from "../engine/engine.ts";
import { podsOf } from "../verify/sample.ts";
import { liveStack, watch } from "../verify/verify.ts";
import { foundPromotion, PromotionLease, rejectRunning } from "./lease.ts";
import { failedText, isOfMesh, Observer } from "./observe.ts";
import { foundPlan, newPlan, type Plan, stackAt, textsAt } from "./plan.ts";
import { Promotion, type PromotionOptions, type PromotionReport } from "./promotion.ts";

/** Options of {@link promote}. */
export interface PromoteOptions extends PromotionOptions {
  /** Service and version; undefined for those of an interrupted promotion. */
  readonly service?: string | undefined;
  readonly version?: string | undefined;
  /** Way on after an interrupted promotion. */
  readonly interrupted?: "continue" | "back" | undefined;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs `work` with a signal that aborts when the process is told to end. */
export async function untilSignal<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const end = (name: NodeJS.Signals): void => {
    controller.abort(new Error(`the command got ${name}`));
  };
  for (const name of SIGNALS) process.on(name, end);
  // A closed terminal must not end the process before the weights are restored.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of SIGNALS) process.off(name, end);
  }
}

/** Requires valid steps, a version that is ready, no undeployed changes, and a healthy mesh. */
async function requireReady(
  file: StackFile,
  engine: Engine,
  plan: Plan,
  options: PromotionOptions,
): Promise<void> {
  const { stack, settings } = file;
  const { service, version } = plan;
  const live = liveStack(settings);
  for (const weight of plan.steps) await stackAt(file, plan, weight, options.overrides);
  if (options.write) await textsAt(file, plan, plan.held, options.overrides);
  const pods = await podsOf(live.mesh, service);
  if (!pods.some((pod) => pod.version === version && pod.ready)) {
    throw new UserError(
      `version ${version} of ${service} has no ready pods`,
      `Run \`make up STACK=${stack}\`, and see \`make verify\`.`,
    );
  }
  const { changes } = await engine.preview();
  if (changes.length > 0) {
    throw new UserError(
      `Pulumi.${stack}.yaml or the code has changes that are not deployed; a promotion deploys only weights`,
      `See them with \`make preview STACK=${stack}\`, and run \`make up\` first.`,
    );
  }
  const { ok, checks } = await step("verify the mesh", () => watch(live, settings, { about: isOfMesh }));
  if (ok) return;
  throw new UserError(
    `the mesh is not healthy, so ${version} could not be judged: ${failedText(checks)}`,
    `See \`make verify STACK=${stack}\` for the remedies.`,
  );
}

function newPromotion(
  file: StackFile,
  engine: Engine,
  plan: Plan,
  lease: PromotionLease,
  options: PromotionOptions,
): Promotion {
  const { callee, version, others, bounds } = plan;
  const host = hostOf(callee, file.settings);
  const callers = plan.callers.map(({ name }) => name);
  const live = liveStack(file.settings);
  const observer = new Observer({ live, callee, host, callers, version, others, bounds });
  const deploy = (stack: StackFile): Promise<unknown> =>
    engine.with(stack).upObject("VirtualService", callee.name);
  const repair = (): Promise<unknown> => engine.repair();
  return new Promotion({ file, lease, observer, deploy, repair }, plan, options);
}

function rejectOther({ service, version }: PromoteOptions, found: FoundPromotion): void {
  if ((service ?? found.service) === found.service && (version ?? found.version) === found.version) return;
  throw new UserError(
    `the interrupted promotion is of ${describePromotion(found)}`,
    "Run `make promote` with CONTINUE=1 or BACK=1, and without SERVICE and VERSION. Then promote yours.",
  );
}

/** Continues an interrupted promotion, or restores its weights. */
async function resume(
  file: StackFile,
  engine: Engine,
  options: PromoteOptions,
  found: FoundPromotion,
): Promise<PromotionReport> {
  await rejectRunning(found);
  if (options.interrupted === undefined) {
    throw new UserError(
      `a promotion was interrupted: ${describePromotion(found)}; ${found.version} has held ${found.held} %`,
      `Run \`make promote STACK=${file.stack}\` with CONTINUE=1 to go on, or with BACK=1 to restore the weights.`,
    );
  }
  rejectOther(options, found);
  const plan = foundPlan(file.settings, found);
  const lease = new PromotionLease(file.settings);
  return untilSignal(async (signal) =>
    lease.during(plan, found, async () => {
      // The interrupted process may have left a lock and an old state.
      await engine.repair();
      const promotion = newPromotion(file, engine, plan, lease, options);
      if (options.interrupted === "back") return promotion.rollBack("requested by BACK=1");
      return promotion.run(signal);
    }),
  );
}

async function start(
  file: StackFile,
  engine: Engine,
  plan: Plan,
  options: PromoteOptions,
): Promise<PromotionReport> {
  await requireReady(file, engine, plan, options);
  const lease = new PromotionLease(file.settings);
  return untilSignal(async (signal) =>
    lease.during(plan, undefined, async () => newPromotion(file, engine, plan, lease, options).run(signal)),
  );
}

/** Rejects a stack with encrypted services: each step passes them to Pulumi with other weights. */
function rejectEncrypted({ stack, encrypted }: StackFile): void {
  if (!encrypted.includes("services")) return;
  throw new UserError(
    `stack ${stack} encrypts parts of its services, which only Pulumi can read`,
    "Change the weights by hand, and run `make up`.",
  );
}

/**
 * Moves the weight of a version up in steps. Each step must hold: enough calls within the bounds,
 * and a verified mesh. Otherwise it restores the weights from before the promotion.
 * @throws UserError if the promotion cannot start, or the weights cannot be restored
 */
export async function promote(
  file: StackFile,
  engine: Engine,
  options: PromoteOptions,
): Promise<PromotionReport> {
  const { service, version, interrupted } = options;
  rejectEncrypted(file);
  const found = await foundPromotion(file.settings);
  if (found !== undefined) return resume(file, engine, options, found);
  if (interrupted !== undefined) {
    throw new UserError(
      `stack ${file.stack} has no interrupted promotion`,
      `Run \`make promote STACK=${file.stack} SERVICE=name VERSION=name\` without CONTINUE and BACK.`,
    );
  }
  if (service === undefined || version === undefined) {
    throw new UserError(
      "make promote needs a service and the version to promote",
      `Run \`make promote STACK=${file.stack} SERVICE=name VERSION=name\`.`,
    );
  }
  return start(file, engine, newPlan(file.settings, service, version), options);
}
