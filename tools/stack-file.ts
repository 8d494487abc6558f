import { mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import yaml from "js-yaml";
import { z } from "zod";
import { messageOf, UserError } from "../lib/errors.ts";
import { toYaml } from "../lib/yaml.ts";
import { parseSettings, PROJECT, type Settings } from "../settings.ts";

/** Values that a command sets for its own run, by configuration key without the project's prefix. */
export type Overrides = Readonly<Record<string, string>>;

/** A stack and its configuration file. */
export interface StackFile {
  /** Name of the stack. */
  readonly stack: string;
  /** The project's folder. */
  readonly directory: string;
  /** Path of the file, with the overrides in it. */
  readonly path: string;
  /** Whether the file is a copy that holds overrides. */
  readonly overridden: boolean;
  /** The project's values as text, by key without prefix, as Pulumi hands them over. */
  readonly raw: Readonly<Record<string, string>>;
  /** Keys whose values are encrypted: only Pulumi's CLI can read them. */
  readonly encrypted: readonly string[];
  /** The checked configuration. */
  readonly settings: Settings;
}

const fileSchema = z.looseObject({ config: z.record(z.string(), z.unknown()).nullish() });

/** A stack's file, its configuration by full key. */
interface FileContent {
  readonly config: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

/** A value as Pulumi hands it over: a key without a value is empty text. */
export function asText(value: unknown): string {
  if (value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Full keys, as Pulumi reads them: a key without a prefix is one of the project's. */
function prefixed(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const entries = Object.entries(config).map(([key, value]) => [
    key.includes(":") ? key : `${PROJECT}:${key}`,
    value,
  ]);
  return Object.fromEntries(entries) as Record<string, unknown>;
}

function isEncrypted(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return "secure" in value || Object.values(value).some(isEncrypted);
}

/** Stands for an encrypted value where all others may be seen. */
const MASK = "[secret]";

/** A value with each encrypted part replaced by {@link MASK}. */
function masked(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if ("secure" in value) return MASK;
  if (Array.isArray(value)) return value.map(masked);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, masked(part)]));
}

/** The stacks that have a file in a folder, sorted. */
export async function stackNames(directory: string): Promise<string[]> {
  const files = await readdir(directory);
  return files.flatMap((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1] ?? []).sort();
}

async function readContent(directory: string, stack: string): Promise<FileContent> {
  const path = join(directory, `Pulumi.${stack}.yaml`);
  const text = await readFile(path, "utf8").catch(async (error: unknown) => {
    throw new UserError(
      `stack ${stack} has no file Pulumi.${stack}.yaml`,
      `Choose one of the stacks ${(await stackNames(directory)).join(", ")} (STACK=...), or write that file.`,
      { cause: error },
    );
  });
  try {
    const content = fileSchema.parse(yaml.load(text) ?? {});
    return { ...content, config: prefixed(content.config ?? {}) };
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw new UserError(
      `Pulumi.${stack}.yaml cannot be read: ${reason}`,
      "Mend the file: it is YAML with a `config:` map.",
      { cause: error },
    );
  }
}

async function writeCopy(stack: string, content: FileContent): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), "dubbo-mesh-")), `Pulumi.${stack}.yaml`);
  await writeFile(path, toYaml(content), { mode: 0o600 });
  return path;
}

/** The project's own values, by key without prefix. */
function ownValues(config: FileContent["config"]): [string, unknown][] {
  const prefix = `${PROJECT}:`;
  const own = Object.entries(config).filter(([key]) => key.startsWith(prefix));
  return own.map(([key, value]) => [key.slice(prefix.length), value]);
}

function asRaw(values: readonly (readonly [string, unknown])[]): Record<string, string> {
  return Object.fromEntries(values.map(([key, value]) => [key, asText(value)]));
}

/**
 * Reads a stack's file as {@link readStackFile} does, but with `[secret]` in the place of each encrypted value, so that what
 * the stack declares can be shown to everybody.
 * @throws UserError where the file is missing or its configuration is wrong, or an encrypted value is not one of text
 */
export async function readMaskedStackFile(
  directory: string,
  stack: string,
  overrides: Overrides = {},
): Promise<StackFile> {
  const { config } = await readContent(directory, stack);
  const values = ownValues({ ...config, ...prefixed(overrides) });
  const raw = asRaw(values.map(([key, value]) => [key, masked(value)]));
  const path = join(directory, `Pulumi.${stack}.yaml`);
  return { stack, directory, path, overridden: false, raw, encrypted: [], settings: parseSettings(raw) };
}

/**
 * Reads a stack's file and checks its configuration.
 * @param overrides values that take the place of the file's for this run; the file itself is left alone
 * @throws UserError where the file is missing or its configuration is wrong
 */
export async function readStackFile(
  directory: string,
  stack: string,
  overrides: Overrides = {},
): Promise<StackFile> {
  const file = await readContent(directory, stack);
  const content = { ...file, config: { ...file.config, ...prefixed(overrides) } };
  const own = ownValues(content.config);
  const encrypted = own.filter(([, value]) => isEncrypted(value)).map(([key]) => key);
  const raw = asRaw(own.filter(([key]) => !encrypted.includes(key)));
  const settings = parseSettings(raw);
  const overridden = Object.keys(overrides).length > 0;
  const path = overridden ? await writeCopy(stack, content) : join(directory, `Pulumi.${stack}.yaml`);
  return { stack, directory, path, overridden, raw, encrypted, settings };
}

/**
 * Refuses a stack that would go where another one of the folder goes: each would take the other's objects for its own.
 * A stack whose file is wrong is not looked at.
 * @throws UserError that names the other stack
 */
export async function refuseCollision({ directory, stack, settings }: StackFile): Promise<void> {
  const others = (await stackNames(directory)).filter((name) => name !== stack);
  const files = await Promise.allSettled(others.map(async (name) => readStackFile(directory, name)));
  const place = ({ context, kubeconfig, namespace }: Settings): string =>
    JSON.stringify([context, kubeconfig, namespace]);
  for (const file of files) {
    if (file.status === "rejected" || place(file.value.settings) !== place(settings)) continue;
    throw new UserError(
      `stacks ${stack} and ${file.value.stack} both go to namespace ${settings.namespace} of ${settings.context}`,
      `Give one of them another namespace: dubbo-mesh:namespace in Pulumi.${stack}.yaml.`,
    );
  }
}
