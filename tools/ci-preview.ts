import { isDeepStrictEqual } from "node:util";
import { createTwoFilesPatch } from "diff";
import { execa, ExecaError } from "execa";
import { messageOf, UserError } from "../common/errors.ts";
import { toYaml } from "../common/yaml.ts";
import { check, type Finding } from "../policy/rules.ts";
import type { Operation } from "./engine/warnings.ts";
import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { committedStacks, GOLDEN, goldenObjects, type GoldenObjects } from "./golden.ts";
import { readObjects } from "./lint.ts";

/** An object that a pull request changes. */
export interface ObjectChange {
  readonly operation: Exclude<Operation, "replace">;
  /** Name of the object's golden file. */
  readonly file: string;
  /** The change as a unified diff. */
  readonly diff: string;
}

/** Policy findings before and after a pull request. */
export interface FindingChanges {
  /** Findings only after the change. */
  readonly fresh: readonly Finding[];
  /** Findings only before the change. */
  readonly mended: readonly Finding[];
  /** Findings before and after the change. */
  readonly staying: readonly Finding[];
}

/** Changes of a pull request in one environment. */
export interface EnvironmentChange {
  readonly stack: string;
  readonly changes: readonly ObjectChange[];
  readonly findings: FindingChanges;
}

/** Changes of a pull request. */
export interface CiPreview {
  /** Commit to compare with. */
  readonly base: string;
  readonly environments: readonly EnvironmentChange[];
}

async function git(directory: string, ...args: readonly string[]): Promise<string> {
  return (await execa("git", args, { cwd: directory, stripFinalNewline: false })).stdout;
}

/** Returns git's error text. It is empty if there is no common commit. */
function reasonOf(error: unknown): string {
  const said = error instanceof ExecaError ? String(error.stderr).trim() : messageOf(error);
  return said === "" ? "" : `: ${said}`;
}

/** Returns the commit at which the work branched off the base. */
async function forkPoint(directory: string, base: string): Promise<string> {
  const printed = await git(directory, "merge-base", base, "HEAD").catch((error: unknown) => {
    throw new UserError(
      `${base} and HEAD have no commit in common here${reasonOf(error)}`,
      "Set BASE to an existing branch (BASE=main), or fetch its history (git fetch --unshallow origin).",
      { cause: error },
    );
  });
  return printed.trim();
}

/**
 * Returns the contents of files at a commit. It starts one git process, since one per file would
 * take most of the time.
 */
async function contents(directory: string, names: readonly string[]): Promise<string[]> {
  const input = names.map((name) => `${name}\n`).join("");
  const { stdout } = await execa("git", ["cat-file", "--batch"], {
    cwd: directory,
    input,
    encoding: "buffer",
  });
  const printed = Buffer.from(stdout);
  let at = 0;
  return names.map(() => {
    // A header line that ends with the size precedes each content, and a line break follows it.
    const start = printed.indexOf("\n", at) + 1;
    const size = Number(printed.subarray(at, start).toString().trim().split(" ").at(-1));
    at = start + size + 1;
    return printed.subarray(start, start + size).toString();
  });
}

/** Parses the object of a golden file. */
function goldenObject(text: string, file: string): KubernetesObject {
  const [read] = readObjects(text, file, true);
  if (read !== undefined && "object" in read) return read.object;
  const fault = read === undefined ? `${file} is empty` : `${read.place} ${read.reason}`;
  throw new UserError(fault, "Write the golden files again (make golden), and commit them.");
}

/** Returns the golden objects at a commit, by stack. */
async function committedObjects(directory: string, commit: string): Promise<Map<string, GoldenObjects>> {
  const listed = await git(directory, "ls-tree", "-r", "-z", "--name-only", commit, "--", `${GOLDEN}/`);
  const paths = listed.split("\0").filter((path) => path.endsWith(".yaml"));
  const texts = await contents(
    directory,
    paths.map((path) => `${commit}:${path}`),
  );
  const stacks = new Map<string, Map<string, KubernetesObject>>();
  paths.forEach((path, index) => {
    const [stack = "", name = ""] = path.slice(GOLDEN.length + 1).split("/");
    const objects = stacks.get(stack) ?? new Map<string, KubernetesObject>();
    stacks.set(stack, objects.set(name, goldenObject(texts[index] ?? "", `${commit}:${path}`)));
  });
  return stacks;
}

function patch(
  file: string,
  before: KubernetesObject | undefined,
  after: KubernetesObject | undefined,
): string {
  const text = (object: KubernetesObject | undefined): string => (object === undefined ? "" : toYaml(object));
  const whole = createTwoFilesPatch(file, file, text(before), text(after), "", "", { context: 3 });
  // The first four lines name the file, as the heading already does.
  return whole.split("\n").slice(4).join("\n").trimEnd();
}

/** Returns the objects that differ, in the order of their file names. */
export function objectChanges(before: GoldenObjects, after: GoldenObjects): ObjectChange[] {
  const files = [...new Set([...before.keys(), ...after.keys()])].sort();
  return files.flatMap((file): ObjectChange[] => {
    const [old, now] = [before.get(file), after.get(file)];
    if (isDeepStrictEqual(old, now)) return [];
    const operation = old === undefined ? "create" : now === undefined ? "delete" : "update";
    return [{ operation, file, diff: patch(file, old, now) }];
  });
}

function findingsOf(objects: GoldenObjects): Finding[] {
  return check([...objects.values()]);
}

/**
 * Groups findings into fresh, mended and staying ones. Two findings are the same if rule, object
 * and path are equal.
 */
export function findingChanges(before: readonly Finding[], after: readonly Finding[]): FindingChanges {
  const key = ({ rule, object, path }: Finding): string => JSON.stringify([rule, object, path]);
  const [old, now] = [new Set(before.map(key)), new Set(after.map(key))];
  return {
    fresh: after.filter((finding) => !old.has(key(finding))),
    mended: before.filter((finding) => !now.has(key(finding))),
    staying: after.filter((finding) => old.has(key(finding))),
  };
}

/**
 * Compares the objects of the checkout with those at the commit where the work branched off the
 * base. It needs neither docker nor a cluster.
 * @param base a revision, such as `origin/main`
 * @throws UserError if the base does not exist, or a stack's configuration is wrong
 */
export async function ciPreview(directory: string, base: string): Promise<CiPreview> {
  const commit = await forkPoint(directory, base);
  const before = await committedObjects(directory, commit);
  const now = await committedStacks(directory);
  const changed: EnvironmentChange[] = [];
  // Stacks run one after another, since each run changes the state of the process.
  for (const stack of [...new Set([...now, ...before.keys()])].sort()) {
    const old = before.get(stack) ?? new Map<string, KubernetesObject>();
    const after = now.includes(stack)
      ? await goldenObjects(directory, stack)
      : new Map<string, KubernetesObject>();
    changed.push({
      stack,
      changes: objectChanges(old, after),
      findings: findingChanges(findingsOf(old), findingsOf(after)),
    });
  }
  return { base: commit, environments: changed };
}
