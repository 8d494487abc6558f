import { z } from "zod";

const jsonLine = z.object({ message: z.string() });

/**
 * The message of a line of an application's log: the field of a JSON object, which `dubbo.application.log-format=json` makes a line, else
 * the line itself.
 */
export function logMessage(line: string): string {
  try {
    const parsed = jsonLine.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data.message : line;
  } catch {
    return line;
  }
}

/** The messages of an application's log. */
export function logMessages(log: string): string[] {
  return log.split("\n").map(logMessage);
}
