import { logVerbosity, setLogVerbosity } from "@grpc/grpc-js";
import type * as z from "zod";
import type { DubboApplication } from "./application.ts";
import { SettingsError } from "./error.ts";
import { type Logger, type LogFormat, logger } from "./logger.ts";
import { readSettings } from "./settings.ts";
import { releaseClosedStreams } from "./streams.ts";

/** What an application's main function gets. */
export interface Start<S> {
  /** Its settings. */
  readonly settings: S;
  /** Makes a logger in the format that the settings ask for. */
  readonly log: (name: string) => Logger;
}

/** What a main function gives back. */
export interface Started {
  /** The application, not yet started. */
  readonly application: DubboApplication;
  /** Where starting and ending are logged. */
  readonly log: Logger;
  /** What is logged when every service is exported. */
  readonly started: string;
  /** What the application does by itself until the signal says stop; it finishes what it has begun (default: nothing). */
  readonly work?: (signal: AbortSignal) => Promise<void>;
}

/** On SIGTERM or SIGINT drains and exits with code 0; a second signal exits at once with code 1. */
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

async function serve({ application, log, started, work }: Started): Promise<void> {
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
 * Runs an application: reads its settings, makes it, starts it, and drains it on SIGTERM or SIGINT. A wrong setting ends the process with one
 * line on standard error, anything else that is thrown with its stack; the exit code is 1 in both cases.
 * @param schema the application's settings, for example from `applicationSettings`
 * @param main makes the application from its settings
 */
export async function run<S extends z.ZodObject>(
  schema: S,
  main: (start: Start<z.infer<S>>) => Started,
): Promise<void> {
  // What grpc-js writes by itself arrives here as an error too.
  setLogVerbosity(logVerbosity.NONE);
  // A service outlives the reader of its log.
  process.stdout.on("error", () => undefined);
  releaseClosedStreams();
  try {
    const { settings, unknown } = readSettings(schema, process.env);
    const format = (settings as { "dubbo.application.log-format"?: LogFormat })[
      "dubbo.application.log-format"
    ];
    const begun = main({ settings, log: (name) => logger(name, format) });
    for (const name of unknown)
      begun.log.warn(`${name} is not a setting of this application and has no effect`);
    await serve(begun);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    logger("run", "text", (line) => process.stderr.write(line)).error(error.message);
    process.exit(1);
  }
}
