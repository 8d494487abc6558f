/** The text of a Pulumi command that failed. */

const DIAGNOSTICS = /^Diagnostics:\n(?<text>.*?)\n*^(?:Outputs|Policies|Resources|Duration):/ms;

/** Returns the diagnostics in the output of Pulumi's engine, or undefined if it printed none. */
export function reportedDiagnostics(output: string): string | undefined {
  return DIAGNOSTICS.exec(output)?.groups?.["text"];
}

/**
 * Returns the engine's diagnostics. If there are none, it returns the error lines without
 * duplicates.
 * @param message message of the Automation API's CommandError
 */
export function diagnostics(message: string): string {
  const reported = reportedDiagnostics(message);
  if (reported !== undefined) return `\n${reported}`;
  // The Automation API repeats the command's output after `err?`.
  const [output = ""] = message.split("\n err?: ");
  const lines = output.split("\n").map((line) => line.replace(/^ ?(stdout|stderr): /, ""));
  const errors = lines.filter((line) => /error|denied|refused/i.test(line));
  return (errors.length === 0 ? message : [...new Set(errors)].join("\n")).trim();
}
