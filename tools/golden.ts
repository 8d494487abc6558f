import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { messageOf, UserError } from "../common/errors.ts";
import { toYaml } from "../common/yaml.ts";
import { type KubernetesObject } from "../common/kubernetes-object.ts";
import { runProgram } from "./engine/program.ts";
import { readMaskedStackFile } from "../stack/stack-file.ts";

/**
 * Folder of the committed objects of all environments, relative to the project. It has a folder for
 * each stack and a file for each object.
 */
export const GOLDEN = "test/golden";

/** Replaces each text that is a key of `replacements` with its value, anywhere in a plain value. */
export function replaced<T>(value: T, replacements: ReadonlyMap<unknown, string>): T {
  const text = JSON.stringify(value, (_key, part: unknown) => replacements.get(part) ?? part);
  return JSON.parse(text) as T;
}

/** Placeholder for the registry of images that a stack builds. RFC 6761 reserves this name. */
const REGISTRY = "registry.invalid";

/** Objects by the name of their golden file. */
export type GoldenObjects = ReadonlyMap<string, KubernetesObject>;

/**
 * Returns the environments, which are the stacks with a committed file. Private and test stacks do
 * not count.
 * @throws UserError if the project is not a git checkout
 */
export async function committedStacks(directory: string): Promise<string[]> {
  const { stdout } = await execa("git", ["ls-files", "--", "Pulumi.*.yaml"], { cwd: directory }).catch(
    (error: unknown) => {
      throw new UserError(
        `the committed stacks cannot be listed: ${messageOf(error)}`,
        "Run it with git, in a checkout of the project.",
        { cause: error },
      );
    },
  );
  return stdout.split("\n").flatMap((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1] ?? []);
}

/**
 * Replaces an image's registry and organisation, which depend on the machine. Keeps its name and
 * tag.
 */
function placeholder(reference: string): string {
  return `${REGISTRY}/${reference.slice(reference.lastIndexOf("/") + 1)}`;
}

/** Adds the stack to an error: a command reads several. */
function ofStack(stack: string, error: unknown): unknown {
  if (!(error instanceof UserError)) return error;
  return new UserError(`stack ${stack}: ${error.message}`, error.fix, { cause: error });
}

/**
 * Returns the objects of a stack in a form that is the same on every machine. Images that the stack
 * builds keep their name and tag. The tag changes with the application's code, its libraries, the
 * Dockerfile and the base image's name. Encrypted values are `[secret]`.
 * @throws UserError that names the stack if its configuration is wrong
 */
export async function goldenObjects(directory: string, stack: string): Promise<GoldenObjects> {
  const { images, objects } = await readMaskedStackFile(directory, stack)
    .then(runProgram)
    .catch((error: unknown) => {
      throw ofStack(stack, error);
    });
  const places = new Map(images.map(({ reference }) => [reference, placeholder(reference)]));
  const named = new Map<string, KubernetesObject>();
  for (const object of replaced(objects, places)) {
    const name = `${object.kind.toLowerCase()}-${object.metadata.name}.yaml`;
    if (named.has(name)) throw new Error(`stack ${stack} has two objects for the file ${name}`);
    named.set(name, object);
  }
  return named;
}

/** Contents of golden files by path. */
export type GoldenFiles = ReadonlyMap<string, string>;

/** Returns the expected golden files of all environments, by path below {@link GOLDEN}. */
export async function expectedGolden(directory: string): Promise<GoldenFiles> {
  const files = new Map<string, string>();
  // Stacks run one after another, since each run changes the state of the process.
  for (const stack of await committedStacks(directory)) {
    for (const [name, object] of await goldenObjects(directory, stack)) {
      files.set(`${stack}/${name}`, toYaml(object));
    }
  }
  return files;
}

/** Returns the golden files in the checkout, by path below {@link GOLDEN}. */
export async function presentGolden(directory: string): Promise<GoldenFiles> {
  const root = join(directory, GOLDEN);
  const names = await readdir(root, { recursive: true }).catch(() => []);
  const files = names.filter((name) => name.endsWith(".yaml")).sort();
  const texts = await Promise.all(
    files.map(async (name) => [name, await readFile(join(root, name), "utf8")] as const),
  );
  return new Map(texts);
}

/** Updates the golden files. Returns the paths of the written and removed files. */
export async function writeGolden(directory: string): Promise<string[]> {
  const [expected, present] = [await expectedGolden(directory), await presentGolden(directory)];
  const root = join(directory, GOLDEN);
  const old = [...present.keys()].filter((name) => !expected.has(name));
  await Promise.all(old.map((name) => rm(join(root, name))));
  const changed = [...expected].filter(([name, text]) => present.get(name) !== text);
  for (const [name, text] of changed) {
    await mkdir(join(root, name, ".."), { recursive: true });
    await writeFile(join(root, name), text);
  }
  return [...old, ...changed.map(([name]) => name)].sort().map((name) => join(GOLDEN, name));
}
