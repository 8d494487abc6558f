import { resolve } from "node:path";
import { type KubernetesObject } from "../../../common/kubernetes-object.ts";
import { runProgram } from "../../../tools/engine/program.ts";
import { readStackFile } from "../../../stack/stack-file.ts";
import { check } from "../../../policy/rules.ts";

export const ROOT = resolve(import.meta.dirname, "../../..");

/** A stack's objects. */
export async function stackObjects(stack: string): Promise<readonly KubernetesObject[]> {
  return (await runProgram(await readStackFile(ROOT, stack))).objects;
}

/** A change of a set of objects. */
export type Change = (objects: readonly KubernetesObject[]) => readonly KubernetesObject[];

function isNamed(object: KubernetesObject, title: string): boolean {
  return `${object.kind} ${object.metadata.name}` === title;
}

/** Takes the objects `Kind name` away. */
export function without(title: string): Change {
  return (objects) => objects.filter((object) => !isNamed(object, title));
}

/** Adds a copy of the objects `Kind name` under another name. */
export function twice(title: string, name: string): Change {
  return (objects) => [
    ...objects,
    ...objects
      .filter((object) => isNamed(object, title))
      .map((object) => ({ ...object, metadata: { ...object.metadata, name } })),
  ];
}

/** Makes the changes one after the other. */
export function all(...changes: readonly Change[]): Change {
  return (objects) => changes.reduce((changed, change) => change(changed), objects);
}

/** A copy of `object` with `value` at `path`; `undefined` takes the field away. */
export function put<T>(object: T, path: readonly (string | number)[], value: unknown): T {
  const copy = structuredClone(object);
  let parent = copy as Record<string | number, unknown>;
  for (const key of path.slice(0, -1)) {
    parent[key] ??= {};
    parent = parent[key] as Record<string | number, unknown>;
  }
  const last = path.at(-1) ?? "";
  if (value === undefined) Reflect.deleteProperty(parent, last);
  else parent[last] = value;
  return copy;
}

/**
 * Sets the field at `path` of the objects `Kind name`, or removes it if the value is undefined.
 * Numbers in the path are positions in a list.
 * @throws Error where there is no such object: a change that changes nothing proves nothing
 */
export function set(title: string, path: string, value: unknown): Change {
  const keys = path.split("/").map((key) => (/^\d+$/.test(key) ? Number(key) : key.replaceAll("~1", "/")));
  return (objects) => {
    if (!objects.some((object) => isNamed(object, title))) throw new Error(`there is no ${title}`);
    return objects.map((object) => (isNamed(object, title) ? put(object, keys, value) : object));
  };
}

/** What the rules find, a line each: severity, rule, object, path and message. */
export function lines(objects: readonly KubernetesObject[]): string[] {
  return check(objects).map(({ severity, rule, object, path, message }) =>
    [severity, rule, object, ...(path === undefined ? [] : [path])].join(" ").concat(": ", message),
  );
}
