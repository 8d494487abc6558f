/**
 * An error that the user can mend: it names what is wrong and what to do about it.
 * Anything else that is thrown is a fault of this program and keeps its stack.
 */
export class UserError extends Error {
  /** What to do, as one sentence in the imperative. */
  readonly fix: string;

  constructor(message: string, fix: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "UserError";
    this.fix = fix;
  }
}

/** Text of whatever was thrown. Of a failed fetch the cause has it, of several tries the last. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === "") return messageOf(error.errors.at(-1));
  const failedFetch = error instanceof TypeError && error.message === "fetch failed";
  return failedFetch && error.cause !== undefined ? messageOf(error.cause) : error.message;
}

/** Text that a failed command of execa printed to standard error; of another error, its message. */
export function reasonOf(error: unknown): string {
  const printed = error instanceof Error && "stderr" in error ? error.stderr : undefined;
  return typeof printed === "string" && printed.trim() !== "" ? printed.trim() : messageOf(error);
}

/** Prints an error for a terminal, or as one JSON object on standard output, and returns the exit code 1. */
export function reportError(error: unknown, json: boolean): 1 {
  const fix = error instanceof UserError ? error.fix : undefined;
  if (json) {
    process.stdout.write(`${JSON.stringify({ error: messageOf(error), ...(fix && { fix }) })}\n`);
  } else if (fix !== undefined) {
    process.stderr.write(`error: ${messageOf(error)}\n  fix: ${fix}\n`);
  } else {
    process.stderr.write(
      `error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
  }
  return 1;
}
