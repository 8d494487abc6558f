import type { KubernetesObject } from "../common/kubernetes-object.ts";
import { AUTHORIZATION_RULES } from "./authorization.ts";
import { DRAIN_RULES } from "./drain.ts";
import { HEALTH_CHECK_RULES } from "./health-checks.ts";
import { meshOf } from "./mesh.ts";
import { MTLS_RULES } from "./mtls.ts";
import { RETRY_RULES } from "./retries.ts";
import { ROUTE_RULES } from "./routes.ts";
import { type Fault, type Rule, titleOf } from "./rule.ts";
import { SERVICE_RULES } from "./services.ts";

/** A place that breaks a rule. */
export interface Finding extends Pick<Rule, "severity" | "fix" | "source">, Omit<Fault, "object"> {
  /** Id of the rule. */
  readonly rule: string;
  /** `Kind namespace/name`. */
  readonly object: string;
}

/** All rules for a Dubbo mesh on Istio. */
export const RULES: readonly Rule[] = [
  ...SERVICE_RULES,
  ...ROUTE_RULES,
  ...RETRY_RULES,
  ...HEALTH_CHECK_RULES,
  ...AUTHORIZATION_RULES,
  ...MTLS_RULES,
  ...DRAIN_RULES,
];

/**
 * Returns the places that break a rule, in the order of the rules and of the objects. Pass all
 * objects that are applied together: rules compare them, and are silent where one is missing.
 */
export function check(objects: readonly KubernetesObject[]): Finding[] {
  const mesh = meshOf(objects);
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
