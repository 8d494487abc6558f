import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { HEALTH_CHECK_RULES } from "./health-checks.ts";
import { meshOf } from "./mesh.ts";
import { POD_RULES } from "./pods.ts";
import { type Rule, titleOf } from "./rule.ts";
import { SECURITY_RULES } from "./security.ts";
import { SERVICE_RULES } from "./services.ts";
import { TRAFFIC_RULES } from "./traffic.ts";

/** A place that does not keep a rule. */
export interface Finding {
  /** The rule's id. */
  readonly rule: string;
  readonly severity: "error" | "warning";
  /** `Kind namespace/name`. */
  readonly object: string;
  /** The field, such as `spec.ports[0]`. */
  readonly path?: string;
  readonly message: string;
  readonly fix: string;
  readonly source: string;
}

/** Rules that a Dubbo mesh on Istio must keep. */
export const RULES: readonly Rule[] = [
  ...SERVICE_RULES,
  ...POD_RULES,
  ...HEALTH_CHECK_RULES,
  ...SECURITY_RULES,
  ...TRAFFIC_RULES,
];

/** How objects are judged. */
export interface CheckOptions {
  /** Images (name and tag) that are built before the objects are applied, and then referred to by digest; default: none. */
  readonly built?: readonly string[];
}

/**
 * Finds what a set of objects does not keep, in the order of the rules and of the objects. Rules compare objects with each other, so give
 * all that are applied together; what is not among them is not held against them.
 */
export function check(objects: readonly KubernetesObject[], { built = [] }: CheckOptions = {}): Finding[] {
  const mesh = meshOf(objects, built);
  return RULES.flatMap(({ id, severity, fix, source, faults }) =>
    faults(mesh).map(({ object, path, message }) => ({
      rule: id,
      severity,
      object: titleOf(object),
      ...(path !== undefined && { path }),
      message,
      fix,
      source,
    })),
  );
}
