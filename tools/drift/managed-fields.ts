/** Reads `metadata.managedFields`: which manager owns which field of an object. */
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { kubernetesObject } from "../../common/kubernetes-object.ts";
import { fields, items } from "../../policy/fields.ts";
import type { Path } from "../explain/path.ts";

/**
 * Fields that a manager owns. A key is `f:` and the name of a field, `k:` and the keys of a list
 * element as JSON, `v:` and an element as JSON, or `i:` and an index. The key `.` is the node
 * itself.
 * Source: structured-merge-diff's fieldpath/serialize-pe.go
 */
export interface FieldTree {
  readonly [key: string]: FieldTree;
}

const fieldTree: z.ZodType<FieldTree> = z.lazy(() => z.record(z.string(), fieldTree));

const entry = z.object({
  manager: z.string().default(""),
  operation: z.string(),
  subresource: z.string().optional(),
  time: z.string().optional(),
  fieldsV1: fieldTree.default({}),
});

/** Fields of one manager, operation and subresource. */
export type ManagedFields = z.infer<typeof entry>;

/** Object with the owners of its fields, as Pulumi's provider reads it. */
export const ownedObject = kubernetesObject.extend({
  metadata: kubernetesObject.shape.metadata.extend({ managedFields: z.array(entry).default([]) }),
  /** Manager that the stack's state names for this object. */
  __fieldManager: z.string(),
});

/** Path to a field: keys of a {@link FieldTree} without `.`. */
export type FieldPath = readonly string[];

/** Returns the paths of all fields of a tree. A node that is owned itself has a path, too. */
export function pathsOf(tree: FieldTree, above: FieldPath = []): FieldPath[] {
  return Object.entries(tree).flatMap(([key, below]) => {
    if (key === ".") return [above];
    const path = [...above, key];
    return Object.keys(below).length === 0 ? [path] : pathsOf(below, path);
  });
}

/** Reports whether a path is another one or below it. */
export function isWithin(path: FieldPath, other: FieldPath): boolean {
  return other.every((key, index) => path[index] === key);
}

/** Returns the keys of a list element by name; none for any other key. */
export function elementKeys(key: string): Readonly<Record<string, unknown>> {
  return key.startsWith("k:") ? fields(JSON.parse(key.slice(2))) : {};
}

/** Reports whether a list element has these keys. The API server fills in keys that it lacks. */
function hasKeys(element: unknown, keys: Readonly<Record<string, unknown>>): boolean {
  const own = fields(element);
  return Object.entries(keys).every(([name, value]) => own[name] === undefined || own[name] === value);
}

/** Returns the name of a field, or the index of a list element. */
function partOf(value: unknown, key: string): string | number {
  if (key.startsWith("f:")) return key.slice(2);
  if (key.startsWith("i:")) return Number(key.slice(2));
  const keys = elementKeys(key);
  const index = items(value).findIndex((element) =>
    key.startsWith("k:") ? hasKeys(element, keys) : isDeepStrictEqual(element, JSON.parse(key.slice(2))),
  );
  if (index >= 0) return index;
  return (
    Object.entries(keys)
      .map(([name, each]) => `${name}=${String(each)}`)
      .join() || key.slice(2)
  );
}

/** Place of a field in an object. */
export interface Place {
  /** Names and indexes. A list element that the object lacks has its keys as name. */
  readonly path: Path;
  /** Value of the field, or undefined if the object lacks it. */
  readonly value: unknown;
}

/** Returns the place of a field in an object. */
export function placeOf(object: unknown, path: FieldPath): Place {
  return path.reduce<Place>(
    (at, key) => {
      const part = partOf(at.value, key);
      const value = typeof part === "number" ? items(at.value)[part] : fields(at.value)[part];
      return { path: [...at.path, part], value };
    },
    { path: [], value: object },
  );
}

/** Field with its owner. */
export interface OwnedField {
  readonly owner: ManagedFields;
  readonly path: FieldPath;
}

/**
 * Returns the fields that are neither the stack's nor another manager's by right. Fields below a
 * returned one of the same owner are left out.
 * @param isKept reports whether a field is the stack's, or another manager's by right
 */
export function foreignFields(
  owners: readonly ManagedFields[],
  isKept: (field: OwnedField) => boolean,
): OwnedField[] {
  const owned = owners.flatMap((owner) => pathsOf(owner.fieldsV1).map((path) => ({ owner, path })));
  const kept = owned.filter(isKept);
  const foreign: OwnedField[] = [];
  for (const field of owned.filter((each) => !isKept(each)).sort((a, b) => a.path.length - b.path.length)) {
    const { owner, path } = field;
    // A map that another manager began may hold fields of the stack.
    if (kept.some((each) => isWithin(each.path, path))) continue;
    if (foreign.some((each) => each.owner === owner && isWithin(path, each.path))) continue;
    foreign.push(field);
  }
  return foreign;
}
