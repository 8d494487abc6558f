import type { KubernetesObject } from "../common/kubernetes-object.ts";
import type { ManifestMesh } from "./mesh.ts";

/** An object, or a field of it, that breaks a rule. */
export interface Fault {
  readonly object: KubernetesObject;
  /** Path of the field, such as `spec.ports[0].name`. */
  readonly path?: string;
  /** Description of the fault. */
  readonly message: string;
}

/** A rule that every mesh must keep. */
export interface Rule {
  /** Name in kebab-case. It stays as it is, and is never given to another rule. */
  readonly id: string;
  /**
   * `error`: calls fail, get lost or are open to others. `warning`: the mesh works, with a known
   * cost or risk.
   */
  readonly severity: "error" | "warning";
  /** The requirement, as one sentence. */
  readonly text: string;
  /** The remedy, as one sentence in the imperative. */
  readonly fix: string;
  /** A link, or a chapter of the seed: Apache's README of "Dubbo mesh using Istio". */
  readonly source: string;
  /** Finds the places that break the rule. It finds none where the objects do not tell. */
  readonly faults: (mesh: ManifestMesh) => readonly Fault[];
}

/** Returns kind, namespace and name of an object. */
export function titleOf({ kind, metadata }: KubernetesObject): string {
  return kind === "Namespace"
    ? `${kind} ${metadata.name}`
    : `${kind} ${metadata.namespace ?? "default"}/${metadata.name}`;
}

/** Returns the fault that a message describes, or none without a message. */
export function fault(object: KubernetesObject, path: string, message: string | undefined): Fault[] {
  return message === undefined ? [] : [{ object, path, message }];
}

/** Returns faults without those that repeat an earlier one. */
export function unique(faults: readonly Fault[]): Fault[] {
  const key = ({ object, path, message }: Fault): string => JSON.stringify([titleOf(object), path, message]);
  return [...new Map(faults.map((fault) => [key(fault), fault])).values()];
}
