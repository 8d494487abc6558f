import { isDeepStrictEqual } from "node:util";
import { ApiServer } from "../../common/kubeconfig.ts";
import { type KubernetesObject, objectName } from "../../common/kubernetes-object.ts";
import { step } from "../../common/steps.ts";
import type { StackFile } from "../../stack/stack-file.ts";
import type { Change, Engine, LiveObject } from "../engine/engine.ts";
import { pathText } from "../explain/path.ts";
import type { Target } from "../kubectl.ts";
import { table } from "../report.ts";
import { foreignFields, type OwnedField, ownedObject, type Place, placeOf } from "./managed-fields.ts";
import { deleteObject, deployAgain, editObject, restoreFields } from "./mend.ts";
import { isByRight } from "./rights.ts";
import { findUndeclared, type Undeclared } from "./undeclared.ts";

/** Field of a stack's object that another manager set. */
export interface DriftingField {
  /**
   * `added`: the stack does not declare the field. `changed`: it declares another value. `set`: one
   * of both, as the state has the field encrypted, or it is of another API version.
   */
  readonly what: "added" | "changed" | "set";
  /** Kind and name of the object. */
  readonly object: string;
  readonly field: string;
  /** Value in the cluster. Missing for `set`. */
  readonly value?: unknown;
  readonly manager: string;
  /** `Apply` for server-side apply, else `Update`. */
  readonly operation: string;
  /** Such as `scale`. */
  readonly subresource?: string;
  /** Time of the manager's last change of the object. */
  readonly time?: string;
  /** Command that undoes the drift. Fields of one object can share a command. */
  readonly mend: string;
}

/** Object that changes the stack's calls, and that no stack declares. */
export interface DriftingObject {
  /** Kind and name of the object. */
  readonly object: string;
  /** Its field managers. */
  readonly managers: readonly string[];
  /** Time of its creation. */
  readonly time: string;
  /** Command that deletes it. */
  readonly mend: string;
}

/** Result of {@link drift}. */
export interface DriftReport {
  /** Differences between the cluster and the state, as Pulumi's refresh finds them. */
  readonly changes: readonly (Change & { readonly mend: string })[];
  readonly fields: readonly DriftingField[];
  readonly undeclared: readonly DriftingObject[];
  /** Facts that are no drift, and checks that could not be made. */
  readonly notes: readonly string[];
}

/** Reports whether the cluster differs from what the last `up` left there. */
export function isDrift({ changes, fields, undeclared }: DriftReport): boolean {
  return changes.length + fields.length + undeclared.length > 0;
}

/** Field of another manager, in the cluster and in the state. */
interface LocatedField extends OwnedField {
  readonly what: DriftingField["what"];
  readonly place: Place;
  /** Value in the state; undefined for a field that is not declared. */
  readonly declared: unknown;
}

/** Returns a field that another manager owns. A field with its declared value is no drift. */
function located({ live, declared }: LiveObject, field: OwnedField): LocatedField[] {
  const place = placeOf(live, field.path);
  const { value: own } = placeOf(declared, field.path);
  if (place.value === undefined) return [{ ...field, what: "set", place, declared: own }];
  if (isDeepStrictEqual(place.value, own)) return [];
  return [{ ...field, what: own === undefined ? "added" : "changed", place, declared: own }];
}

function drifting(
  { what, place, owner }: LocatedField,
  object: KubernetesObject,
  mend: DriftingField["mend"],
): DriftingField {
  const { manager, operation, subresource, time } = owner;
  return {
    what,
    object: objectName(object),
    field: pathText(place.path),
    ...(place.value !== undefined && { value: place.value }),
    manager,
    operation,
    ...(subresource !== undefined && { subresource }),
    ...(time !== undefined && { time }),
    mend,
  };
}

/**
 * Returns the fields of a stack's objects that other managers set and that are neither declared
 * with the same value nor theirs by right.
 */
export function driftingFields(
  objects: readonly LiveObject[],
  stack: string,
  target: Target,
): DriftingField[] {
  // The autoscaler of a Deployment has its name.
  const autoscalers = objects.filter(({ live }) => live.kind === "HorizontalPodAutoscaler");
  const autoscaled = new Set(autoscalers.map(({ live }) => live.metadata.name));
  return objects.flatMap((object) => {
    const { kind, metadata, __fieldManager: own } = ownedObject.parse(object.live);
    const isAutoscaled = kind === "Deployment" && autoscaled.has(metadata.name);
    const isKept = ({ owner, path }: OwnedField): boolean =>
      owner.manager === own || isByRight(kind, path, isAutoscaled);
    const foreign = foreignFields(metadata.managedFields, isKept).flatMap((field) => located(object, field));
    // An `up` restores all declared fields of an object, but only if the refresh reports a change.
    const patched = foreign.filter(
      ({ what }) => what === "added" || (what === "changed" && !object.isChanged),
    );
    const patch = restoreFields(
      target,
      object.live,
      patched.map(({ path, place, declared }) => ({ path, place: place.path, declared })),
    );
    const mends = {
      added: patch,
      changed: object.isChanged ? deployAgain(stack) : patch,
      set: object.isChanged ? deployAgain(stack) : editObject(target, object.live),
    };
    return foreign.map((field) => drifting(field, object.live, mends[field.what]));
  });
}

function driftingObject({ object, managers, time }: Undeclared, target: Target): DriftingObject {
  return { object: objectName(object), managers, time, mend: deleteObject(target, object) };
}

/**
 * Compares the cluster with what the last `up` left there. Changes nothing.
 * @throws UserError if the engine fails or the cluster does not answer
 */
export async function drift(
  { stack, settings }: Pick<StackFile, "stack" | "settings">,
  engine: Pick<Engine, "drift">,
): Promise<DriftReport> {
  const { changes, objects } = await engine.drift();
  const declared = objects.map(({ live }) => live);
  const { undeclared, notes } = await step("look for objects that no stack declares", async () =>
    findUndeclared(await ApiServer.of(settings), settings.namespace, declared),
  );
  return {
    changes: changes.map((change) => ({ ...change, mend: deployAgain(stack) })),
    fields: driftingFields(objects, stack, settings),
    undeclared: undeclared.map((found) => driftingObject(found, settings)),
    notes,
  };
}

/** Longest value in the table, characters. */
const VALUE_WIDTH = 60;

function valueText(value: unknown): string {
  const text = value === undefined ? "" : JSON.stringify(value);
  return text.length <= VALUE_WIDTH ? text : `${text.slice(0, VALUE_WIDTH - 1)}…`;
}

function ownerText({ manager, operation, subresource }: DriftingField): string {
  return `${manager} (${subresource === undefined ? operation : `${operation}, ${subresource}`})`;
}

function rowsOf({ changes, fields, undeclared }: DriftReport): string[][] {
  const found = (operation: Change["operation"]): string => (operation === "delete" ? "missing" : "changed");
  return [
    ["what", "object", "field", "value", "by", "since"],
    ...changes.map(({ operation, target, detail = "" }) => [found(operation), target, detail, "", "", ""]),
    ...fields.map((each) => {
      const { what, object, field, value, time = "" } = each;
      return [what, object, field, valueText(value), ownerText(each), time];
    }),
    ...undeclared.map(({ object, managers, time }) => [
      "undeclared",
      object,
      "",
      "",
      managers.join(", "),
      time,
    ]),
  ];
}

/** Formats a report: one difference per line, then the commands that undo them, then the notes. */
export function driftText(report: DriftReport): string {
  const { changes, fields, undeclared, notes } = report;
  // The commands of kubectl come first: `make repair` would take added fields into the state.
  const mends = [...new Set([...changes, ...fields, ...undeclared].map(({ mend }) => mend))].sort();
  return [
    ...(isDrift(report)
      ? [
          table(rowsOf(report)),
          "",
          "these commands undo it, in this order:",
          ...mends.map((mend) => `  ${mend}`),
        ]
      : ["no change"]),
    ...notes.map((note) => `note: ${note}`),
  ].join("\n");
}
