// These functions read YAML of any shape. A missing value or one of another type counts as empty.

export type Fields = Readonly<Record<string, unknown>>;

/** Labels, annotations or a selector. */
export type Labels = Readonly<Record<string, string>>;

/** Returns the fields of `value`, or none if it is not an object. */
export function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/** Returns the items of `value`, or none if it is not a list. */
export function items(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

/** Returns the value at the nested path `keys`. */
export function at(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce((inner, key) => fields(inner)[key], value);
}

/** Returns text or a number as text, or undefined if `value` is neither. */
export function text(value: unknown): string | undefined {
  if (typeof value === "number") return String(value);
  return typeof value === "string" ? value : undefined;
}

/** Returns the texts and numbers of a list as texts. */
export function texts(value: unknown): readonly string[] {
  return items(value).flatMap((item) => text(item) ?? []);
}

/** Returns a number, also if it is written as text, or undefined if `value` is neither. */
export function number(value: unknown): number | undefined {
  const plain = text(value);
  const parsed = plain === undefined || plain.trim() === "" ? Number.NaN : Number(plain);
  return Number.isNaN(parsed) ? undefined : parsed;
}

/** Returns labels or annotations as texts. */
export function labels(value: unknown): Labels {
  const entries = Object.entries(fields(value)).flatMap(([key, each]) => {
    const plain = text(each);
    return plain === undefined ? [] : [[key, plain] as const];
  });
  return Object.fromEntries(entries);
}

/** Converts a duration such as `1m30s` or `0.25s` to seconds; undefined for any other value. */
export function durationSeconds(value: unknown): number | undefined {
  const plain = text(value) ?? "";
  const parts = [...plain.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== plain) return undefined;
  const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (units[unit ?? ""] ?? 0), 0);
}

/** Reports whether a selector picks an object with the labels `own`. An empty one picks any. */
export function picks(selector: Labels, own: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => own[key] === value);
}
