import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import { type Command, type LivenessCheck, probe } from "./qos.ts";
import type { Readiness } from "./readiness.ts";

/** Version of this package; a test compares it with package.json. */
const VERSION = "0.1.0";

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
  /** Settings of the application. */
  readonly settings: Readonly<Record<string, unknown>>;
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
    summary: `takes all services, or those whose key matches, ${online ? "online" : "offline"}`,
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

/**
 * Returns the command `gracefulShutdown`, for a preStop hook: `/ready` becomes 503 and health
 * NOT_SERVING, and calls go on until the application ends.
 */
function gracefulShutdown({ readiness, log }: CommandContext): Command {
  return {
    level: "PRIVATE",
    summary: "makes the application not ready until it ends",
    run() {
      readiness.markDraining();
      log.info("no longer ready, by the command gracefulShutdown");
      return { body: "OK" };
    },
  };
}

/** Returns the command `help`: one line for each command, or for those that are named. */
function help(others: Readonly<Record<string, Command>>): Command {
  const summary = "lists the commands, or describes the one that is named";
  return {
    level: "PROTECTED",
    summary,
    run(names) {
      const all = Object.entries<Pick<Command, "summary">>({ ...others, help: { summary } });
      const wanted = all.filter(([name]) => names.length === 0 || names.includes(name));
      return { body: wanted.map(([name, command]) => `${name}: ${command.summary}\n`).join("") };
    },
  };
}

/**
 * Returns the commands of the QOS server, under Dubbo's names. Without a registry, an application
 * and an interface have one state: that of the service.
 */
export function commands(context: CommandContext): Readonly<Record<string, Command>> {
  const { readiness, metrics, livenessChecks, settings } = context;
  const [online, offline] = [setOnline(context, true), setOnline(context, false)];
  const all = {
    live: probe("true unless a check of the application fails", ...livenessChecks),
    ready: probe("true while the application takes calls", () => readiness.ready),
    startup: probe("true once all services are exported", () => readiness.exported),
    ls: {
      level: "PROTECTED",
      summary: "lists provided and consumed services",
      run: () => ({ body: list(context) }),
    },
    online,
    onlineApp: online,
    onlineInterface: online,
    offline,
    offlineApp: offline,
    offlineInterface: offline,
    gracefulShutdown: gracefulShutdown(context),
    metrics: {
      level: "PROTECTED",
      summary: "prints the metrics for Prometheus",
      run: async () => ({ body: await metrics.text(), type: metrics.contentType }),
    },
    getConfig: {
      level: "PRIVATE",
      summary: "prints the settings as JSON",
      run: () => ({ body: `${JSON.stringify(settings, undefined, 2)}\n`, type: "application/json" }),
    },
    version: {
      level: "PROTECTED",
      summary: "prints the versions of this package and of Node.js",
      run: () => ({ body: `dubbo-node version "${VERSION}", Node.js ${process.version}\n` }),
    },
  } as const satisfies Readonly<Record<string, Command>>;
  return { ...all, help: help(all) };
}
