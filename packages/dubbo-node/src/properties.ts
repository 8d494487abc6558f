import { readFileSync } from "node:fs";
import yaml from "js-yaml";
import { getProperties } from "properties-file";
import { SettingsError } from "./error.ts";
import { canonicalName } from "./names.ts";

/** Names the file that properties are read from, beside the environment. */
export const FILE_VARIABLE = "DUBBO_PROPERTIES_FILE";

/** Properties by their name in kebab case, such as `dubbo.application.qos-enable`. */
export type Properties = ReadonlyMap<string, string>;

function isScalar(value: unknown): value is string | number | boolean {
  return ["string", "number", "boolean"].includes(typeof value);
}

/** The leaves of a YAML document by their path: `dubbo: {protocol: {port: 1}}` has `dubbo.protocol.port`. */
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
  // The core schema knows no dates: 2026-01-01 stays text.
  return [...leaves(yaml.load(text, { filename: path, schema: yaml.CORE_SCHEMA }), "")];
}

/**
 * Reads a properties file: `.properties` as Java has it, `.yaml` or `.yml` with nested or dotted keys.
 * @throws SettingsError that names the file and what is wrong with it
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
