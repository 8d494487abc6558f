import { ms, percent, type Figures } from "./judge.ts";
import type { PromotionReport, PromotionStep } from "./promotion.ts";

const WIDTHS = [6, 6, 7, 7, 7, 13, 7, 7, 7];

function row(cells: readonly string[]): string {
  return cells
    .map((cell, index) => cell.padEnd(WIDTHS[index] ?? 0))
    .join("  ")
    .trimEnd();
}

function cells({ tries, success, p50, p99 }: Figures): string[] {
  return [String(tries), percent(success), ms(p50), ms(p99)];
}

/** Returns the head of the table. The second group of figures is that of the other versions. */
export function stepHead(): string {
  const figures = ["tries", "success", "p50", "p99"];
  return row(["weight", ...figures, "others' tries", ...figures.slice(1), "verdict"]);
}

/** Formats a step as a line of the table. */
export function stepText({ weight, version, others, verdict, seconds }: PromotionStep): string {
  return row([`${weight} %`, ...cells(version), ...cells(others), `${verdict} (${seconds} s)`]);
}

/** Formats the end of a promotion. The steps are printed when they end. */
export function promotionText(stack: string, report: PromotionReport): string {
  const { service, version, outcome, reason, weights, written, change } = report;
  const shares = Object.entries(weights).map(([name, weight]) => `${name} ${weight} %`);
  const first = `${version} of ${service} was ${outcome}${reason === undefined ? "" : `: ${reason}`}`;
  const file = `Pulumi.${stack}.yaml`;
  const where = written ? `in the cluster and in ${file}` : "in the cluster";
  const told = `${first}\nweights ${where}: ${shares.join(", ")}`;
  if (written) return told;
  if (change === undefined) return `${told}; write them to ${file} before the next \`make up\``;
  return `${told}; apply this change before the next \`make up\`:\n\n${change}`;
}
