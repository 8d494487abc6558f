import { createInterface } from "node:readline/promises";
import { UserError } from "../common/errors.ts";
import type { Settings } from "../settings/settings.ts";
import type { Warning } from "./engine/warnings.ts";
import { warningsText } from "./report.ts";
import type { StackFile } from "../stack/stack-file.ts";

/** Asks for a stack's name on a terminal. Returns undefined without a terminal. */
async function typedName(question: string): Promise<string | undefined> {
  if (!process.stdin.isTTY) return undefined;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}

/** A stack to remove. */
interface Removed {
  readonly stack: string;
  readonly settings: Pick<Settings, "production">;
}

/**
 * Requires the stack name before a production stack is removed.
 * @param confirmed name from the command line
 * @throws UserError if the name is missing or wrong
 */
export async function confirmRemoval(
  { stack, settings }: Removed,
  confirmed: string | undefined,
): Promise<void> {
  if (!settings.production) return;
  const question = `${stack} is production. Type its name to remove it: `;
  if ((confirmed ?? (await typedName(question))) === stack) return;
  throw new UserError(
    `${stack} is production: its removal needs confirmation`,
    `Run \`make down STACK=${stack} CONFIRM=${stack}\` to confirm.`,
  );
}

/**
 * Requires the stack name for changes that callers would notice.
 * @param warnings effects on callers; without any, no name is required
 * @param confirmed name from the command line
 * @throws UserError that lists the warnings, if the name is missing or wrong
 */
export async function confirmWarnings(
  { stack }: Pick<StackFile, "stack">,
  warnings: readonly Warning[],
  confirmed: string | undefined,
): Promise<void> {
  if (warnings.length === 0 || confirmed === stack) return;
  const text = warningsText(warnings);
  const question = `Callers would notice this:\n${text}\nType the stack's name, ${stack}, to continue: `;
  if (confirmed === undefined && (await typedName(question)) === stack) return;
  throw new UserError(
    `nothing was changed, because callers would notice:\n${text}`,
    `Run \`make up STACK=${stack} CONFIRM=${stack}\` to confirm.`,
  );
}
