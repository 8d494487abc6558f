/** What a rule of the policy finds wrong. */
export interface Finding {
  readonly rule: string;
  readonly severity: "error" | "warning";
  readonly object: string;
  readonly path?: string;
  readonly message: string;
  readonly fix: string;
  readonly source: string;
}

/** The policy: what it finds in these objects, which are one stack's. */
export type Check = (objects: readonly unknown[]) => readonly Finding[];
