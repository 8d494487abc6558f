import type { DownReport } from "./down.ts";
import type { Change, Preview, Repair } from "./engine/engine.ts";
import type { Operation, Warning } from "./engine/warnings.ts";

const SIGNS: Readonly<Record<Operation, string>> = { create: "+", update: "~", replace: "!", delete: "-" };

function changeText({ operation, target, detail }: Change): string {
  const indented = detail === undefined ? "" : `\n${detail.replace(/^/gm, "      ")}`;
  return `  ${SIGNS[operation]} ${operation.padEnd(7)} ${target}${indented}`;
}

/** Formats changes, one per line, or returns `no change`. */
export function changesText(changes: readonly Change[]): string {
  return changes.length === 0 ? "no change" : ["changes:", ...changes.map(changeText)].join("\n");
}

/** Formats warnings with their targets. */
export function warningsText(warnings: readonly Warning[]): string {
  return warnings.map(({ target, text }) => `  ${target}: ${text}`).join("\n");
}

/**
 * Formats a preview. If callers would notice changes, it adds the warnings and the way to confirm
 * them.
 */
export function previewText(stack: string, { changes, warnings }: Preview): string {
  if (warnings.length === 0) return changesText(changes);
  const title = `callers would notice this; \`make up\` requires CONFIRM=${stack}:`;
  return [changesText(changes), "", title, warningsText(warnings)].join("\n");
}

/** Formats a removal: the removed things, then the remaining ones with reasons. */
export function downText({ removed, images, remains }: DownReport): string {
  const gone = [`${removed} is removed`, ...images.map((image) => `${image} is removed from docker`)];
  if (remains.length === 0) return gone.join("\n");
  return [...gone, "what stays:", ...remains.map(({ what, why }) => `  ${what}\n    ${why}`)].join("\n");
}

/** Formats a repair. */
export function repairText(stack: string, { unlocked, interrupted, changes }: Repair): string {
  return [
    ...(unlocked ? ["the lock of an interrupted command was released"] : []),
    ...(interrupted.length > 0
      ? ["interrupted:", ...interrupted.map((operation) => `  ${operation}`)]
      : ["nothing was interrupted"]),
    changes.length === 0
      ? "the state matches the cluster"
      : `the state now matches the cluster; ${changesText(changes)}`,
    `continue with \`make up STACK=${stack}\``,
  ].join("\n");
}

/** Formats a table with columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

/** Quotes a text for a POSIX shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Formats outputs, one name and value per line. */
export function outputsText(outputs: Readonly<Record<string, unknown>>): string {
  const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  return table(Object.entries(outputs).map(([name, value]) => [name, text(value)]));
}
