import { logVerbosity, setLogVerbosity } from "@grpc/grpc-js";
import { type Logger, logger } from "./logger.ts";
import { SettingsError } from "./settings.ts";

/**
 * Runs an application's main function. A wrong setting ends the process with one line on standard error, anything else that is
 * thrown with its stack; the exit code is 1 in both cases.
 */
export async function run(main: () => Promise<void>): Promise<void> {
  // What grpc-js writes by itself arrives here as an error too.
  setLogVerbosity(logVerbosity.NONE);
  try {
    await main();
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    logger("run", (line) => process.stderr.write(line)).error(error.message);
    process.exit(1);
  }
}

/** On SIGTERM or SIGINT drains and exits with code 0; a second signal exits at once with code 1. */
export function drainOnSignals(drain: () => Promise<void>, log: Logger): void {
  let draining = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    log.info(`received ${signal}`);
    if (draining) process.exit(1);
    draining = true;
    void drain().then(() => process.exit(0));
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
}
