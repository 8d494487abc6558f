import { readFileSync } from "node:fs";
import yaml from "js-yaml";
import { getProperties } from "properties-file";
import { SettingsError } from "./error.ts";
import { canonicalName } from "./names.ts";

/** Variable with the path of a properties file, read in addition to the environment. */
export const FILE_VARIABLE = "DUBBO_PROPERTIES_FILE";

/** Properties by name in kebab case, such as `dubbo.application.qos-enable`. */
export type Properties = ReadonlyMap<string, string>;

function isScalar(value: unknown): value is string | number | boolean {
  return ["string", "number", "boolean"].includes(typeof value);
}

/**
 * Yields the leaves of a YAML document with their paths: `dubbo: {protocol: {port: 1}}` has
 * `dubbo.protocol.port`.
 */
function* leaves(value: unknown, path: string): Generator<[string, string]> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const [key, child] of Object.entries(value))
      yield* leaves(child, path === "" ? key : `${path}.${key}`);
  } else if (isScalar(value)) {
    yield [path, String(value)];
  } else if (path.startsWith("dubbo.")) {
    throw new SettingsError(`${path} must be text, a number, true or false`);
  }
}

function parse(path: string, text: string): Iterable<[string, string]> {
  if (path.endsWith(".properties")) return Object.entries(getProperties(text));
  // The core schema has no dates, so 2026-01-01 stays text.
  return [...leaves(yaml.load(text, { filename: path, schema: yaml.CORE_SCHEMA }), "")];
}

/**
 * Reads a properties file: Java's `.properties`, or `.yaml` and `.yml` with nested or dotted keys.
 * @throws SettingsError that names the file and its problem
 */
export function readProperties(path: string): Properties {
  if (!/\.(properties|ya?ml)$/.test(path)) {
    throw new SettingsError(
      `${FILE_VARIABLE} is ${JSON.stringify(path)}: must end in .properties, .yaml or .yml`,
    );
  }
  try {
    return new Map(
      [...parse(path, readFileSync(path, "utf8"))].map(([name, value]) => [canonicalName(name), value]),
    );
  } catch (error) {
    const [reason] = (error as Error).message.split("\n");
    throw new SettingsError(
      `${FILE_VARIABLE} is ${JSON.stringify(path)}, which cannot be read: ${reason ?? ""}`,
    );
  }
}
