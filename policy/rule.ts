import type { KubernetesObject } from "../common/kubernetes-object.ts";
import type { ManifestMesh } from "./mesh.ts";

/** An object, or a field of it, that breaks a rule. */
export interface Fault {
  /** The object, or its title as text if it is not among the given objects, such as a Namespace. */
  readonly object: KubernetesObject | string;
  /** Path of the field, such as `spec.ports[0].name`. */
  readonly path?: string;
  /** Description of the fault. */
  readonly message: string;
}

/** A rule that every mesh must keep. */
export interface Rule {
  /** Name in kebab-case. */
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
  /**
   * Source of the rule: a link, or a chapter of the sample. The sample is Apache's README of "Dubbo
   * mesh using Istio".
   */
  readonly source: string;
  /** Finds the places that break the rule. */
  readonly faults: (mesh: ManifestMesh) => readonly Fault[];
}

/** Returns kind, namespace and name of an object. */
export function titleOf(object: KubernetesObject | string): string {
  if (typeof object === "string") return object;
  const { kind, metadata } = object;
  return kind === "Namespace"
    ? `${kind} ${metadata.name}`
    : `${kind} ${metadata.namespace ?? "default"}/${metadata.name}`;
}
