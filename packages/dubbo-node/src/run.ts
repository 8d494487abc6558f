import type * as z from "zod";
import type { DubboApplication } from "./application.ts";
import { SettingsError } from "./error.ts";
import { type Logger, type LogFormat, logger } from "./logger.ts";
import { readSettings } from "./settings.ts";

/** Argument of a main function. */
export interface MainArguments<S> {
  /** Settings of the application. */
  readonly settings: S;
  /** Returns a logger in the format of the settings. */
  readonly log: (name: string) => Logger;
}

/** Result of a main function. */
export interface MainResult {
  /** The application, not yet started. */
  readonly application: DubboApplication;
  /** Logger for the start and the end. */
  readonly log: Logger;
  /** Text that is logged once all services are exported. */
  readonly started: string;
  /**
   * Background work that runs until the signal aborts and then finishes open tasks (default: none).
   */
  readonly work?: (signal: AbortSignal) => Promise<void>;
}

/** Drains on SIGTERM or SIGINT and exits with code 0. A second signal exits at once with code 1. */
function drainOnSignals(drain: () => Promise<void>, log: Logger): void {
  let draining = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    log.info(`received ${signal}`);
    if (draining) process.exit(1);
    draining = true;
    void drain().then(() => process.exit(0));
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
}

async function serve({ application, log, started, work }: MainResult): Promise<void> {
  const stop = new AbortController();
  let working = Promise.resolve();
  drainOnSignals(() => {
    stop.abort();
    return application.drain(working);
  }, log);
  await application.start();
  log.info(started);
  working = work?.(stop.signal) ?? working;
  await working;
}

/**
 * Runs an application: reads its settings, makes it, starts it, and drains it on SIGTERM or SIGINT.
 * A wrong setting prints one line on standard error. Any other error prints its stack. The exit
 * code is 1 in both cases.
 * @param schema settings of the application, for example from `applicationSettings`
 * @param main makes the application from its settings
 */
export async function run<S extends z.ZodObject>(
  schema: S,
  main: (start: MainArguments<z.infer<S>>) => MainResult,
): Promise<void> {
  // Keep running when the reader of the log exits.
  process.stdout.on("error", () => undefined);
  try {
    const { settings, unknown } = readSettings(schema, process.env);
    const format = (settings as { "dubbo.application.log-format"?: LogFormat })[
      "dubbo.application.log-format"
    ];
    const result = main({ settings, log: (name) => logger(name, format) });
    for (const name of unknown)
      result.log.warn(`${name} is not a setting of this application and has no effect`);
    await serve(result);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    logger("run", "text", (line) => process.stderr.write(line)).error(error.message);
    process.exit(1);
  }
}
