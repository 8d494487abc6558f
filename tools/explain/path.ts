import { diffChars } from "diff";
import { UserError } from "../../common/errors.ts";
import { PROJECT } from "../../settings/settings.ts";
import { allKeys, type Key } from "../keys.ts";

/** A path in the configuration: names and list indexes. */
export type Path = readonly (string | number)[];

const PART = /\.?([A-Za-z@][\w@-]*)|\[(\d+)\]|\["([^"]+)"\]/y;

/**
 * Parses a path such as `services[0].methods["/pkg.S/m"].timeout`. Returns undefined for an invalid
 * one.
 */
export function partsOf(text: string): Path | undefined {
  const parts: (string | number)[] = [];
  const part = new RegExp(PART);
  while (part.lastIndex < text.length) {
    const match = part.exec(text);
    if (match === null) return undefined;
    const [, name, index, quoted] = match;
    parts.push(index === undefined ? (quoted ?? name ?? "") : Number(index));
  }
  return parts;
}

/** Formats a path as text that {@link partsOf} reads. */
export function pathText(path: Path): string {
  const texts = path.map((part) => {
    if (typeof part === "number") return `[${part}]`;
    return /^[A-Za-z@][\w@-]*$/.test(part) ? `.${part}` : `[${JSON.stringify(part)}]`;
  });
  return texts.join("").replace(/^\./, "");
}

function segments(pattern: string): string[] {
  return pattern.split(/\.|(?=\[\])/);
}

/**
 * Reports whether a path is a prefix of a pattern. `[]` matches any index, and `<name>` any name.
 */
function matches(path: Path, pattern: readonly string[]): boolean {
  return path.every((part, index) => {
    const segment = pattern[index];
    return typeof part === "number" ? segment === "[]" : segment === part || segment === "<name>";
  });
}

/** Returns the distance of two texts: the number of characters to remove and to add. */
function distance(one: string, other: string): number {
  const parts = diffChars(one, other).filter(({ added, removed }) => added || removed);
  return parts.reduce((sum, { value }) => sum + value.length, 0);
}

const MAX_NEAREST = 3;

/** Returns the keys with the nearest names. */
function nearestKeys(text: string): string[] {
  const generic = text.replaceAll(/\[\d+\]/g, "[]");
  return allKeys()
    .map(({ path }) => ({ path, far: distance(generic, path) }))
    .sort((one, other) => one.far - other.far)
    .slice(0, MAX_NEAREST)
    .map(({ path }) => path);
}

/** A key that the user asked for. */
export interface Asked {
  readonly path: Path;
  readonly key: Key;
}

/**
 * Returns the key that a text names, with or without the project's prefix.
 * @throws UserError if there is no such key, or if it contains further keys
 */
export function askedKey(text: string): Asked {
  const bare = text.replace(new RegExp(`^${PROJECT}:`), "");
  const path = partsOf(bare);
  const below = path === undefined ? [] : allKeys().filter(({ path: each }) => matches(path, segments(each)));
  if (path === undefined || path.length === 0 || below.length === 0) {
    throw new UserError(
      `${PROJECT}:${bare}: no such key`,
      `Similar keys are ${nearestKeys(bare).join(", ")}; docs/configuration.md lists all keys.`,
    );
  }
  const key = below.find(({ path: each }) => segments(each).length === path.length);
  const fields = below.filter(({ path: each }) => segments(each).length > path.length);
  // A profile's name is a value, although the key also has fields.
  if (key !== undefined && (fields.length === 0 || key.schema.anyOf !== undefined)) return { path, key };
  const names = fields.map(({ path: each }) => segments(each)[path.length] ?? "");
  throw new UserError(
    `${PROJECT}:${bare} has nested keys`,
    `Explain one of them: ${[...new Set(names)].join(", ")}.`,
  );
}
