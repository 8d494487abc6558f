import { diffChars } from "diff";
import { UserError } from "../../common/errors.ts";
import { PROJECT } from "../../settings/settings.ts";
import { allKeys, type Key } from "../keys.ts";

/** A path in the configuration: names, and numbers of items. */
export type Path = readonly (string | number)[];

const PART = /\.?([A-Za-z@][\w@-]*)|\[(\d+)\]|\["([^"]+)"\]/y;

/** The parts of a path such as `services[0].methods["/pkg.S/m"].timeout`; undefined where it is none. */
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

/** The path as text, as {@link partsOf} reads it. */
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

/** Whether a path begins with a pattern; an item of a list, and a name of the user's own, stand for any. */
function matches(path: Path, pattern: readonly string[]): boolean {
  return path.every((part, index) => {
    const segment = pattern[index];
    return typeof part === "number" ? segment === "[]" : segment === part || segment === "<name>";
  });
}

/** How far two texts are from each other: characters to drop and to add. */
function distance(one: string, other: string): number {
  const parts = diffChars(one, other).filter(({ added, removed }) => added || removed);
  return parts.reduce((sum, { value }) => sum + value.length, 0);
}

const SHOWN = 3;

/** The keys whose names are nearest to what was asked for. */
function near(text: string): string[] {
  const generic = text.replaceAll(/\[\d+\]/g, "[]");
  return allKeys()
    .map(({ path }) => ({ path, far: distance(generic, path) }))
    .sort((one, other) => one.far - other.far)
    .slice(0, SHOWN)
    .map(({ path }) => path);
}

/** A key that was asked for. */
export interface Asked {
  readonly path: Path;
  readonly key: Key;
}

/**
 * The key that a text names, with or without the project's prefix.
 * @throws UserError where there is no such key, which names near ones, and where it holds further keys
 */
export function askedKey(text: string): Asked {
  const bare = text.replace(new RegExp(`^${PROJECT}:`), "");
  const path = partsOf(bare);
  const below = path === undefined ? [] : allKeys().filter(({ path: each }) => matches(path, segments(each)));
  if (path === undefined || path.length === 0 || below.length === 0) {
    throw new UserError(
      `${PROJECT}:${bare}: no such key`,
      `Near it are ${near(bare).join(", ")}; docs/configuration.md lists all.`,
    );
  }
  const key = below.find(({ path: each }) => segments(each).length === path.length);
  const fields = below.filter(({ path: each }) => segments(each).length > path.length);
  // A profile's name is a value, though there are fields as well.
  if (key !== undefined && (fields.length === 0 || key.schema.anyOf !== undefined)) return { path, key };
  const names = fields.map(({ path: each }) => segments(each)[path.length] ?? "");
  throw new UserError(
    `${PROJECT}:${bare} holds further keys`,
    `Explain one of them: ${[...new Set(names)].join(", ")}.`,
  );
}
