import type { KubernetesObject } from "../common/kubernetes-object.ts";
import type { Mesh } from "./mesh.ts";

/** An object, or a place in it, that does not keep a rule. */
export interface Fault {
  /** The object; text where it is not among those that were given, such as a Namespace. */
  readonly object: KubernetesObject | string;
  /** The field, such as `spec.ports[0].name`. */
  readonly path?: string;
  /** What is wrong. */
  readonly message: string;
}

/** What a mesh must keep. */
export interface Rule {
  /** Its name, in kebab-case. */
  readonly id: string;
  /** error: calls fail, are lost or are open to others; warning: works, with a cost or a risk that is taken knowingly. */
  readonly severity: "error" | "warning";
  /** What must hold, as one sentence. */
  readonly text: string;
  /** What to do where it does not, as one sentence in the imperative. */
  readonly fix: string;
  /** Where it comes from: a link, or a chapter of the seed, Apache's README of its sample "Dubbo mesh using Istio". */
  readonly source: string;
  /** Finds what does not keep it. */
  readonly faults: (mesh: Mesh) => readonly Fault[];
}

/** Kind, namespace and name of an object. */
export function titleOf(object: KubernetesObject | string): string {
  if (typeof object === "string") return object;
  const { kind, metadata } = object;
  return kind === "Namespace"
    ? `${kind} ${metadata.name}`
    : `${kind} ${metadata.namespace ?? "default"}/${metadata.name}`;
}
