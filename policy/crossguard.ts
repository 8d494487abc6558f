import {
  type PolicyResource,
  PolicyPack,
  type StackValidationPolicy,
  UnknownValueError,
} from "@pulumi/policy";
import { kubernetesObject } from "../common/kubernetes-object.ts";
import { type Rule, titleOf } from "./rule.ts";
import { check, RULES } from "./rules.ts";

/** Returns a property's value, or undefined if a preview does not know it yet. */
function known(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    if (error instanceof UnknownValueError) return undefined;
    throw error;
  }
}

/** Copies a value without the parts a preview does not know yet, such as the digest of an image. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((_item, index) => plain(known(() => value[index] as unknown)));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.keys(value).map((key) => [
    key,
    plain(known(() => (value as Readonly<Record<string, unknown>>)[key])),
  ]);
  return Object.fromEntries(entries.filter(([, each]) => each !== undefined)) as object;
}

/** Returns the Kubernetes objects among a stack's resources, with the names of the resources. */
function declaredObjects(resources: readonly PolicyResource[]) {
  return resources
    .filter(({ type }) => type.startsWith("kubernetes:"))
    .flatMap(({ urn, props }) => {
      const object = kubernetesObject.safeParse(plain(props));
      return object.success ? [{ urn, object: object.data }] : [];
    });
}

/** Converts a rule to a Pulumi policy: an error stops the update, a warning is only shown. */
export function policyOf({ id, severity, text, fix, source }: Rule): StackValidationPolicy {
  return {
    name: id,
    description: text,
    enforcementLevel: severity === "error" ? "mandatory" : "advisory",
    validateStack: ({ resources }, report) => {
      const declared = declaredObjects(resources);
      const urns = new Map(declared.map(({ urn, object }) => [titleOf(object), urn]));
      const objects = declared.map(({ object }) => object);
      for (const { rule, object, path, message } of check(objects)) {
        const place = path === undefined ? object : `${object} ${path}`;
        if (rule === id) report(`${place}: ${message}. ${fix} (${source})`, urns.get(object));
      }
    },
  };
}

/**
 * Serves the rules to Pulumi's engine.
 * Source: https://www.pulumi.com/docs/insights/policy/policy-packs/
 */
export function servePolicyPack(): PolicyPack {
  return new PolicyPack("dubbo-mesh", { policies: RULES.map(policyOf) });
}
