import { setTimeout as sleep } from "node:timers/promises";
import type { DubboReference, Logger } from "dubbo-node";
import type { Greeter } from "../gen/greeter_pb.ts";

/** Name that the consumer greets. Source: the sample. */
const NAME = "service mesh";
/** Duration from which the time of a call is logged, ms. */
const SLOW_MS = 500;

/** Options of the caller. */
export interface CallerOptions {
  /** The provider's greeter. */
  readonly greeter: DubboReference<typeof Greeter>;
  /** Time between the starts of two calls, ms. */
  readonly interval: number;
  /** Logger of the calls. */
  readonly log: Logger;
  /** Ends the calls after the one in flight. */
  readonly signal: AbortSignal;
}

async function invoke({ greeter, log }: CallerOptions, call: number, start: number): Promise<void> {
  const took = (): number => Math.round(performance.now() - start);
  try {
    const { message } = await greeter.call.greet({ name: NAME });
    const duration = took();
    log.info(`consumer Unary reply <-message: ${JSON.stringify(message)}`);
    if (duration > SLOW_MS) log.warn(`dubbo invoke ${call} took ${duration} ms`);
    log.plain(`==================== dubbo invoke ${call} end ====================`);
  } catch (error) {
    log.error(`dubbo invoke ${call} failed after ${took()} ms: ${(error as Error).message}`);
  }
}

/**
 * Waits for the provider, then greets it until the signal aborts, one call at a time.
 * A call starts one interval after the previous one, or at once after a longer call.
 */
export async function callForever(options: CallerOptions): Promise<void> {
  const { greeter, interval, signal } = options;
  await greeter.waitUntilServing(signal);
  let due = performance.now();
  for (let call = 1; !signal.aborted; call += 1) {
    await invoke(options, call, performance.now());
    const now = performance.now();
    due = Math.max(due + interval, now);
    if (due > now) await sleep(due - now, undefined, { signal }).catch(() => undefined);
  }
}
