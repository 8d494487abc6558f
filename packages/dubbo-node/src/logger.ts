/** Writes what an application has to say, one event a line. */
export interface Logger {
  /** What happens in normal running. */
  info(message: string): void;
  /** What somebody should look at. */
  warn(message: string): void;
  /** What failed. */
  error(message: string): void;
  /** A line that the seed prints bare, without time and level. */
  plain(line: string): void;
}

/** How log lines look: `text` as the seed's, `json` one object a line. */
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

// A busy service logs many lines a second.
let second = { at: -1, text: "" };

function timestamp(now: number): string {
  const at = Math.floor(now / 1000);
  if (at !== second.at) second = { at, text: secondOf(new Date(now)) };
  return `${second.text}:${digits(now % 1000, 3)} UTC`;
}

// What a peer sends may be part of a message: one event stays one line. The form of the escapes is JSON's.
function oneLine(message: string): string {
  return message.replace(
    /\p{Cc}/gu,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Longest message; a peer decides how long what it sends is. */
const MOST_CHARACTERS = 2000;
/** Most bytes that wait for a slow reader of standard output: after that lines are lost rather than memory. */
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
 * A logger.
 * @param name what stands for the class of a Java logger, such as `impl.GreeterImpl`
 * @param format how the lines look (default: the seed's form, `[15/07/22 11:37:50:050 UTC] main  INFO impl.GreeterImpl: message`)
 * @param write takes one line with its line end (default: standard output)
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
