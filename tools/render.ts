import { mkdir, rm, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { toYaml } from "../common/yaml.ts";
import { UserError } from "../common/errors.ts";
import { type KubernetesObject } from "../common/kubernetes-object.ts";
import type { Settings } from "../settings/settings.ts";
import { runProgram } from "./engine/program.ts";
import type { StackFile } from "../stack/stack-file.ts";

/** Name of a rendered file: a number, a kind and a name. */
const RENDERED = /^\d{2}-[a-z]+-.+\.yaml$/;

function fileName({ kind, metadata }: KubernetesObject, index: number): string {
  return `${String(index).padStart(2, "0")}-${kind.toLowerCase()}-${metadata.name}.yaml`;
}

/** Rejects a stack that installs Istio: only Pulumi's engine knows the objects of its charts. */
function rejectCharts({ istio: { mode } }: Settings): void {
  if (mode === "existing") return;
  throw new UserError(
    `dubbo-mesh:istio.mode is ${mode}, whose Helm releases cannot be rendered without Pulumi's engine`,
    "Use `make preview`, or leave istio.mode out for this.",
  );
}

/**
 * Writes the stack's objects as YAML files, numbered in the order in which to apply them. It needs
 * neither docker nor a cluster, since images are named by tag. It removes files of an earlier
 * render and leaves all others alone.
 * @returns the paths of the written files
 * @throws UserError if the stack installs Istio or has encrypted values, or the program rejects it
 */
export async function render(file: StackFile, directory: string): Promise<string[]> {
  rejectCharts(file.settings);
  const { objects } = await runProgram(file);
  await mkdir(directory, { recursive: true });
  const old = (await readdir(directory)).filter((name) => RENDERED.test(name));
  await Promise.all(old.map((name) => rm(join(directory, name))));
  const files = objects.map((object, index) => ({
    path: join(directory, fileName(object, index)),
    text: toYaml(object),
  }));
  await Promise.all(files.map(({ path, text }) => writeFile(path, text)));
  return files.map(({ path }) => path);
}
