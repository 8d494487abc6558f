import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { messageOf, UserError } from "../common/errors.ts";
import { toYaml } from "../common/yaml.ts";
import { type KubernetesObject } from "../common/kubernetes-object.ts";
import { runProgram } from "./engine/program.ts";
import { readMaskedStackFile } from "../stack/stack-file.ts";

/** Where the objects of the environments are committed, relative to the project: a folder a stack, a file an object. */
export const GOLDEN = "test/golden";

/** Replaces each text that is a key of `replacements` by its value, anywhere in a plain value. */
export function replaced<T>(value: T, replacements: ReadonlyMap<unknown, string>): T {
  const text = JSON.stringify(value, (_key, part: unknown) => replacements.get(part) ?? part);
  return JSON.parse(text) as T;
}

/** Stands for the registry of the images that a stack builds: RFC 6761 lets no host have that name. */
const REGISTRY = "registry.invalid";

/** Objects by the name of their golden file. */
export type GoldenObjects = ReadonlyMap<string, KubernetesObject>;

/**
 * The environments: the stacks whose files are committed. A stack of somebody's own, or of a test, is none.
 * @throws UserError where the project is no git checkout
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

/** An image's name and tag without its registry and organisation, where these are the machine's. */
function placeholder(reference: string): string {
  return `${REGISTRY}/${reference.slice(reference.lastIndexOf("/") + 1)}`;
}

/**
 * What a stack declares, as everybody may see it: the same on every machine. Images that the stack builds keep their name and tag,
 * which changes with the application's code, its libraries, the Dockerfile and the base image's name; encrypted values are `[secret]`.
 * @throws UserError where the stack's configuration is wrong
 */
export async function goldenObjects(directory: string, stack: string): Promise<GoldenObjects> {
  const { images, objects } = await runProgram(await readMaskedStackFile(directory, stack));
  const places = new Map(images.map(({ reference }) => [reference, placeholder(reference)]));
  const named = new Map<string, KubernetesObject>();
  for (const object of replaced(objects, places)) {
    const name = `${object.kind.toLowerCase()}-${object.metadata.name}.yaml`;
    if (named.has(name)) throw new Error(`two objects of stack ${stack} would be ${name}`);
    named.set(name, object);
  }
  return named;
}

/** The images among golden objects that a stack builds, as they stand there. */
export function builtImages(objects: readonly KubernetesObject[]): string[] {
  const found = JSON.stringify(objects).matchAll(/"(registry\.invalid\/[^"]+)"/g);
  return [...found].map(([, image = ""]) => image);
}

/** Files of an environment by name. */
export type GoldenFiles = ReadonlyMap<string, string>;

/** The golden files of all environments as they are to be, by path below {@link GOLDEN}. */
export async function expectedGolden(directory: string): Promise<GoldenFiles> {
  const files = new Map<string, string>();
  // One after another: a run of the program has the process for itself.
  for (const stack of await committedStacks(directory)) {
    for (const [name, object] of await goldenObjects(directory, stack)) {
      files.set(`${stack}/${name}`, toYaml(object));
    }
  }
  return files;
}

/** The golden files that lie in the checkout, by path below {@link GOLDEN}. */
export async function presentGolden(directory: string): Promise<GoldenFiles> {
  const root = join(directory, GOLDEN);
  const names = await readdir(root, { recursive: true }).catch(() => []);
  const files = names.filter((name) => name.endsWith(".yaml")).sort();
  const texts = await Promise.all(
    files.map(async (name) => [name, await readFile(join(root, name), "utf8")] as const),
  );
  return new Map(texts);
}

/** Makes the golden files what they are to be, and returns the paths of those that it wrote or removed. */
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
