import fc from "fast-check";
import type { Configuration } from "./arbitrary.ts";

type Path = readonly (string | number)[];

/** A mistake in a configuration. */
export interface Slip {
  /** Index of the place to change, modulo the number of places. */
  readonly place: number;
  readonly how: "misspell" | "remove" | "replace";
  /** Value for `replace`. */
  readonly value: unknown;
}

/** A configuration as text by key, with its known mistakes. */
export interface Attempt {
  readonly raw: Readonly<Record<string, string>>;
  /** Its misspelt keys, as written. */
  readonly misspelt: readonly string[];
}

/** Keys whose children have free names, or names that are not settings. */
const FREE = ["methods", "headers", "properties", "transport_socket_match_criteria", "typed_config"];

function pathsIn(value: unknown, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return path.length === 0 ? [] : [path];
  const children = Array.isArray(value)
    ? value.flatMap((child, index) => pathsIn(child, [...path, index]))
    : Object.entries(value).flatMap(([key, child]) => pathsIn(child, [...path, key]));
  return path.length === 0 ? children : [path, ...children];
}

/** Copies a value with a change at `path`. */
function changed(
  value: unknown,
  [key, ...rest]: Path,
  change: (parent: object, key: string | number) => void,
): unknown {
  if (key === undefined || typeof value !== "object" || value === null) return value;
  const copy: object = Array.isArray(value) ? [...(value as unknown[])] : { ...value };
  if (rest.length === 0) change(copy, key);
  else Reflect.set(copy, key, changed(Reflect.get(value, key), rest, change));
  return copy;
}

/** Keys with a choice of types. The error lists the choices, not the wrong value. */
const ONE_OF = ["send", "receive", "service_name_matcher"];

/** Tells whether a misspelt key at this place is an unknown key for certain. */
function isName(path: Path): boolean {
  const [parent, key] = [path.at(-2), path.at(-1)];
  if (path.slice(0, -1).some((part) => ONE_OF.includes(String(part)))) return false;
  return typeof key === "string" && !FREE.includes(String(parent)) && key !== "@type";
}

function slip(
  given: Configuration,
  { place, how, value }: Slip,
): { given: Configuration; misspelt: string[] } {
  const paths = pathsIn(given).filter((path) => how !== "misspell" || isName(path));
  const path = paths[place % Math.max(1, paths.length)];
  if (path === undefined) return { given, misspelt: [] };
  const key = String(path.at(-1));
  const wrong = `${key}z`;
  const spoilt = changed(given, path, (parent, at) => {
    const old: unknown = Reflect.get(parent, at);
    if (how === "replace") Reflect.set(parent, at, value);
    else if (Array.isArray(parent)) parent.splice(Number(at), 1);
    else Reflect.deleteProperty(parent, at);
    if (how === "misspell") Reflect.set(parent, wrong, old);
  });
  return { given: spoilt as Configuration, misspelt: how === "misspell" ? [wrong] : [] };
}

/** Values that only some keys accept, or none. */
const value = fc.oneof(
  fc.constantFrom<unknown>(
    ...[
      null,
      true,
      0,
      -1,
      1.5,
      65_536,
      1e308,
      [],
      {},
      [null],
      "",
      " ",
      "0s",
      "0.001s",
      "5m",
      "999999999s",
      "x".repeat(64),
    ],
    ...[
      "UPPER",
      "-x",
      "x-",
      "a.b",
      "a:b",
      "é",
      "__proto__",
      "constructor",
      "a b",
      "a\nb",
      "\0",
      "*",
      "/",
      "@",
      ":",
    ],
  ),
  fc.string({ maxLength: 20 }),
  fc.integer(),
  fc.jsonValue({ maxDepth: 2 }),
);

const slips: fc.Arbitrary<Slip[]> = fc.array(
  fc.record({ place: fc.nat(10_000), how: fc.constantFrom("misspell", "remove", "replace"), value }),
  { minLength: 1, maxLength: 2 },
);

/** Returns the text of a value, as Pulumi passes it. */
export function textOf(given: unknown): string {
  return typeof given === "string" ? given : JSON.stringify(given);
}

/** Returns a configuration as text. */
export function asText(given: Configuration): Record<string, string> {
  return Object.fromEntries(Object.entries(given).map(([key, each]) => [key, textOf(each)]));
}

/** Generates a sensible configuration with one or two mistakes. */
export function spoilt(sensible: fc.Arbitrary<Configuration>): fc.Arbitrary<Attempt> {
  return fc.tuple(sensible, slips).map(([given, all]) => {
    let state: { given: Configuration; misspelt: string[] } = { given, misspelt: [] };
    // A second mistake could remove the misspelling of the first.
    const misspelling = all.find(({ how }) => how === "misspell");
    for (const next of misspelling === undefined ? all : [misspelling]) state = slip(state.given, next);
    return { raw: asText(state.given), misspelt: state.misspelt };
  });
}

/** Text that is not YAML, or unusual YAML. */
const text = fc.oneof(
  fc.constantFrom(
    ...[
      "{",
      "[",
      "&a [*a]",
      "&a {a: *a}",
      "? [a]\n: b",
      "!!js/function x",
      "!!binary x",
      "\0",
      "- - -",
      "a: b: c",
      "%",
      "'",
      "*a",
    ],
    ...[
      "<<: 1",
      "[.inf, .nan]",
      "0x1F",
      "\t",
      "~",
      "{__proto__: {offers: [a.b]}}",
      "- &a {name: a}\n- *a",
      "--- 1\n--- 2",
    ],
  ),
  fc.string({ maxLength: 30 }),
);

/** Generates a sensible configuration in which one key has such text. */
export function garbled(sensible: fc.Arbitrary<Configuration>): fc.Arbitrary<Attempt> {
  return fc.tuple(sensible, fc.nat(100), text).map(([given, place, wrong]) => {
    const keys = Object.keys(given);
    return { raw: { ...asText(given), [keys[place % keys.length] ?? ""]: wrong }, misspelt: [] };
  });
}
