import type { Warning } from "./warnings.ts";

/** What a change does to one object or resource. */
export type Operation = "create" | "update" | "replace" | "delete";

/** One change of a stack. */
export interface Change {
  readonly operation: Operation;
  /** Kind and name of the object, or the resource's type and name. */
  readonly target: string;
  /** What changes within, for people. */
  readonly detail?: string;
}

/** What `up` would do. */
export interface Preview {
  readonly changes: readonly Change[];
  /** What those who call would feel of it. */
  readonly warnings: readonly Warning[];
}

/** What came of `up`. */
export interface UpResult {
  /** The stack's outputs by name. */
  readonly outputs: Readonly<Record<string, unknown>>;
  /** What was changed; empty where nothing was. */
  readonly changes: readonly Change[];
}

/** What came of {@link Engine.repair}. */
export interface Repair {
  /** Whether a lock that an interrupted command had left was released. */
  readonly unlocked: boolean;
  /** What was begun and not seen to its end: an operation and a resource each. */
  readonly interrupted: readonly string[];
  /** How the state differed from the cluster; it is now the cluster's. */
  readonly changes: readonly Change[];
}

/** What brings a stack about: Pulumi's, or kubectl where Pulumi's cannot be had. */
export interface Engine {
  /** Name, as `ENGINE=` takes it. */
  readonly name: "pulumi" | "kubectl";
  /** Builds and pushes the images and brings the cluster to the stack's state. */
  up(): Promise<UpResult>;
  /** What `up` would change. Changes nothing. */
  preview(): Promise<Preview>;
  /** What those who call would feel of `up`; where it can be known sooner than all that would change, it is. Changes nothing. */
  warnings(): Promise<readonly Warning[]>;
  /** Lets go of what it keeps from being removed or replaced, until the next `up`. */
  unprotect(): Promise<void>;
  /** How the cluster differs from what `up` left there. Changes nothing. */
  drift(): Promise<readonly Change[]>;
  /** Makes the state fit the cluster again after an interrupted command; undefined where the engine keeps no state. */
  repair(): Promise<Repair | undefined>;
  /** Removes all that the stack has made, and waits until it is gone; of a stack for a while, the state as well. */
  down(): Promise<void>;
}
