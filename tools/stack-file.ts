import { access, mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
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
type FileContent = z.infer<typeof fileSchema>;

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function isEncrypted(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return "secure" in value || Object.values(value).some(isEncrypted);
}

async function stackNames(directory: string): Promise<string[]> {
  const files = await readdir(directory);
  return files.flatMap((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1] ?? []);
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
    return fileSchema.parse(yaml.load(text) ?? {});
  } catch (error) {
    throw new UserError(
      `Pulumi.${stack}.yaml cannot be read: ${messageOf(error)}`,
      "Mend the file: it is YAML with a `config:` map.",
      { cause: error },
    );
  }
}

async function overriddenCopy(stack: string, content: FileContent, overrides: Overrides): Promise<string> {
  const config = Object.fromEntries(
    Object.entries(overrides).map(([key, value]) => [`${PROJECT}:${key}`, value]),
  );
  const kept = Object.entries(content.config ?? {});
  const path = join(await mkdtemp(join(tmpdir(), "dubbo-mesh-")), `Pulumi.${stack}.yaml`);
  const merged = { ...content, config: { ...Object.fromEntries(kept), ...config } };
  await writeFile(path, toYaml(merged), { mode: 0o600 });
  return path;
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
  const content = await readContent(directory, stack);
  const prefix = `${PROJECT}:`;
  const own = Object.entries(content.config ?? {})
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, value]) => [key.slice(prefix.length), value] as const);
  const encrypted = own.filter(([, value]) => isEncrypted(value)).map(([key]) => key);
  const plain = own.filter(([key]) => !encrypted.includes(key)).map(([key, value]) => [key, asText(value)]);
  const raw = { ...(Object.fromEntries(plain) as Record<string, string>), ...overrides };
  const overridden = Object.keys(overrides).length > 0;
  return {
    stack,
    directory,
    path: overridden
      ? await overriddenCopy(stack, content, overrides)
      : join(directory, `Pulumi.${stack}.yaml`),
    overridden,
    raw,
    encrypted,
    settings: parseSettings(raw),
  };
}

/** Whether a program can be found at this path. */
export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
