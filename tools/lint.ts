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

/** Findings of the rules in a set of objects. */
export interface LintReport {
  /** Number of objects. */
  readonly objects: number;
  readonly errors: number;
  readonly warnings: number;
  readonly findings: readonly Finding[];
}

function reportOf(objects: readonly KubernetesObject[], built: readonly string[] = []): LintReport {
  const findings = check(objects, { built });
  const errors = findings.filter(({ severity }) => severity === "error").length;
  return { objects: objects.length, errors, warnings: findings.length - errors, findings };
}

/** Returns a file's name for messages. */
function titleOf(file: string): string {
  return file === "-" ? "standard input" : file;
}

const list = z.looseObject({ kind: z.string().endsWith("List"), items: z.array(z.unknown()) });

/** Returns a document's objects. A List counts as its items. */
function objectsOf(document: unknown, place: string): KubernetesObject[] {
  if (document === null || document === undefined) return [];
  const asList = list.safeParse(document);
  if (asList.success)
    return asList.data.items.flatMap((item, index) => objectsOf(item, `item ${index + 1} of ${place}`));
  const object = kubernetesObject.safeParse(document);
  if (object.success) return [object.data];
  const faults = object.error.issues.map(({ path, message }) => `${path.join(".") || "it"}: ${message}`);
  throw new UserError(
    `${place} is no Kubernetes object: ${faults.join("; ")}`,
    "Name files whose documents have apiVersion, kind and metadata.name.",
    { cause: object.error },
  );
}

/**
 * Returns the number of the document that contains a line. Text before the first `---` counts as a
 * document unless it has only comments.
 */
function documentAt(content: string, line: number): number {
  const lines = content.split("\n").slice(0, line + 1);
  const first = lines.findIndex((each) => !/^\s*(#|$)/.test(each));
  return lines.slice(first + 1).filter((each) => /^---(\s|$)/.test(each)).length + 1;
}

/**
 * Parses the objects in a file's text. Empty documents are skipped.
 * @throws UserError that names the file and document if one is not YAML or not a Kubernetes object
 */
export function parseObjects(content: string, file: string): KubernetesObject[] {
  try {
    const documents: unknown[] = yaml.loadAll(content);
    return documents.flatMap((document, index) =>
      objectsOf(document, `document ${index + 1} of ${titleOf(file)}`),
    );
  } catch (error) {
    if (!(error instanceof yaml.YAMLException)) throw error;
    throw new UserError(
      `document ${documentAt(content, error.mark.line)} of ${titleOf(file)} is no YAML: ${error.message}`,
      "Mend the document.",
      { cause: error },
    );
  }
}

/** File names of manifests in a folder. */
const MANIFEST = /\.(ya?ml|json)$/;

/** Returns the files of a name. A folder contributes all manifests in it and below. */
async function filesOf(name: string): Promise<readonly string[]> {
  if (name === "-" || !(await stat(name)).isDirectory()) return [name];
  const files = await readdir(name, { recursive: true });
  return files
    .filter((file) => MANIFEST.test(file))
    .sort()
    .map((file) => join(name, file));
}

async function readObjects(name: string): Promise<KubernetesObject[]> {
  const contents = async (): Promise<(readonly [string, string])[]> =>
    Promise.all(
      (await filesOf(name)).map(
        async (file) =>
          [file, await (file === "-" ? textOf(process.stdin) : readFile(file, "utf8"))] as const,
      ),
    );
  const read = await contents().catch((error: unknown) => {
    throw new UserError(
      `${titleOf(name)} cannot be read: ${messageOf(error)}`,
      'Name files or folders of YAML, or - for standard input: make lint FILES="a.yaml folder -".',
      { cause: error },
    );
  });
  return read.flatMap(([file, content]) => parseObjects(content, file));
}

/**
 * Checks the objects of YAML or JSON files and folders together; `-` is standard input.
 * @throws UserError if a file cannot be read, is not valid, or if there is no object at all
 */
export async function lintFiles(names: readonly string[]): Promise<LintReport> {
  const objects = (await Promise.all(names.map(readObjects))).flat();
  if (objects.length === 0) {
    throw new UserError(
      `there is no Kubernetes object in ${names.map(titleOf).join(", ")}`,
      "Name files or folders that hold manifests.",
    );
  }
  return reportOf(objects);
}

/**
 * Checks the objects that a stack declares. Images that the stack builds count as pinned by digest.
 */
export async function lintStack(file: StackFile): Promise<LintReport> {
  const { objects, images } = await runProgram(file);
  return reportOf(
    objects,
    images.map(({ reference }) => reference),
  );
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
export function lintText({ objects, errors, warnings, findings }: LintReport): string {
  const groups = [...new Set(findings.map(({ object }) => object))].map((object) => {
    const own = findings.filter((finding) => finding.object === object);
    return [object, ...own.map(findingText)].join("\n");
  });
  const found = `${count(errors, "error")}, ${count(warnings, "warning")}`;
  return [...groups, `${found} in ${count(objects, "object")} by ${count(RULES.length, "rule")}`].join(
    "\n\n",
  );
}
