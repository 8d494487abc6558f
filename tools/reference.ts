import { readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import prettier from "prettier";
import {
  detectionBounds,
  drainSeconds,
  healthCheckLoad,
  healthCheckSettings,
  PROFILES,
  unusedBound,
} from "../settings/health-check.ts";
import { PRESETS } from "../settings/presets.ts";
import { allKeys, type Key } from "./keys.ts";

const DOCS = resolve(import.meta.dirname, "..", "docs");

/** Pages with generated parts. */
export const GENERATED_PAGES = ["configuration.md", "health-checks.md"].map((name) => join(DOCS, name));

const PROFILE_NAMES = Object.keys(PROFILES) as (keyof typeof PROFILES)[];
const CHECKS = PROFILE_NAMES.map((name) => [name, healthCheckSettings.parse(name)] as const);

function code(text: string): string {
  return `\`${text}\``;
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Reports whether every application preset sets this key. */
function isPreset(path: string): boolean {
  const key = path.replace("services[].", "");
  return [...PRESETS.values()].every((preset) => key in preset);
}

function defaultText({ path, default: value, required }: Key): string {
  if (required) return isPreset(path) ? "that of `app`, else required" : "required";
  return value === "`[]`" ? "none" : (value ?? "");
}

/** Returns table rows for keys, with paths relative to `prefix`. */
function keyRows(keys: readonly Key[], prefix: string): string[][] {
  return keys.map((key) => [code(key.path.slice(prefix.length)), key.type, defaultText(key), key.meaning]);
}

const KEY_HEAD = ["key", "type", "default", "meaning"];

function stackKeys(): string {
  const keys = allKeys().filter(({ path }) => !/^(services\[\]|healthCheck)\./.test(path));
  return markdownTable(KEY_HEAD, keyRows(keys, ""));
}

function serviceKeys(): string {
  const prefix = "services[].";
  const own = allKeys().filter(({ path }) => path.startsWith(prefix));
  // The nested keys are the same as those of the stack-wide keys.
  const keys = own.filter(({ path }) => !/^services\[\]\.(traffic|healthCheck|resources)\./.test(path));
  return markdownTable(KEY_HEAD, keyRows(keys, prefix));
}

/** Returns the table of the health check, without keys that only Envoy documents. */
function healthCheckKeys(): string {
  const prefix = "healthCheck.";
  const keys = allKeys().filter(({ path, meaning }) => path.startsWith(prefix) && meaning !== "");
  const numbers = ({ path }: Key): string[] => {
    const name = path.slice(prefix.length);
    const fields = PROFILE_NAMES.map((profile): Readonly<Record<string, unknown>> => PROFILES[profile]);
    return fields.map((profile) => (name in profile ? String(profile[name]) : ""));
  };
  const rows = keyRows(keys, prefix).map(([key = "", type = "", value = "", meaning = ""], index) => {
    const one = keys[index];
    const [seed = "", fast = "", gentle = ""] = one === undefined ? [] : numbers(one);
    return [key, type, ...(seed === "" ? [value, "", ""] : [seed, fast, gentle]), meaning];
  });
  return markdownTable(["key", "type", ...PROFILE_NAMES.map(code), "meaning"], rows);
}

/** Returns the methods of a preset, grouped by kind. */
function methodsText(methods: unknown): string {
  const known = Object.entries(
    (methods ?? {}) as Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  );
  const words = (fields: Readonly<Record<string, unknown>>): string =>
    fields["kind"] === "streaming" ? "streaming" : "idempotent";
  return ["idempotent", "streaming"]
    .map((word) => [word, known.filter(([, fields]) => words(fields) === word)] as const)
    .filter(([, of]) => of.length > 0)
    .map(([word, of]) => `${word}: ${of.map(([path]) => path.split("/").at(-1) ?? "").join(", ")}`)
    .join("; ");
}

function presets(): string {
  const text = (value: unknown): string =>
    value === undefined ? "" : code(JSON.stringify(value).replaceAll(/["[\]]/g, ""));
  const fields = ["name", "port", "offers", "calls"];
  const rows = [...PRESETS].map(([app, preset]) => [
    code(app),
    ...fields.map((field) => text(preset[field])),
    methodsText(preset["methods"]),
  ]);
  return markdownTable(["`app`", ...fields.map(code), "`methods`"], rows);
}

function seconds(value: number): string {
  return `${Math.round(value * 1000) / 1000} s`;
}

function bounds(): string {
  const rows = CHECKS.map(([name, check]) => {
    const { hung, answering, recovered } = detectionBounds(check);
    return [
      code(name),
      ...[hung, answering, recovered, unusedBound(check), drainSeconds(check)].map(seconds),
    ];
  });
  const head = [
    "profile",
    "hung: removed within",
    "NOT_SERVING: removed within",
    "returns within",
    "no calls: checked within",
  ];
  return markdownTable([...head, "`drain`"], rows);
}

/** Numbers of caller pods and callee pods. */
const SIZES = [
  [1, 2],
  [10, 4],
  [100, 20],
] as const;

function load(): string {
  const rows = SIZES.map(([callers, callees]) => [
    String(callers),
    String(callees),
    ...CHECKS.map(([, check]) => {
      const { checksPerSecond, perProviderPod } = healthCheckLoad(check, callers, callees);
      return `${checksPerSecond}, ${perProviderPod}`;
    }),
  ]);
  return markdownTable(["caller pods", "callee pods", ...PROFILE_NAMES.map(code)], rows);
}

const PARTS: Readonly<Record<string, () => string>> = {
  "stack keys": stackKeys,
  "service keys": serviceKeys,
  "health check keys": healthCheckKeys,
  presets,
  bounds,
  load,
};

const PART = /(<!-- generated: ([a-z ]+) -->)[^]*?(<!-- end -->)/g;

/**
 * Returns a page with its generated parts updated, formatted.
 * @throws Error if a part has no generator
 */
export async function regenerated(page: string): Promise<string> {
  const text = readFileSync(page, "utf8").replaceAll(PART, (_, begin: string, name: string, end: string) => {
    const part = PARTS[name];
    if (part === undefined) throw new Error(`${basename(page)}: no generator for the part ${name}`);
    return `${begin}\n\n${part()}\n\n${end}`;
  });
  return prettier.format(text, { ...(await prettier.resolveConfig(page)), filepath: page });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const page of GENERATED_PAGES) writeFileSync(page, await regenerated(page));
}
