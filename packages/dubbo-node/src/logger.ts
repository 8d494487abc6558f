/** Writes the log of an application, one line per event. */
export interface Logger {
  /** Logs an event of normal operation. */
  info(message: string): void;
  /** Logs an event that needs attention. */
  warn(message: string): void;
  /** Logs a failure. */
  error(message: string): void;
  /** Logs a line without time and level, as the sample does for some lines. */
  plain(line: string): void;
}

/** Format of log lines: `text` in the form of the sample, or `json` with one object per line. */
export type LogFormat = "text" | "json";

type Level = "INFO" | "WARN" | "ERROR";

function digits(value: number, width = 2): string {
  return String(value).padStart(width, "0");
}

function secondOf(at: Date): string {
  const day = [at.getUTCDate(), at.getUTCMonth() + 1, at.getUTCFullYear() % 100].map((part) => digits(part));
  const time = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map((part) => digits(part));
  return `${day.join("/")} ${time.join(":")}`;
}

// Cached text of the current second: a busy service logs many lines per second.
let second = { at: -1, text: "" };

function timestamp(now: number): string {
  const at = Math.floor(now / 1000);
  if (at !== second.at) second = { at, text: secondOf(new Date(now)) };
  return `${second.text}:${digits(now % 1000, 3)} UTC`;
}

// Escapes control characters as JSON does. A message may contain text from a peer, and one event
// must stay one line.
function oneLine(message: string): string {
  return message.replace(
    /\p{Cc}/gu,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Most characters of a message. A peer controls the length of the text that it sends. */
const MOST_CHARACTERS = 2000;
/**
 * Most bytes that wait for a slow reader of standard output. Beyond that, lines are dropped to save
 * memory.
 */
const MOST_WAITING = 1_000_000;

function cut(message: string): string {
  if (message.length <= MOST_CHARACTERS) return message;
  return `${message.slice(0, MOST_CHARACTERS)}... (${message.length} characters)`;
}

function toStandardOutput(line: string): void {
  if (process.stdout.writableLength < MOST_WAITING) process.stdout.write(line);
}

function textLine(level: Level, name: string, message: string): string {
  return `[${timestamp(Date.now())}] main ${level.padStart(5)} ${name}: ${oneLine(message)}\n`;
}

function jsonLine(level: Level, name: string, message: string): string {
  return `${oneLine(JSON.stringify({ time: new Date().toISOString(), level, logger: name, message }))}\n`;
}

/**
 * Returns a logger.
 * @param name stands for the class of a Java logger, such as `impl.GreeterImpl`
 * @param format format of the lines (default: that of the sample, `[15/07/22 11:37:50:050 UTC] main
 *   INFO impl.GreeterImpl: message`)
 * @param write writes one line that ends with a newline (default: to standard output)
 */
export function logger(
  name: string,
  format: LogFormat = "text",
  write: (line: string) => unknown = toStandardOutput,
): Logger {
  const line = format === "json" ? jsonLine : textLine;
  const log =
    (level: Level) =>
    (message: string): void => {
      write(line(level, name, cut(message)));
    };
  return {
    info: log("INFO"),
    warn: log("WARN"),
    error: log("ERROR"),
    plain(text) {
      write(format === "json" ? jsonLine("INFO", name, cut(text)) : `${oneLine(cut(text))}\n`);
    },
  };
}
