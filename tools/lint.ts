import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import yaml from "js-yaml";
import { z } from "zod";
import { messageOf, UserError } from "../common/errors.ts";
import { check, type Finding, RULES } from "../policy/rules.ts";
import { type KubernetesObject, kubernetesObject } from "../common/kubernetes-object.ts";
import { runProgram } from "./engine/program.ts";
import type { StackFile } from "../stack/stack-file.ts";

/** Text that lint could not read as an object. */
export interface Skipped {
  /** File and document, such as `document 2 of a.yaml`. */
  readonly place: string;
  readonly reason: string;
  /** `error`: a file that the caller named holds no YAML there. `note`: nothing to mend. */
  readonly severity: "error" | "note";
}

/** Findings of the rules in a set of objects. */
export interface LintReport {
  /** Number of objects. */
  readonly objects: number;
  /** Number of errors, the skipped ones among them. */
  readonly errors: number;
  readonly warnings: number;
  readonly findings: readonly Finding[];
  readonly skipped: readonly Skipped[];
}

function reportOf(objects: readonly KubernetesObject[], skipped: readonly Skipped[] = []): LintReport {
  const findings = check(objects);
  const count = (severity: string): number =>
    [...findings, ...skipped].filter((each) => each.severity === severity).length;
  return { objects: objects.length, errors: count("error"), warnings: count("warning"), findings, skipped };
}

/** An object, or text that was skipped. */
type Read = { readonly object: KubernetesObject } | Skipped;

const list = z.looseObject({ kind: z.string().endsWith("List"), items: z.array(z.unknown()) });

/** Reads a document's objects. A List counts as its items. */
function readDocument(document: unknown, place: string): Read[] {
  if (document === null || document === undefined) return [];
  const asList = list.safeParse(document);
  if (asList.success)
    return asList.data.items.flatMap((item, index) => readDocument(item, `item ${index + 1} of ${place}`));
  const object = kubernetesObject.safeParse(document);
  if (object.success) return [{ object: object.data }];
  const lacking = object.error.issues.map(({ path }) => path.join(".") || "fields");
  return [{ place, reason: `is no Kubernetes object: it has no ${lacking.join(", no ")}`, severity: "note" }];
}

/**
 * Splits a file's text into its documents, as kubectl does: at lines that start with `---`, and
 * between JSON objects. Each may have a byte order mark. Comments before the first one are none.
 */
function documentsOf(content: string): string[] {
  const plain = content.replace(/^\uFEFF/gm, "");
  const separate = /^\s*\{/.test(plain) ? plain.replace(/\}\s*\n\s*\{/g, "}\n---\n{") : plain;
  const [first = "", ...others] = separate.split(/^---(?=\s|$)/m);
  const empty = first.split("\n").every((line) => /^\s*([#%]|$)/.test(line));
  return empty ? others : [first, ...others];
}

/** Parses a document, or returns the reason why it is no YAML. */
function parse(document: string): readonly unknown[] | string {
  try {
    return yaml.loadAll(document);
  } catch (error) {
    return `is no YAML: ${messageOf(error).split("\n")[0] ?? ""}`;
  }
}

/**
 * Reads the objects of a file's text. A document that is broken or no object does not stop it.
 * @param named false if the file was found in a folder, which may hold other YAML
 */
export function readObjects(content: string, file: string, named: boolean): Read[] {
  return documentsOf(content).flatMap((document, index) => {
    const place = `document ${index + 1} of ${file === "-" ? "standard input" : file}`;
    const parsed = parse(document);
    if (typeof parsed === "string")
      return [{ place, reason: parsed, severity: named ? "error" : "note" } as const];
    return parsed.flatMap((each) => readDocument(each, place));
  });
}

/** File names of manifests in a folder. */
const MANIFEST = /\.(ya?ml|json)$/;

/** Returns the files of a name. A folder contributes all manifests in it and below. */
async function filesOf(name: string): Promise<{ readonly file: string; readonly named: boolean }[]> {
  if (name === "-" || !(await stat(name)).isDirectory()) return [{ file: name, named: true }];
  const files = await readdir(name, { recursive: true });
  return files
    .filter((file) => MANIFEST.test(file))
    .sort()
    .map((file) => ({ file: join(name, file), named: false }));
}

async function readName(name: string): Promise<Read[]> {
  try {
    const files = await filesOf(name);
    const read = files.map(async ({ file, named }) => {
      const content = file === "-" ? await textOf(process.stdin) : await readFile(file, "utf8");
      return readObjects(content, file, named);
    });
    return (await Promise.all(read)).flat();
  } catch (error) {
    throw new UserError(
      `${name} cannot be read: ${messageOf(error)}`,
      'Name files or folders of YAML, or - for standard input: make lint FILES="a.yaml folder -".',
      { cause: error },
    );
  }
}

/**
 * Checks the objects of YAML or JSON files and folders together; `-` is standard input.
 * @throws UserError if a file cannot be read, or if there is no object at all
 */
export async function lintFiles(names: readonly string[]): Promise<LintReport> {
  const read = (await Promise.all(names.map(readName))).flat();
  const all = read.flatMap((each) => ("object" in each ? [each.object] : []));
  // The same object may stand in several files.
  const objects = [...new Map(all.map((object) => [JSON.stringify(object), object])).values()];
  const skipped = read.flatMap((each) => ("object" in each ? [] : [each]));
  if (objects.length > 0) return reportOf(objects, skipped);
  throw new UserError(
    ["there is no Kubernetes object", ...skipped.map(skippedText)].join("\n"),
    "Name files or folders that hold manifests.",
  );
}

/** Checks the objects that a stack declares. */
export async function lintStack(file: StackFile): Promise<LintReport> {
  const { objects } = await runProgram(file);
  return reportOf(objects);
}

function skippedText({ place, reason, severity }: Skipped): string {
  return `${severity}: ${place} ${reason}`;
}

function findingText({ rule, severity, path, message, fix, source }: Finding): string {
  const place = path === undefined ? "" : `  ${path}`;
  return [
    `  ${severity.padEnd(7)} ${rule}${place}`,
    ...[message, `fix: ${fix}`, `source: ${source}`].map((line) => `          ${line}`),
  ].join("\n");
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Formats a report by object, with a summary. */
export function lintText({ objects, errors, warnings, findings, skipped }: LintReport): string {
  const groups = [...new Set(findings.map(({ object }) => object))].map((object) => {
    const own = findings.filter((finding) => finding.object === object);
    return [object, ...own.map(findingText)].join("\n");
  });
  const found = `${count(errors, "error")}, ${count(warnings, "warning")}`;
  return [
    ...groups,
    ...(skipped.length === 0 ? [] : [skipped.map(skippedText).join("\n")]),
    `${found} in ${count(objects, "object")} by ${count(RULES.length, "rule")}`,
  ].join("\n\n");
}
