import { parseSettings, type Settings } from "../settings/settings.ts";
import { UserError } from "../common/errors.ts";
import {
  asRaw,
  encryptsOnlyProperties,
  type FileContent,
  isSecret,
  ownValues,
  prefixed,
  readable,
  readComplete,
} from "./files.ts";

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
  /** Encrypted keys that {@link StackFile.settings} replaces with their defaults. */
  readonly unread: readonly string[];
  /** Checked configuration. Encrypted properties of applications have the text `[secret]`. */
  readonly settings: Settings;
}

/** Placeholder for an encrypted value. */
const MASK = "[secret]";

/** Replaces each encrypted part of a value with {@link MASK}. */
function masked(value: unknown): unknown {
  if (isSecret(value)) return MASK;
  if (typeof value !== "object" || value === null) return value;
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
  return { stack, directory, raw, encrypted: [], unread: [], settings: parseSettings(raw) };
}

/** Returns the settings with masks for encrypted properties, and without other encrypted keys. */
function settingsOf(
  config: FileContent["config"],
): Pick<StackFile, "raw" | "encrypted" | "unread" | "settings"> {
  const { raw, encrypted } = readable(config);
  const maskable = ownValues(config).filter(([key, value]) => encryptsOnlyProperties(key, value));
  const masks = asRaw(maskable.map(([key, value]) => [key, masked(value)]));
  const unread = encrypted.filter((key) => masks[key] === undefined);
  return { raw, encrypted, unread, settings: parseSettings({ ...raw, ...masks }) };
}

/**
 * Rejects settings with defaults in place of encrypted values. A command that compares the mesh
 * with them would report false faults.
 */
export function rejectUnread({ stack, unread }: Pick<StackFile, "stack" | "unread">): void {
  if (unread.length === 0) return;
  throw new UserError(
    `stack ${stack} encrypts ${unread.join(", ")}, which only Pulumi can read`,
    "Give these keys plain values; only properties of applications (`services[].properties`) may be encrypted.",
  );
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
  const overridden = Object.keys(overrides).length > 0 && { overridden: content };
  return { stack, directory, ...overridden, ...settingsOf(content.config) };
}
