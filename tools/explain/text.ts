import { table } from "../report.ts";
import type { Difference } from "./differences.ts";
import type { Explanation, Refusal } from "./explain.ts";

function valueText(value: unknown): string {
  if (value === undefined) return "nothing";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Returns the lines of a text that another text does not have. */
function ownLines(text: unknown, other: unknown): string {
  if (typeof text !== "string" || typeof other !== "string") return valueText(text);
  const lines = text.split("\n").filter((line) => !other.split("\n").includes(line));
  return lines.map((line) => line.trim()).join(", ");
}

function row({ object, path, before, after }: Difference): string[] {
  // `make render` shows the whole object.
  if (path === "" && before === undefined) return [`  ${object}`, "is new"];
  if (path === "" && after === undefined) return [`  ${object}`, "is removed"];
  return [`  ${object}`, path, `${ownLines(before, after)} -> ${ownLines(after, before)}`];
}

/** Returns the refusals, with one line for each reason. */
function refusalLines(refused: readonly Refusal[]): string[] {
  const reasons = [...new Set(refused.map(({ error }) => error))];
  return reasons.map((reason) => {
    const values = refused.filter(({ error }) => error === reason).map(({ value }) => valueText(value));
    return `  ${values.join(", ")}: ${reason}`;
  });
}

function trialText({ trial, refused }: Explanation): string[] {
  const refusals = refusalLines(refused);
  const before = refusals.length === 0 ? [] : ["refused:", ...refusals];
  if (trial === undefined) return refused.length === 0 ? ["no other value was tried"] : before;
  const { value, together, differences } = trial;
  const others = Object.entries(together).map(([key, other]) => ` and ${key} ${valueText(other)}`);
  const head = `with ${valueText(value)}${others.join("")}`;
  if (differences.length === 0) return [...before, `${head} no field differs`];
  // Pads rows of two columns, since the first row sets the number of columns.
  const rows = differences.map(row).map(([object = "", path = "", change = ""]) => [object, path, change]);
  return [...before, `${head}:`, table(rows)];
}

/** Formats an explanation for a terminal. */
export function explanationText(explanation: Explanation): string {
  const { key, meaning, value, from } = explanation;
  const now = from === undefined ? "is not set" : `is ${valueText(value)}, from ${from}`;
  return [`${key}: ${meaning}`, now, ...trialText(explanation)].join("\n");
}
