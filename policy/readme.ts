import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { format, resolveConfig } from "prettier";
import { RULES } from "./rules.ts";

const README = join(import.meta.dirname, "README.md");
const MARK = "<!-- Made from rules.ts by `npm run rules`. -->\n";

/** Escapes `|`, which ends a cell of a Markdown table. */
function cell(content: string): string {
  return content.replaceAll("|", "\\|");
}

/** Returns the text of policy/README.md: the part written by hand, and a table of the rules. */
export async function readmeText(): Promise<string> {
  const [written = ""] = readFileSync(README, "utf8").split(MARK);
  const rows = RULES.map(({ id, severity, text, fix, source }) =>
    [`\`${id}\``, severity, text, fix, source].map(cell).join(" | "),
  );
  const table = ["rule | severity | what must hold | what to do | source", "- | - | - | - | -", ...rows];
  const lines = table.map((row) => `| ${row} |`).join("\n");
  return format(`${written}${MARK}\n${lines}\n`, { ...(await resolveConfig(README)), filepath: README });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  writeFileSync(README, await readmeText());
}
