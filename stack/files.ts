/** Stack files in a project's folder, as Pulumi reads them. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { messageOf, UserError } from "../common/errors.ts";
import { parseYaml } from "../common/yaml.ts";
import { checkTyped, parseSettings, PROJECT, type Settings } from "../settings/settings.ts";

const fileSchema = z.looseObject({ config: z.record(z.string(), z.unknown()).nullish() });

/** Content of a stack file. The configuration is by full key. */
export interface FileContent {
  readonly config: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

/** Returns a value as text, as Pulumi passes it. A key without a value is empty text. */
export function asText(value: unknown): string {
  if (value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Completes keys, as Pulumi does. A key without a prefix belongs to the project. */
export function prefixed(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const entries = Object.entries(config).map(([key, value]) => [
    key.includes(":") ? key : `${PROJECT}:${key}`,
    value,
  ]);
  return Object.fromEntries(entries) as Record<string, unknown>;
}

/** Returns the project's values by key without prefix. */
export function ownValues(config: FileContent["config"]): [string, unknown][] {
  const prefix = `${PROJECT}:`;
  const own = Object.entries(config).filter(([key]) => key.startsWith(prefix));
  return own.map(([key, value]) => [key.slice(prefix.length), value]);
}

/** Converts values to text, by key. */
export function asRaw(values: readonly (readonly [string, unknown])[]): Record<string, string> {
  return Object.fromEntries(values.map(([key, value]) => [key, asText(value)]));
}

/** Tells whether a value of a stack file is encrypted. */
export function isSecret(value: unknown): boolean {
  return typeof value === "object" && value !== null && "secure" in value;
}

/** Returns the paths of the encrypted parts of a value; an empty path if all of it is encrypted. */
function encryptedPaths(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== "object" || value === null) return [];
  if (isSecret(value)) return [path];
  return Object.entries(value).flatMap(([name, part]) => encryptedPaths(part, [...path, name]));
}

/**
 * Tells whether a key has encrypted parts, and all of them are properties of applications. Only
 * containers get these, and no command compares them with the cluster.
 */
export function encryptsOnlyProperties(key: string, value: unknown): boolean {
  const paths = encryptedPaths(value);
  const isProperty = (path: readonly string[]): boolean => path.length === 3 && path[1] === "properties";
  return key === "services" && paths.length > 0 && paths.every(isProperty);
}

/**
 * Returns the project's values as text, and the keys with encrypted values. Only Pulumi can read
 * these.
 */
export function readable(config: FileContent["config"]): {
  raw: Record<string, string>;
  encrypted: string[];
} {
  const own = ownValues(config);
  const encrypted = own.filter(([, value]) => encryptedPaths(value).length > 0).map(([key]) => key);
  return { raw: asRaw(own.filter(([key]) => !encrypted.includes(key))), encrypted };
}

/**
 * Tells whether a stack is temporary, such as that of a pull request. `down` also removes its
 * state.
 */
export function isEphemeral(stack: string): boolean {
  return /^pr-\d+$/.test(stack);
}

/** Lists the stacks that have a file in a folder, sorted. */
export async function stackNames(directory: string): Promise<string[]> {
  const files = await readdir(directory);
  return files.flatMap((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1] ?? []).sort();
}

function parseFile(text: string, file: string): z.infer<typeof fileSchema> {
  try {
    return fileSchema.parse(parseYaml(text) ?? {});
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw new UserError(
      `${file} cannot be read: ${reason}`,
      "Correct the file: it must be YAML with a `config:` map.",
      { cause: error },
    );
  }
}

/** Rejects a key that the file has with and without the project's prefix. Pulumi picks either. */
function rejectTwoSpellings(config: FileContent["config"], file: string): void {
  const twice = Object.keys(config).find((key) => Object.hasOwn(config, `${PROJECT}:${key}`));
  if (twice === undefined) return;
  throw new UserError(
    `${file} has ${twice} and ${PROJECT}:${twice}, which are the same key`,
    "Remove one of them.",
  );
}

/**
 * Reads a stack file. It may lack values that Pulumi has: those of ESC environments.
 * @throws UserError if the file is missing, is not YAML with a `config` map, or has a value that
 *   would reach the program as another one
 */
export async function readContent(directory: string, stack: string): Promise<FileContent> {
  const file = `Pulumi.${stack}.yaml`;
  const text = await readFile(join(directory, file), "utf8").catch(async (error: unknown) => {
    throw new UserError(
      `stack ${stack} has no file ${file}`,
      `Choose one of the stacks ${(await stackNames(directory)).join(", ")} (STACK=...), or write that file.`,
      { cause: error },
    );
  });
  const content = parseFile(text, file);
  const given = content.config ?? {};
  rejectTwoSpellings(given, file);
  const config = prefixed(given);
  checkTyped(ownValues(config).filter(([, value]) => !isSecret(value)));
  return { ...content, config };
}

/**
 * Reads a stack file as {@link readContent} does. Returns undefined if there is none, as with
 * `--config-file`.
 */
export async function readIfPresent(directory: string, stack: string): Promise<FileContent | undefined> {
  return (await stackNames(directory)).includes(stack) ? readContent(directory, stack) : undefined;
}

/**
 * Reads a stack file that has all values of its stack.
 * @throws UserError as {@link readContent} does, and if the stack imports ESC environments
 */
export async function readComplete(directory: string, stack: string): Promise<FileContent> {
  const content = await readContent(directory, stack);
  const environments = [content["environment"] ?? []].flat();
  if (environments.length === 0) return content;
  throw new UserError(
    `Pulumi.${stack}.yaml imports Pulumi ESC environments (environment), whose values only Pulumi itself reads`,
    `Use plain Pulumi (\`pulumi up -s ${stack}\`), or move the values to config and remove environment.`,
  );
}

/** Stack of a folder, with its settings. */
export interface Placed {
  readonly directory: string;
  readonly stack: string;
  readonly settings: Settings;
}

/** Returns a text that identifies the cluster and namespace of a stack. */
function placeOf({ context, kubeconfig, namespace }: Settings): string {
  return JSON.stringify([context, kubeconfig, namespace]);
}

/**
 * Rejects a stack that deploys to the same namespace as another stack of the folder. Each stack
 * would take over the other's objects. Stacks whose file is invalid or incomplete are ignored.
 * @throws UserError that names the other stack
 */
export async function rejectCollision({ directory, stack, settings }: Placed): Promise<void> {
  const others = (await stackNames(directory)).filter((name) => name !== stack);
  const places = await Promise.allSettled(
    others.map(async (name) => {
      const { config } = await readComplete(directory, name);
      return { name, place: placeOf(parseSettings(readable(config).raw)) };
    }),
  );
  for (const other of places) {
    if (other.status === "rejected" || other.value.place !== placeOf(settings)) continue;
    throw new UserError(
      `stacks ${stack} and ${other.value.name} both deploy to namespace ${settings.namespace} of ${settings.context}`,
      `Give one of them another namespace: dubbo-mesh:namespace in Pulumi.${stack}.yaml.`,
    );
  }
}
