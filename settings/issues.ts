import type { z } from "zod";
import { rejectCombinations } from "./combinations.ts";
import type { Given } from "./keys.ts";
import { rejectWeakProduction } from "./production.ts";

/** Adds an issue for each combination of keys that cannot work. */
export function checkCombinations(given: Given, context: z.RefinementCtx): void {
  // The issues so far already name the wrong keys.
  if (context.issues.length > 0) return;
  for (const check of [rejectCombinations, rejectWeakProduction]) {
    check(given, (path, message) => {
      context.addIssue({ code: "custom", path, message });
    });
  }
}

/**
 * Returns a sentence about a schema issue. The sentence begins with the key.
 * @param prefix text before each key, such as `dubbo-mesh:`
 */
export function describeIssue(issue: z.core.$ZodIssue, prefix = ""): string {
  const path = issue.path
    .map((part) => {
      if (typeof part === "number") return `[${part}]`;
      const name = String(part);
      return name.includes(".") ? `[${JSON.stringify(name)}]` : `.${name}`;
    })
    .join("");
  const key = `${prefix}${path.replace(/^\./, "")}`;
  // An inner issue gives the reason for an invalid key of a record.
  if (issue.code === "invalid_key") return `${key}: ${issue.issues[0]?.message ?? issue.message}`;
  if (issue.code !== "unrecognized_keys") return `${key}: ${issue.message}`;
  return issue.keys.map((name) => `${path === "" ? key : `${key}.`}${name}: no such key`).join("; ");
}
