import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { HEALTH_CHECK_RULES } from "./health-checks.ts";
import { meshOf } from "./mesh.ts";
import { POD_RULES } from "./pods.ts";
import { type Rule, titleOf } from "./rule.ts";
import { SECURITY_RULES } from "./security.ts";
import { SERVICE_RULES } from "./services.ts";
import { TRAFFIC_RULES } from "./traffic.ts";

/** A place that breaks a rule. */
export interface Finding {
  /** Id of the rule. */
  readonly rule: string;
  readonly severity: "error" | "warning";
  /** `Kind namespace/name`. */
  readonly object: string;
  /** Path of the field, such as `spec.ports[0]`. */
  readonly path?: string;
  readonly message: string;
  readonly fix: string;
  readonly source: string;
}

/** All rules for a Dubbo mesh on Istio. */
export const RULES: readonly Rule[] = [
  ...SERVICE_RULES,
  ...POD_RULES,
  ...HEALTH_CHECK_RULES,
  ...SECURITY_RULES,
  ...TRAFFIC_RULES,
];

/** Options of `check`. */
export interface CheckOptions {
  /**
   * Images (name and tag) to build before the objects are applied. The objects then refer to them
   * by digest. Default: none.
   */
  readonly built?: readonly string[];
}

/**
 * Returns the places that break a rule, in the order of the rules and of the objects. Rules compare
 * objects with each other, so pass all objects that are applied together. An object that is missing
 * from the set does not count as a fault.
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
