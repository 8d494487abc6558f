import { ZEROED_INTEGER } from "./yaml.ts";

/** A part of a value that JSON does not have, or that Pulumi reads as another value. */
interface Fault {
  /** Path of the part: names and list indexes. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Maximum number of parts of a value. A part counts again for each alias of it. */
const MOST_PARTS = 100_000;

/**
 * Finds a part of a YAML value that JSON does not have, or that Pulumi reads as another value: a
 * date, an integer that begins with a zero, or a part that contains itself.
 * Aliases that repeat parts too often are a fault, too.
 * @returns the first fault; undefined if there is none
 */
export function faultIn(value: unknown): Fault | undefined {
  let count = 0;
  const visit = (part: unknown, path: Fault["path"], around: readonly unknown[]): Fault | undefined => {
    count += 1;
    if (count > MOST_PARTS)
      return { path: [], message: `has more than ${MOST_PARTS} values, aliases written out: shorten it` };
    if (part === ZEROED_INTEGER)
      return {
        path,
        message: "begins with a zero, so Pulumi reads it as octal: omit the zero, or use quotes",
      };
    if (typeof part !== "object" || part === null) return undefined;
    if (part instanceof Date) return { path, message: "is a date in YAML, not text: put it in quotes" };
    if (around.includes(part)) return { path, message: "is an alias of what contains it: write it out" };
    for (const [key, inner] of Object.entries(part as Readonly<Record<string, unknown>>)) {
      const fault = visit(inner, [...path, Array.isArray(part) ? Number(key) : key], [...around, part]);
      if (fault !== undefined) return fault;
    }
    return undefined;
  };
  return visit(value, [], []);
}
