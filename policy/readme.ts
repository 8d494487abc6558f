import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { format, resolveConfig } from "prettier";
import { RULES } from "./rules.ts";

const README = join(import.meta.dirname, "README.md");
const MARK = "<!-- Made from rules.ts by `npm run rules`. -->\n";

/** A cell of a table: Markdown takes `|` for its end. */
function cell(content: string): string {
  return content.replaceAll("|", "\\|");
}

/** The text of policy/README.md: what is written by hand, and a table of the rules. */
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
