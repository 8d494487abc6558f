/**
 * An error that the user can fix. It names the problem and the remedy. Any other error is a bug in
 * this program and keeps its stack trace.
 */
export class UserError extends Error {
  /** The remedy, as one sentence in the imperative. */
  readonly fix: string;

  constructor(message: string, fix: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "UserError";
    this.fix = fix;
  }
}

/**
 * Returns the text of any thrown value. A failed fetch has it in the cause, a series of tries in
 * the last error.
 */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === "") return messageOf(error.errors.at(-1));
  const failedFetch = error instanceof TypeError && error.message === "fetch failed";
  return failedFetch && error.cause !== undefined ? messageOf(error.cause) : error.message;
}

/**
 * Returns the text that a failed execa command printed to standard error. For other errors, it
 * returns the message.
 */
export function reasonOf(error: unknown): string {
  const printed = error instanceof Error && "stderr" in error ? error.stderr : undefined;
  return typeof printed === "string" && printed.trim() !== "" ? printed.trim() : messageOf(error);
}

/**
 * Prints an error for a terminal, or as one JSON object on standard output. Returns the exit code
 * 1.
 */
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
