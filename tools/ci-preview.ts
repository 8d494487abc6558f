import { isDeepStrictEqual } from "node:util";
import { createTwoFilesPatch } from "diff";
import { execa, ExecaError } from "execa";
import yaml from "js-yaml";
import { messageOf, UserError } from "../common/errors.ts";
import { toYaml } from "../common/yaml.ts";
import { check, type Finding } from "../policy/rules.ts";
import type { Operation } from "./engine/warnings.ts";
import { type KubernetesObject, kubernetesObject } from "../common/kubernetes-object.ts";
import { builtImages, committedStacks, GOLDEN, goldenObjects, type GoldenObjects } from "./golden.ts";

/** One object that a pull request changes. */
export interface ObjectChange {
  readonly operation: Exclude<Operation, "replace">;
  /** Name of the object's golden file. */
  readonly file: string;
  /** The change as a unified diff. */
  readonly diff: string;
}

/** What the policy finds, beside what it found before. */
export interface FindingChanges {
  /** Only after the change. */
  readonly fresh: readonly Finding[];
  /** Only before it. */
  readonly mended: readonly Finding[];
  /** Before and after it. */
  readonly staying: readonly Finding[];
}

/** What a pull request changes in one environment. */
export interface EnvironmentChange {
  readonly stack: string;
  readonly changes: readonly ObjectChange[];
  readonly findings: FindingChanges;
}

/** What a pull request changes. */
export interface CiPreview {
  /** The commit that it is compared with. */
  readonly base: string;
  readonly environments: readonly EnvironmentChange[];
}

async function git(directory: string, ...args: readonly string[]): Promise<string> {
  return (await execa("git", args, { cwd: directory, stripFinalNewline: false })).stdout;
}

/** What git says, which is nothing where there is no such commit. */
function reasonOf(error: unknown): string {
  const said = error instanceof ExecaError ? String(error.stderr).trim() : messageOf(error);
  return said === "" ? "" : `: ${said}`;
}

/** The commit at which the work parted from the base. */
async function forkPoint(directory: string, base: string): Promise<string> {
  const printed = await git(directory, "merge-base", base, "HEAD").catch((error: unknown) => {
    throw new UserError(
      `${base} and HEAD have no commit in common here${reasonOf(error)}`,
      "Name a base that is there (BASE=main), or fetch it with its history (git fetch --unshallow origin).",
      { cause: error },
    );
  });
  return printed.trim();
}

/** The contents of files at a commit, by one process: one a file would take most of the time. */
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
    // Before each content stands a line that ends with its size, and after it a line's end.
    const start = printed.indexOf("\n", at) + 1;
    const size = Number(printed.subarray(at, start).toString().trim().split(" ").at(-1));
    at = start + size + 1;
    return printed.subarray(start, start + size).toString();
  });
}

/** The objects that are committed at a commit, by stack. */
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
    stacks.set(stack, objects.set(name, kubernetesObject.parse(yaml.load(texts[index] ?? ""))));
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
  // The first four lines name the file, which a heading does.
  return whole.split("\n").slice(4).join("\n").trimEnd();
}

/** The objects that differ, in the order of their files' names. */
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
  const all = [...objects.values()];
  return check(all, { built: builtImages(all) });
}

/** Findings apart by whether they are new; one is the same as another where rule, object and path are. */
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
 * Compares what the checkout declares with what was committed where its work parted from the base. Needs neither docker nor cluster.
 * @param base a revision, such as `origin/main`
 * @throws UserError where the base is not there, or a stack's configuration is wrong
 */
export async function ciPreview(directory: string, base: string): Promise<CiPreview> {
  const commit = await forkPoint(directory, base);
  const before = await committedObjects(directory, commit);
  const now = await committedStacks(directory);
  const changed: EnvironmentChange[] = [];
  // One after another: a run of the program has the process for itself.
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
