import { parseSettings, type Settings } from "../settings/settings.ts";
import { asRaw, type FileContent, ownValues, prefixed, readable, readComplete } from "./files.ts";

/** Configuration values that a command sets for one run, by key without prefix. */
export type Overrides = Readonly<Record<string, unknown>>;

/** Stack and its configuration file. */
export interface StackFile {
  /** Name of the stack. */
  readonly stack: string;
  /** The project's folder. */
  readonly directory: string;
  /** Content of the file with the overrides; undefined without overrides. */
  readonly overridden?: FileContent;
  /** Values of the project as text, as Pulumi passes them, by key without prefix. */
  readonly raw: Readonly<Record<string, string>>;
  /** Keys with encrypted values. Only Pulumi's CLI can read them. */
  readonly encrypted: readonly string[];
  /** Checked configuration. */
  readonly settings: Settings;
}

/** Placeholder for an encrypted value. */
const MASK = "[secret]";

/** Replaces each encrypted part of a value with {@link MASK}. */
function masked(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if ("secure" in value) return MASK;
  if (Array.isArray(value)) return value.map(masked);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, masked(part)]));
}

/**
 * Reads a stack file as {@link readStackFile} does, but masks encrypted values. The result is safe
 * to print.
 * @throws UserError if the file is missing, invalid or incomplete, or encrypts a non-text value
 */
export async function readMaskedStackFile(
  directory: string,
  stack: string,
  overrides: Overrides = {},
): Promise<StackFile> {
  const { config } = await readComplete(directory, stack);
  const values = ownValues({ ...config, ...prefixed(overrides) });
  const raw = asRaw(values.map(([key, value]) => [key, masked(value)]));
  return { stack, directory, raw, encrypted: [], settings: parseSettings(raw) };
}

/**
 * Reads a stack file and checks its configuration.
 * @param overrides values that replace the file's for this run; the file does not change
 * @throws UserError if the file is missing, invalid or incomplete
 */
export async function readStackFile(
  directory: string,
  stack: string,
  overrides: Overrides = {},
): Promise<StackFile> {
  const file = await readComplete(directory, stack);
  const content = { ...file, config: { ...file.config, ...prefixed(overrides) } };
  const { raw, encrypted } = readable(content.config);
  const settings = parseSettings(raw);
  const overridden = Object.keys(overrides).length > 0 && { overridden: content };
  return { stack, directory, ...overridden, raw, encrypted, settings };
}
