import { messageOf, UserError } from "../../common/errors.ts";
import { drainSeconds } from "../../settings/health-check.ts";
import { PRESETS } from "../../settings/presets.ts";
import { trafficOf } from "../../settings/traffic.ts";
import { decoded, parseSettings, PROJECT, settingsSchema } from "../../settings/settings.ts";
import { asText } from "../../stack/files.ts";
import { type Declared, runProgram } from "../engine/program.ts";
import type { StackFile } from "../../stack/stack-file.ts";
import { candidates } from "./candidates.ts";
import { type Difference, differences } from "./differences.ts";
import { type Asked, askedKey, type Path, pathText } from "./path.ts";

/** Another value of a setting, and its effect. */
export interface Trial {
  readonly value: unknown;
  /** Values of other keys that must change with it. */
  readonly together: Readonly<Record<string, unknown>>;
  /** Fields that differ with the value. */
  readonly differences: readonly Difference[];
}

/** A value that the stack does not accept. */
export interface Refusal {
  readonly value: unknown;
  /** Reason for the refusal. */
  readonly error: string;
}

/** A setting's value, its origin and its effects. */
export interface Explanation {
  readonly key: string;
  readonly meaning: string;
  /** Current value; undefined if there is none. */
  readonly value: unknown;
  /** Origin of the value. */
  readonly from: string | undefined;
  /**
   * The first other value that changes a field, else the first accepted one. Undefined if none is
   * accepted.
   */
  readonly trial: Trial | undefined;
  /** Values that were tried and refused before `trial`. */
  readonly refused: readonly Refusal[];
}

type Tree = Record<string, unknown>;

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function at(tree: unknown, path: Path): unknown {
  return path.reduce<unknown>((value, part) => {
    if (typeof part === "number") return Array.isArray(value) ? (value as unknown[])[part] : undefined;
    return isTree(value) && Object.hasOwn(value, part) ? value[part] : undefined;
  }, tree);
}

/** Returns all effective values by key. A derived value appears under the key that sets it. */
function effectiveOf({ settings }: StackFile, given: Tree): Tree {
  const { traffic, healthCheck, drain } = settingsSchema.parse(given);
  const services = settings.services.map((service) => ({ ...service, drain: `${service.drainSeconds}s` }));
  return {
    ...settings,
    traffic: trafficOf(traffic),
    healthCheck,
    drain: drain ?? `${drainSeconds(healthCheck)}s`,
    services,
  };
}

/** Returns the services as written in the file, or the default pair of the sample. */
function writtenServices(given: Tree): Tree[] {
  return (given["services"] ?? [{ app: "provider" }, { app: "consumer" }]) as Tree[];
}

/** Sources of a value. */
interface Origin {
  readonly given: Tree;
  readonly file: string;
  /** Keys that the command line sets. */
  readonly overrides: readonly string[];
}

function originOfNested([key, index, name, ...rest]: Path, origin: Origin): string | undefined {
  if (key !== "services" || typeof index !== "number" || typeof name !== "string") return undefined;
  const own = writtenServices(origin.given)[index] ?? {};
  const { app } = own;
  if (typeof app === "string" && at(PRESETS.get(app), [name, ...rest]) !== undefined) return `app ${app}`;
  const below = own[name] !== undefined && name === "healthCheck";
  if (!["traffic", "healthCheck", "drain"].includes(name) || below) return undefined;
  const wide = [name, ...rest];
  return `${PROJECT}:${pathText(wide)}, which applies to all services (${originOf(wide, origin)})`;
}

function originOf(path: Path, origin: Origin): string {
  const { given, file, overrides } = origin;
  if (overrides.includes(String(path[0]))) return "the command line";
  if (at(given, path) !== undefined) return file;
  const nested = originOfNested(path, origin);
  if (nested !== undefined) return nested;
  const check = path.indexOf("healthCheck");
  if (check < 0 || path.length === check + 1) return "the default";
  const chosen = at(given, path.slice(0, check + 1));
  const profile = isTree(chosen) ? chosen["profile"] : chosen;
  return typeof profile === "string"
    ? `profile ${profile}, which ${file} names`
    : "profile seed, the default";
}

/** Returns the initial content of a list or map before one of its values is set. */
function initialValue(given: Tree, effective: Tree, path: Path, next: string | number): unknown {
  const value = at(given, path);
  if (typeof value === "string") return { profile: value };
  if (value !== undefined) return structuredClone(value);
  if (typeof next === "string") return {};
  if (path.length === 1) return structuredClone(writtenServices(given));
  return JSON.parse(JSON.stringify(at(effective, path) ?? [])) as unknown;
}

/** Returns the given values with one value replaced. */
function withValue(given: Tree, effective: Tree, path: Path, value: unknown): Tree {
  const result = structuredClone(given);
  let holder: unknown = result;
  for (const [index, part] of path.entries()) {
    const next = path[index + 1];
    const target = holder as Record<string | number, unknown>;
    target[part] =
      next === undefined ? value : initialValue(result, effective, path.slice(0, index + 1), next);
    holder = target[part];
  }
  return result;
}

/**
 * Returns other keys that must change with a new value. A renamed service changes its callers, and
 * a weight changes another version's weight.
 */
function companions(path: Path, effective: Tree, value: unknown): [Path, unknown][] {
  const [key, index, name, item, field] = path;
  const services = effective["services"] as readonly Tree[];
  if (key === "services" && name === "name" && path.length === 3) {
    const old = at(effective, path);
    return services.flatMap(({ calls }, caller) => {
      const names = calls as string[];
      if (caller === index || !names.includes(String(old))) return [];
      return [[["services", caller, "calls"], names.map((each) => (each === old ? value : each))]];
    });
  }
  if (key !== "services" || name !== "versions" || field !== "weight") return [];
  const versions = at(effective, path.slice(0, 3)) as readonly Tree[];
  const other = versions.findIndex((_, each) => each !== item);
  if (other < 0) return [];
  const rest = Number(versions[other]?.["weight"]) + Number(at(effective, path)) - Number(value);
  return [[[...path.slice(0, 3), other, "weight"], rest]];
}

function variant(file: StackFile, given: Tree): StackFile {
  const raw = Object.fromEntries(Object.entries(given).map(([key, value]) => [key, asText(value)]));
  return { ...file, raw, settings: parseSettings(raw) };
}

/** A setting of a stack. */
interface Setting {
  readonly file: StackFile;
  /** Declarations of the stack with its current settings. */
  readonly declared: Declared;
  readonly given: Tree;
  readonly effective: Tree;
  readonly path: Path;
}

/** Renders the stack with another value. Returns its effect, or the reason for a refusal. */
async function tryValue(
  { file, declared, given, effective, path }: Setting,
  value: unknown,
): Promise<Trial | Refusal> {
  const together = companions(path, effective, value);
  const changed = [[path, value] as const, ...together].reduce(
    (tree, [each, other]) => withValue(tree, effective, each, other),
    given,
  );
  try {
    const after = await runProgram(variant(file, changed));
    const keys = Object.fromEntries(together.map(([each, other]) => [pathText(each), other]));
    return { value, together: keys, differences: differences(declared, after) };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { value, error: messageOf(error).split("\n")[0] ?? "" };
  }
}

/**
 * Checks that each list item in the path exists.
 * @throws UserError if an index is out of range
 */
function checkIndexes({ path }: Asked, effective: Tree): void {
  for (const [index, part] of path.entries()) {
    if (typeof part !== "number") continue;
    const list = at(effective, path.slice(0, index));
    const length = Array.isArray(list) ? list.length : 0;
    if (part < length) continue;
    throw new UserError(
      `${PROJECT}:${pathText(path.slice(0, index))} has ${length} items, so there is no item ${part}`,
      "Items are counted from 0.",
    );
  }
}

/**
 * Explains a setting, from the stack's file to the fields of the objects. It renders the stack with
 * another value of this setting and reports the fields that differ. So the result is what the
 * program does. It needs neither docker nor a cluster.
 * @param text the key, such as `dubbo-mesh:services[0].port`
 * @param overrides keys that the command line sets
 * @throws UserError if there is no such key
 */
export async function explain(
  file: StackFile,
  text: string,
  overrides: readonly string[] = [],
): Promise<Explanation> {
  const asked = askedKey(text);
  const { path, key } = asked;
  const given = decoded(file.raw);
  const effective = effectiveOf(file, given);
  checkIndexes(asked, effective);
  // A health check given as a profile shows the profile's name.
  const isCheck = path.at(-1) === "healthCheck";
  const value = isCheck ? (at(given, path) ?? given["healthCheck"] ?? "seed") : at(effective, path);
  const setting = { file, declared: await runProgram(file), given, effective, path };
  const refused: Refusal[] = [];
  let trial: Trial | undefined;
  for (const other of candidates(key, value)) {
    const result = await tryValue(setting, other);
    if ("error" in result) refused.push(result);
    else trial ??= result;
    if ("differences" in result && result.differences.length > 0) {
      trial = result;
      break;
    }
  }
  const origin = originOf(path, { given, file: `Pulumi.${file.stack}.yaml`, overrides });
  const from = value === undefined ? undefined : origin;
  return { key: `${PROJECT}:${pathText(path)}`, meaning: key.meaning, value, from, trial, refused };
}
