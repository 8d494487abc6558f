import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import { type Command, type LivenessCheck, probe } from "./qos.ts";
import type { Readiness } from "./readiness.ts";

/** Objects that the commands read and change. */
export interface CommandContext {
  /** Keys of the exported services. */
  readonly provided: () => readonly string[];
  /** Keys of the services that the application calls. */
  readonly consumed: () => readonly string[];
  readonly readiness: Readiness;
  readonly metrics: Metrics;
  /** Checks behind the command `live`. */
  readonly livenessChecks: readonly LivenessCheck[];
  readonly log: Logger;
}

function centred(text: string, width: number): string {
  const space = width - text.length;
  return " ".repeat(Math.ceil(space / 2)) + text + " ".repeat(Math.floor(space / 2));
}

/** Returns a table in Dubbo's layout: each cell is centred in its column. */
function table(rows: readonly (readonly [string, string])[]): string {
  const width = (column: 0 | 1): number => Math.max(...rows.map((row) => row[column].length));
  const widths = [width(0), width(1)] as const;
  const rule = `+${"-".repeat(widths[0])}+${"-".repeat(widths[1])}+\n`;
  const lines = rows.map(([left, right]) => `|${centred(left, widths[0])}|${centred(right, widths[1])}|\n`);
  return rule + lines.join(rule) + rule;
}

function list({ provided, consumed, readiness }: CommandContext): string {
  const state = (key: string): string => `mesh-I(${readiness.isOnline(key) ? "Y" : "N"})`;
  const providers = [...provided()].sort().map((key) => [key, state(key)] as const);
  const consumers = [...consumed()].sort().map((key) => [key, "1"] as const);
  return (
    `As Provider side:\n${table([["Provider Service Name", "PUB"], ...providers])}` +
    `As Consumer side:\n${table([["Consumer Service Name", "NUM"], ...consumers])}`
  );
}

/**
 * Returns the command `online` or `offline`.
 * The first argument is a regular expression that must match the whole service key. Without an
 * argument the command applies to all services.
 */
function setOnline({ provided, readiness, log }: CommandContext, online: boolean): Command {
  return {
    level: "PROTECTED",
    run([pattern = ".*"]) {
      const wanted = new RegExp(`^(?:${pattern})$`);
      const keys = provided().filter((key) => wanted.test(key));
      if (keys.length === 0) return { body: "service not found" };
      readiness.setOnline(keys, online);
      log.info(`${keys.join(", ")}: ${online ? "online" : "offline"} by command`);
      return { body: "OK" };
    },
  };
}

/** Returns the commands of the QOS server, under Dubbo's names. */
export function commands(context: CommandContext): Readonly<Record<string, Command>> {
  const { readiness, metrics, livenessChecks } = context;
  return {
    live: probe(...livenessChecks),
    ready: probe(() => readiness.ready),
    startup: probe(() => readiness.exported),
    ls: { level: "PROTECTED", run: () => ({ body: list(context) }) },
    online: setOnline(context, true),
    offline: setOnline(context, false),
    metrics: {
      level: "PROTECTED",
      run: async () => ({ body: await metrics.text(), type: metrics.contentType }),
    },
  };
}
