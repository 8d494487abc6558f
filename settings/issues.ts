import type { z } from "zod";
import { rejectCombinations } from "./combinations.ts";
import type { Given } from "./keys.ts";
import { rejectWeakProduction } from "./production.ts";

/** Adds an issue for each invalid combination of keys, and each setting too weak for production. */
export function checkCombinations(given: Given, context: z.RefinementCtx): void {
  // Check combinations only if every single key is valid.
  if (context.issues.length > 0) return;
  for (const check of [rejectCombinations, rejectWeakProduction]) {
    check(given, (path, message) => {
      context.addIssue({ code: "custom", path, message });
    });
  }
}

/**
 * Error of a parse for text that YAML reads as a number or as true and false; undefined for other
 * errors.
 */
export function unquoted(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code !== "invalid_type" || issue.expected !== "string") return undefined;
  const kind = typeof issue.input;
  if (kind !== "number" && kind !== "boolean") return undefined;
  return `is a ${kind} in YAML, not text: put it in quotes`;
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
