import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toYaml } from "../common/yaml.ts";
import { parseSettings, type Settings } from "../settings/settings.ts";
import { asRaw, type FileContent, ownValues, prefixed, readable, readContent } from "./files.ts";

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

/** Stands for an encrypted value where all others may be seen. */
const MASK = "[secret]";

/** A value with each encrypted part replaced by {@link MASK}. */
function masked(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if ("secure" in value) return MASK;
  if (Array.isArray(value)) return value.map(masked);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, masked(part)]));
}

async function writeCopy(stack: string, content: FileContent): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), "dubbo-mesh-")), `Pulumi.${stack}.yaml`);
  await writeFile(path, toYaml(content), { mode: 0o600 });
  return path;
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
  const { raw, encrypted } = readable(content.config);
  const settings = parseSettings(raw);
  const overridden = Object.keys(overrides).length > 0;
  const path = overridden ? await writeCopy(stack, content) : join(directory, `Pulumi.${stack}.yaml`);
  return { stack, directory, path, overridden, raw, encrypted, settings };
}
