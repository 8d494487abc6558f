import { createInterface } from "node:readline/promises";
import { UserError } from "../common/errors.ts";
import type { Settings } from "../settings/settings.ts";
import type { Warning } from "./engine/warnings.ts";
import { warningsText } from "./report.ts";
import type { StackFile } from "../stack/stack-file.ts";

/** Asks for a stack's name on a terminal; undefined where there is none. */
async function typedName(question: string): Promise<string | undefined> {
  if (!process.stdin.isTTY) return undefined;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}

/** A stack, as far as it says who depends on it. */
interface Removed {
  readonly stack: string;
  readonly settings: Pick<Settings, "production">;
}

/**
 * Sees to it that a stack that says of itself that it is production is removed only by somebody who has typed its name.
 * @param confirmed the name as it was given on the command line
 * @throws UserError where the name was not typed
 */
export async function confirmRemoval(
  { stack, settings }: Removed,
  confirmed: string | undefined,
): Promise<void> {
  if (!settings.production) return;
  const question = `${stack} is production. Type its name to remove it: `;
  if ((confirmed ?? (await typedName(question))) === stack) return;
  throw new UserError(
    `${stack} is production: it is removed only with its name typed`,
    `Run \`make down STACK=${stack} CONFIRM=${stack}\` if you mean it.`,
  );
}

/**
 * Sees to it that what those who call would feel is done only by somebody who has typed the stack's name.
 * @param warnings what they would feel; nothing is asked where there is none
 * @param confirmed the name as it was given on the command line
 * @throws UserError that names what would be removed or replaced, where the name was not typed
 */
export async function confirmWarnings(
  { stack }: Pick<StackFile, "stack">,
  warnings: readonly Warning[],
  confirmed: string | undefined,
): Promise<void> {
  if (warnings.length === 0 || confirmed === stack) return;
  const text = warningsText(warnings);
  const question = `Calls would feel this:\n${text}\nType the stack's name, ${stack}, to do it: `;
  if (confirmed === undefined && (await typedName(question)) === stack) return;
  throw new UserError(
    `nothing is changed, since calls would feel it:\n${text}`,
    `Run \`make up STACK=${stack} CONFIRM=${stack}\` if you mean it.`,
  );
}
