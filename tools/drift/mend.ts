/** Commands that undo a drift. */
import type { KubernetesObject } from "../../common/kubernetes-object.ts";
import type { Path } from "../explain/path.ts";
import { kubectlCommand, type Target } from "../kubectl.ts";
import { quoted } from "../report.ts";
import { elementKeys, type FieldPath } from "./managed-fields.ts";

/** Field to restore in an object. */
export interface Restored {
  readonly path: FieldPath;
  /** Names and indexes of the same field in the object. */
  readonly place: Path;
  /** Value to set. Without one, the field is removed. */
  readonly declared?: unknown;
}

/** One operation of a JSON patch. Source: RFC 6902 */
type PatchOperation =
  | { readonly op: "test" | "replace"; readonly path: string; readonly value: unknown }
  | { readonly op: "remove"; readonly path: string };

/** Formats a path as a JSON pointer. Source: RFC 6901 */
function pointer(place: Path): string {
  return place.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

/** Returns checks that the list elements of a path still have the indexes of its place. */
function checks({ path, place }: Restored): PatchOperation[] {
  return path.flatMap((key, index): PatchOperation[] => {
    const element = place.slice(0, index + 1);
    if (key.startsWith("v:"))
      return [{ op: "test", path: pointer(element), value: JSON.parse(key.slice(2)) as unknown }];
    return Object.entries(elementKeys(key)).map(([name, value]) => ({
      op: "test",
      path: pointer([...element, name]),
      value,
    }));
  });
}

function restore({ place, declared }: Restored): PatchOperation {
  const path = pointer(place);
  return declared === undefined ? { op: "remove", path } : { op: "replace", path, value: declared };
}

/**
 * Returns a JSON patch that restores fields. If an element of a list has moved since, the patch
 * fails and changes nothing.
 */
export function restoringPatch(fields: readonly Restored[]): PatchOperation[] {
  const byPath = (operations: PatchOperation[]): PatchOperation[] => [
    ...new Map(operations.map((operation) => [operation.path, operation])).values(),
  ];
  const changes = byPath(fields.map(restore));
  const outermost = changes.filter(({ path }) => !changes.some((other) => path.startsWith(`${other.path}/`)));
  // The last element of a list goes first, so that the others keep their indexes.
  const ordered = outermost.sort((a, b) => b.path.localeCompare(a.path, "en", { numeric: true }));
  return [...byPath(fields.flatMap(checks)), ...ordered];
}

function word(text: string): string {
  return /^[\w%+,./:=@-]+$/.test(text) ? text : quoted(text);
}

/** Returns a kubectl command for one object, as text for a shell. */
function kubectlFor(
  target: Target,
  verb: string,
  { apiVersion, kind, metadata }: KubernetesObject,
  ...flags: readonly string[]
): string {
  const group = apiVersion.includes("/") ? `.${apiVersion.split("/")[0] ?? ""}` : "";
  const { name, namespace } = metadata;
  const object = [`${kind.toLowerCase()}${group}`, name];
  const scope = namespace === undefined ? [] : ["--namespace", namespace];
  return [...kubectlCommand(target), verb, ...object, ...scope, ...flags].map(word).join(" ");
}

/** Returns the command that restores fields of an object. */
export function restoreFields(target: Target, object: KubernetesObject, fields: readonly Restored[]): string {
  const patch = JSON.stringify(restoringPatch(fields));
  return kubectlFor(target, "patch", object, "--type=json", `--patch=${patch}`);
}

/** Returns the command that deletes an object. */
export function deleteObject(target: Target, object: KubernetesObject): string {
  return kubectlFor(target, "delete", object);
}

/** Returns the command that opens an object in an editor. */
export function editObject(target: Target, object: KubernetesObject): string {
  return kubectlFor(target, "edit", object);
}

/**
 * Returns the commands that restore declared fields and missing objects. `make up` alone compares
 * the stack with its state, and only `make repair` updates the state.
 */
export function deployAgain(stack: string): string {
  return `make repair STACK=${stack} && make up STACK=${stack}`;
}
