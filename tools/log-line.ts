import { z } from "zod";

const jsonLine = z.object({ message: z.string() });

/**
 * Returns the message of a log line. With `dubbo.application.log-format=json`, the line is a JSON
 * object with that field. Otherwise the message is the whole line.
 */
export function logMessage(line: string): string {
  try {
    const parsed = jsonLine.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data.message : line;
  } catch {
    return line;
  }
}

/** Returns the messages of an application's log. */
export function logMessages(log: string): string[] {
  return log.split("\n").map(logMessage);
}
