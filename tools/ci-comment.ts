import type { Finding } from "../policy/rules.ts";
import type { CiPreview, EnvironmentChange, ObjectChange } from "./ci-preview.ts";

/** The workflow finds its earlier comment by this line. */
export const MARKER = "<!-- dubbo-mesh: preview -->";

/**
 * Maximum length of a GitHub comment in characters.
 * Source: GitHub's API error for longer comments.
 */
export const COMMENT_LIMIT = 65_536;

/** Maximum number of findings in a table. The JSON has all of them. */
const MAX_FINDINGS = 20;

/** Maximum length of a table cell, in characters. */
const FINDING_LIMIT = 400;

/** Maximum length of all engine previews together, in characters. */
const ENGINE_LIMIT = 15_000;

/** Characters reserved for the note about omitted parts. */
const RESERVE = 200;

const SEPARATOR = "\n\n";

/** Text of each engine preview, by stack. */
export type EnginePreviews = ReadonlyMap<string, string>;

/** Escapes text for a table cell, so that it cannot end the cell, format text or mention a user. */
function cell(text: string): string {
  return text
    .slice(0, FINDING_LIMIT)
    .replace(/[\\`*_{}[\]<>|#~]/g, "\\$&")
    .replaceAll("@", "@\u200b")
    .replaceAll(/\s+/g, " ");
}

function row(...cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

/** Returns code in a fence that is longer than any fence inside. */
function fenced(language: string, text: string): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${text}\n${fence}`;
}

function details(summary: string, body: string): string {
  return `<details><summary>${summary}</summary>\n\n${body}\n\n</details>`;
}

/**
 * Returns the first lines of a text, up to `limit` characters, and a line that counts the omitted
 * ones.
 */
function firstLines(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const lines = text.slice(0, limit).split("\n").slice(0, -1);
  const more = text.split("\n").length - lines.length;
  return [...lines, `(${plural(more, "line")} more)`].join("\n");
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function count(changes: readonly ObjectChange[], operation: ObjectChange["operation"]): number {
  return changes.filter((change) => change.operation === operation).length;
}

function summary(environments: readonly EnvironmentChange[]): string {
  const rows = environments.map(({ stack, changes, findings }) =>
    row(
      stack,
      ...(["create", "update", "delete"] as const).map((operation) => String(count(changes, operation))),
      ...[findings.fresh, findings.mended, findings.staying].map(({ length }) => String(length)),
    ),
  );
  const heads = ["environment", "new", "changed", "removed", "findings: new", "fixed", "unchanged"];
  return [row(...heads), row("---", ...heads.slice(1).map(() => "--:")), ...rows].join("\n");
}

interface StackFinding extends Finding {
  readonly stack: string;
}

function findingTable(findings: readonly StackFinding[]): string {
  const rows = findings
    .slice(0, MAX_FINDINGS)
    .map(({ stack, severity, rule, object, path, message, fix }) =>
      row(
        stack,
        severity,
        cell(rule),
        cell(path === undefined ? object : `${object} ${path}`),
        cell(`${message} ${fix}`),
      ),
    );
  const more = findings.length - rows.length;
  return [
    row("environment", "severity", "rule", "where", "finding and fix"),
    row("---", "---", "---", "---", "---"),
    ...rows,
    ...(more > 0 ? [`\n${plural(more, "finding")} more: \`make ci-preview JSON=1\` shows all.`] : []),
  ].join("\n");
}

function findingSections({ environments }: CiPreview): string[] {
  const all = (kind: keyof EnvironmentChange["findings"]): StackFinding[] =>
    environments.flatMap(({ stack, findings }) => findings[kind].map((finding) => ({ ...finding, stack })));
  const [fresh, mended, staying] = [all("fresh"), all("mended"), all("staying")];
  return [
    fresh.length === 0 ? "The policy has no new findings." : `### New findings\n\n${findingTable(fresh)}`,
    ...(mended.length === 0 ? [] : [details(plural(mended.length, "fixed finding"), findingTable(mended))]),
    ...(staying.length === 0
      ? []
      : [details(plural(staying.length, "unchanged finding"), findingTable(staying))]),
  ];
}

function engineSections(previews: EnginePreviews): string[] {
  return [...previews].map(([stack, text]) =>
    details(
      `Preview of \`make up STACK=${stack}\``,
      fenced("", firstLines(text, ENGINE_LIMIT / previews.size)),
    ),
  );
}

const VERBS = { create: "new", update: "changed", delete: "removed" } as const;

function diffSections(environments: readonly EnvironmentChange[]): string[] {
  return environments.flatMap(({ stack, changes }) =>
    changes.map(({ operation, file, diff }) =>
      details(`${stack}: ${VERBS[operation]} <code>${file}</code>`, fenced("diff", diff)),
    ),
  );
}

/** Returns the sections that fit, and a note that counts the omitted ones. */
function fitting(sections: readonly string[], room: number): string[] {
  let left = room;
  const kept = sections.filter(({ length }) => {
    const fits = length + SEPARATOR.length <= left;
    if (fits) left -= length + SEPARATOR.length;
    return fits;
  });
  const missing = sections.length - kept.length;
  if (missing === 0) return kept;
  return [
    ...kept,
    `${plural(missing, "part")} did not fit into this comment: \`make ci-preview JSON=1\` shows all.`,
  ];
}

/**
 * Returns the changes of a pull request as Markdown that fits into one GitHub comment. Counts and
 * findings come first, then as many diffs as fit. A note counts the omitted parts.
 */
export function ciComment(preview: CiPreview, previews: EnginePreviews): string {
  const { base, environments } = preview;
  const diffs = diffSections(environments);
  const head = [
    MARKER,
    "## Changes",
    `Rendered without a cluster, compared with ${base.slice(0, 12)}.`,
    summary(environments),
  ];
  const sections = [
    ...findingSections(preview),
    ...engineSections(previews),
    diffs.length === 0 ? "No object changes." : "### Objects",
    ...diffs,
  ];
  const room = COMMENT_LIMIT - head.join(SEPARATOR).length - RESERVE;
  return [...head, ...fitting(sections, room)].join(SEPARATOR);
}
