import { decode } from "../settings/settings.ts";
import { stackNames } from "../stack/files.ts";
import { table } from "./report.ts";
import { readStackFile } from "../stack/stack-file.ts";

/** A setting in which stacks differ: its value in each stack that gives it one. */
export interface Difference {
  /** Path of the setting, such as `security.mtls`; services and versions stand by their names. */
  readonly setting: string;
  /** Values by stack; undefined where the default holds. */
  readonly values: Readonly<Record<string, string | undefined>>;
}

/** An element of a list by its name, which stays the same where others come before it, and what else there is of it. */
function named(element: unknown, index: number): readonly [string, unknown] {
  if (typeof element !== "object" || element === null) return [String(index), element];
  const fields = element as Readonly<Record<string, unknown>>;
  const key = ["name", "app"].find((each) => typeof fields[each] === "string");
  if (key === undefined) return [String(index), element];
  return [String(fields[key]), Object.fromEntries(Object.entries(fields).filter(([each]) => each !== key))];
}

/** What is given, by path. */
function flatten(value: unknown, path: string): [string, string][] {
  if (typeof value !== "object" || value === null) return [[path, String(value)]];
  const parts = Array.isArray(value) ? value.map(named) : Object.entries(value);
  return parts.flatMap(([key, each]) => flatten(each, path === "" ? key : `${path}.${key}`));
}

/** In what these settings differ, each by key as its stack gives it. */
export function differences(stacks: ReadonlyMap<string, Readonly<Record<string, unknown>>>): Difference[] {
  const flat = [...stacks].map(([stack, given]) => [stack, new Map(flatten(given, ""))] as const);
  const settings = [...new Set(flat.flatMap(([, values]) => [...values.keys()]))].sort();
  return settings
    .map((setting) => ({
      setting,
      values: Object.fromEntries(flat.map(([stack, values]) => [stack, values.get(setting)])),
    }))
    .filter(({ values }) => new Set(Object.values(values)).size > 1);
}

/**
 * In what the stacks of a folder differ.
 * @throws UserError where a stack's file is wrong
 */
export async function environments(directory: string): Promise<Difference[]> {
  const stacks = await stackNames(directory);
  const files = await Promise.all(stacks.map(async (stack) => readStackFile(directory, stack)));
  const given = files.map(({ stack, raw }) => {
    const values = Object.entries(raw).map(([key, text]) => [key, decode(key, text)] as const);
    return [stack, Object.fromEntries(values)] as const;
  });
  return differences(new Map(given));
}

/** Differences for people: a setting a line, a stack a column; a dash is the default. */
export function environmentsText(found: readonly Difference[]): string {
  const [first] = found;
  if (first === undefined) return "the stacks do not differ";
  const stacks = Object.keys(first.values);
  const rows = found.map(({ setting, values }) => [setting, ...stacks.map((stack) => values[stack] ?? "-")]);
  return table([["setting", ...stacks], ...rows]);
}
