/** Writes log lines in the format of the seed: `[15/07/22 11:37:50:050 UTC] main  INFO impl.GreeterImpl: message`. */
export interface Logger {
  /** What happens in normal running. */
  info(message: string): void;
  /** What somebody should look at. */
  warn(message: string): void;
  /** What failed. */
  error(message: string): void;
  /** A line without the prefix. */
  plain(line: string): void;
}

function digits(value: number, width = 2): string {
  return String(value).padStart(width, "0");
}

function timestamp(at: Date): string {
  const day = [at.getUTCDate(), at.getUTCMonth() + 1, at.getUTCFullYear() % 100].map((part) => digits(part));
  const time = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map((part) => digits(part));
  return `${day.join("/")} ${time.join(":")}:${digits(at.getUTCMilliseconds(), 3)} UTC`;
}

// What a peer sends may be part of a message: one event stays one line.
function oneLine(message: string): string {
  return message.replace(
    /\p{Cc}/gu,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * A logger.
 * @param name what stands for the class of a Java logger, such as `impl.GreeterImpl`
 * @param write takes one line with its line end (default: standard output)
 */
export function logger(
  name: string,
  write: (line: string) => unknown = (line) => process.stdout.write(line),
): Logger {
  const log =
    (level: string) =>
    (message: string): void => {
      write(`[${timestamp(new Date())}] main ${level} ${name}: ${oneLine(message)}\n`);
    };
  return {
    info: log(" INFO"),
    warn: log(" WARN"),
    error: log("ERROR"),
    plain(line) {
      write(`${oneLine(line)}\n`);
    },
  };
}
