import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { seconds } from "../../settings/duration.ts";
import { callersOf, maxPods, type Service } from "../../settings/graph.ts";
import { DEFAULT_PROMOTION, type PromotionSettings } from "../../settings/promotion.ts";
import { maxReplicas } from "../../settings/scale.ts";
import { decoded, type Settings } from "../../settings/settings.ts";
import { fieldsOf } from "../../settings/services.ts";
import { UserError } from "../../common/errors.ts";
import type { FoundPromotion, PromotionRecord } from "../../stack/promotion.ts";
import { type Overrides, readStackFile, type StackFile } from "../../stack/stack-file.ts";
import { type Weights, withWeights } from "../../stack/weights.ts";
import { requireVerifiable } from "../verify/verify.ts";
import { STEP_SECONDS } from "./observe.ts";
import { weightsAt } from "./weights.ts";

/** Promotion of a version, checked against the settings. */
export interface Plan extends PromotionRecord {
  /** The service with its callers. */
  readonly callee: Service;
  readonly callers: readonly Service[];
  /** Versions that get calls before the promotion, besides the promoted one. */
  readonly others: readonly string[];
  readonly bounds: PromotionSettings;
  /** Steps that are left. */
  readonly steps: readonly number[];
}

function serviceOf({ services }: Settings, name: string): Service {
  const found = services.find((service) => service.name === name);
  if (found !== undefined) return found;
  const called = services.filter(({ offers }) => offers.length > 0).map((service) => service.name);
  throw new UserError(
    `the stack has no service ${name}`,
    `Choose one of ${called.join(", ")} (SERVICE=...).`,
  );
}

function rejectVersion({ name, versions }: Service, version: string): void {
  const names = versions.map((each) => each.name);
  const found = versions.find((each) => each.name === version);
  if (found === undefined) {
    throw new UserError(
      `${name} has no version ${version}`,
      `Choose one of ${names.join(", ")} (VERSION=...), or add it with weight 0 and run \`make up\`.`,
    );
  }
  if (versions.length === 1) {
    throw new UserError(
      `${version} is the only version of ${name}: it already gets all calls`,
      "Add the version to promote with weight 0, and run `make up`.",
    );
  }
  if (maxReplicas(found) > 0) return;
  throw new UserError(
    `version ${version} of ${name} has no pods: its replicas are 0`,
    "Give it replicas, and run `make up`.",
  );
}

function rejectNoStep({ version, held, bounds, steps }: Plan): void {
  if (steps.length > 0) return;
  throw new UserError(
    `${version} already gets ${held} % of the calls, and the last step is ${bounds.steps.at(-1) ?? 0} %`,
    "Choose a version with a smaller weight (VERSION=...), or add a larger step (promotion.steps).",
  );
}

function rejectUncalled({ callee, callers }: Plan): void {
  if (callers.length > 0) return;
  throw new UserError(
    `nothing in the stack calls ${callee.name}, so no Envoy has figures of its calls`,
    "Add its callers to the stack (calls), or change the weights by hand and run `make up`.",
  );
}

/** Requires that the callers make enough calls to judge by, if their pace is known. */
function rejectPace({ service, version, callers, bounds, steps }: Plan): void {
  const [first = 0] = steps;
  // The pace of other callers is unknown.
  const paces = callers.map((caller) =>
    caller.interval === undefined ? Number.POSITIVE_INFINITY : maxPods(caller) / seconds(caller.interval),
  );
  const pace = paces.reduce((sum, each) => sum + each, 0);
  const expected = Math.floor((pace * STEP_SECONDS * first) / 100);
  if (expected >= bounds.calls) return;
  throw new UserError(
    `${version} of ${service} cannot be judged: ${first} % of ${Number(pace.toFixed(2))} calls a second are about ${expected} in ${STEP_SECONDS / 60} minutes, and promotion.calls is ${bounds.calls}`,
    "Begin with a larger step (promotion.steps). Or lower promotion.calls, and promotion.minSuccess if needed.",
  );
}

function planOf(settings: Settings, promoted: PromotionRecord): Plan {
  const { service, version, from, held } = promoted;
  const callee = serviceOf(settings, service);
  const bounds = callee.promotion ?? DEFAULT_PROMOTION;
  return {
    ...promoted,
    callee,
    callers: callersOf(settings.services, callee).filter((caller) => maxPods(caller) > 0),
    others: Object.entries(from).flatMap(([name, weight]) => (name !== version && weight > 0 ? [name] : [])),
    bounds,
    steps: bounds.steps.filter((step) => step > held),
  };
}

/**
 * Plans a new promotion.
 * @throws UserError if it is not possible, or could not be judged
 */
export function newPlan(settings: Settings, service: string, version: string): Plan {
  const callee = serviceOf(settings, service);
  rejectVersion(callee, version);
  const from = Object.fromEntries(callee.versions.map(({ name, weight }) => [name, weight]));
  const plan = planOf(settings, { service, version, from, held: from[version] ?? 0 });
  rejectNoStep(plan);
  rejectUncalled(plan);
  requireVerifiable(settings);
  rejectPace(plan);
  return plan;
}

/**
 * Plans the rest of an interrupted promotion.
 * @throws UserError if the stack file no longer has its versions
 */
export function foundPlan(settings: Settings, found: FoundPromotion): Plan {
  const { service, version, from, held } = found;
  const versions = settings.services.find(({ name }) => name === service)?.versions ?? [];
  const [names, before] = [versions.map(({ name }) => name), Object.keys(from)];
  if (names.toSorted().join() !== before.toSorted().join()) {
    throw new UserError(
      `the interrupted promotion is of ${service} with the versions ${before.join(", ")}; the stack file has ${names.join(", ") || "none"}`,
      "Restore the versions in the stack file, then run the command again.",
    );
  }
  return planOf(settings, { service, version, from, held });
}

/** Returns the weights of a step of a plan. */
export function planned({ version, from }: PromotionRecord, weight: number): Weights {
  return weight === from[version] ? from : weightsAt(weight, version, from);
}

/** Returns the services of a stack with other weights of one of them. */
function servicesWith({ raw, settings }: StackFile, name: string, weights: Weights): unknown[] {
  const index = settings.services.findIndex((service) => service.name === name);
  const { services } = decoded(raw);
  const list = Array.isArray(services) ? (services as unknown[]) : [];
  return list.map((service, at) => {
    if (at !== index) return service;
    const { versions } = fieldsOf(service);
    const each = Array.isArray(versions) ? (versions as unknown[]).map(fieldsOf) : [];
    return {
      ...fieldsOf(service),
      versions: each.map((version) => ({ ...version, weight: weights[String(version["name"])] })),
    };
  });
}

/**
 * Returns a stack with the weights of a step.
 * @param overrides values of the command line that replace those of the stack file
 * @throws UserError if the stack may not have these weights
 */
export async function stackAt(
  file: StackFile,
  plan: PromotionRecord,
  weight: number,
  overrides: Overrides,
): Promise<StackFile> {
  const services = servicesWith(file, plan.service, planned(plan, weight));
  return readStackFile(file.directory, file.stack, { ...overrides, services });
}

/**
 * Returns the text of a stack's file before and after it gets the weights of a step.
 * @param overrides values of the command line that replace those of the stack file
 * @throws UserError if the file cannot be read, or its weights cannot be changed
 */
export async function textsAt(
  { directory, stack }: StackFile,
  plan: PromotionRecord,
  weight: number,
  overrides: Overrides,
): Promise<{ readonly before: string; readonly after: string }> {
  // The file may have changed since the start.
  const { settings } = await readStackFile(directory, stack, overrides);
  const name = `Pulumi.${stack}.yaml`;
  const before = await readFile(join(directory, name), "utf8");
  const index = settings.services.findIndex((service) => service.name === plan.service);
  const service = { name: plan.service, index };
  return { before, after: withWeights(before, name, service, planned(plan, weight)) };
}
