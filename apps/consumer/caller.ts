import { setTimeout as sleep } from "node:timers/promises";
import type { DubboReference, Logger } from "dubbo-node";
import type { Greeter } from "../gen/greeter_pb.ts";

/** Whom the consumer greets. Source: the seed. */
const NAME = "service mesh";
/** A call that takes longer has its time logged, ms. */
const SLOW_MS = 500;

/** How the consumer calls. */
export interface CallerOptions {
  /** The provider's greeter. */
  readonly greeter: DubboReference<typeof Greeter>;
  /** Time from one call's start to the next, ms. */
  readonly interval: number;
  /** Where the calls are logged. */
  readonly log: Logger;
  /** Ends the calls; the one in flight is finished. */
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
 * Waits for the provider, then greets it until the signal says stop, one call at a time. A call is due one interval after the one before
 * was, or at once if that took longer.
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
