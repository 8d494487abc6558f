import yaml from "js-yaml";

// Reads plain YAML of any shape: what is missing, or is of another type, is empty.

/** The fields of an object. */
export type Fields = Readonly<Record<string, unknown>>;

/** The fields of `value`; none where it is no object. */
export function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/** The items of `value`; none where it is no list. */
export function items(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

/** The value under `keys`, one inside the other. */
export function at(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce((inner, key) => fields(inner)[key], value);
}

/** Text or a number as text; undefined where `value` is neither. */
export function text(value: unknown): string | undefined {
  if (typeof value === "number") return String(value);
  return typeof value === "string" ? value : undefined;
}

/** The texts of a list. */
export function texts(value: unknown): readonly string[] {
  return items(value).flatMap((item) => text(item) ?? []);
}

/** A number, also where it stands as text; undefined where `value` is neither. */
export function number(value: unknown): number | undefined {
  const plain = text(value);
  const parsed = plain === undefined || plain.trim() === "" ? Number.NaN : Number(plain);
  return Number.isNaN(parsed) ? undefined : parsed;
}

/** Labels or annotations. */
export function labels(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(fields(value)).flatMap(([key, each]) => {
    const plain = text(each);
    return plain === undefined ? [] : [[key, plain] as const];
  });
  return Object.fromEntries(entries);
}

/** Seconds of a duration as Istio and Envoy write it (`1m30s`, `0.25s`, `100ms`); undefined where it is none. */
export function durationSeconds(value: unknown): number | undefined {
  const plain = text(value) ?? "";
  const parts = [...plain.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== plain) return undefined;
  const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (units[unit ?? ""] ?? 0), 0);
}

/** YAML inside a field, such as the annotation proxy.istio.io/config; empty where it cannot be read. */
export function embedded(value: unknown): Fields {
  try {
    return fields(yaml.load(text(value) ?? ""));
  } catch {
    return {};
  }
}

/** Whether `selector` picks an object with these labels; an empty selector picks all. */
export function picks(
  selector: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(([key, value]) => own[key] === value);
}
