import { setTimeout as sleep } from "node:timers/promises";
import { GreeterClient } from "./greeter.ts";
import { ServerProcess } from "./process.ts";
import { freePorts, ours, type Ports, untilGreeted } from "./providers.ts";

/** Calls started per second. */
const RATE = 200;
/** Time between two checks for due calls, ms. */
const TICK_MS = 5;

/** Names of the provider that gets SIGTERM and of the one that stays. */
export const LEAVING = "leaving";
export const STAYING = "staying";

/** Results of the calls. */
export interface Tally {
  begun: number;
  /** Number of answered calls by the application name of the provider. */
  readonly answered: Record<string, number>;
  /** Error messages of the failed calls. */
  readonly failures: string[];
}

/** Two providers of this project. */
export interface Pair {
  readonly ports: readonly [Ports, Ports];
  readonly leaving: ServerProcess;
  readonly staying: ServerProcess;
}

/**
 * Starts both providers. The leaving one answers NOT_SERVING for the shutdown wait before it
 * closes.
 */
export async function startPair(shutdownWaitMs: number, node = process.execPath): Promise<Pair> {
  const ports = [await freePorts(), await freePorts()] as const;
  const start = (name: string, of: Ports): ServerProcess => {
    const env = { DUBBO_APPLICATION_NAME: name, DUBBO_SERVICE_SHUTDOWN_WAIT: String(shutdownWaitMs) };
    return new ServerProcess({ ...ours(of, env), file: node }, "none");
  };
  const pair = { ports, leaving: start(LEAVING, ports[0]), staying: start(STAYING, ports[1]) };
  await untilGreeted(ports[0].port, pair.leaving);
  await untilGreeted(ports[1].port, pair.staying);
  return pair;
}

/** Ends both providers. */
export async function stopPair({ leaving, staying }: Pair): Promise<void> {
  await Promise.all([leaving.kill(), staying.kill()]);
}

/** Returns the application name of the provider that wrote a greeting. */
function answererOf(message: string): string {
  return /, local: ([^,]*),/.exec(message)?.[1] ?? "nobody";
}

/** Starts {@link RATE} calls per second until it is stopped. It does not retry calls. */
export class Calls {
  readonly tally: Tally = { begun: 0, answered: {}, failures: [] };
  readonly #greet: (name: string) => Promise<string>;
  readonly #pending = new Set<Promise<void>>();
  readonly #begun = performance.now();
  readonly #timer: NodeJS.Timeout;

  /** @param greet greets once, with a new name each time */
  constructor(greet: (name: string) => Promise<string>) {
    this.#greet = greet;
    this.#timer = setInterval(() => {
      this.#beginDue();
    }, TICK_MS);
  }

  /** Starts no more calls, and waits for the calls in flight. */
  async stop(): Promise<Tally> {
    clearInterval(this.#timer);
    await Promise.all(this.#pending);
    return this.tally;
  }

  #beginDue(): void {
    const due = Math.floor(((performance.now() - this.#begun) / 1000) * RATE);
    while (this.tally.begun < due) {
      this.tally.begun += 1;
      const call: Promise<void> = this.#call(`call ${this.tally.begun}`).finally(() =>
        this.#pending.delete(call),
      );
      this.#pending.add(call);
    }
  }

  async #call(name: string): Promise<void> {
    const { answered, failures } = this.tally;
    try {
      const answerer = answererOf(await this.#greet(name));
      answered[answerer] = (answered[answerer] ?? 0) + 1;
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
}

/**
 * Picks providers in turns and skips those that are not SERVING, like Envoy with its active check.
 */
export class HealthPicker {
  readonly #clients: readonly GreeterClient[];
  #healthy: readonly GreeterClient[];
  #next = 0;
  #stopped = false;
  readonly #checking: Promise<void>;

  /**
   * @param ports ports of the providers
   * @param intervalMs time between two checks, ms
   */
  constructor(ports: readonly number[], intervalMs: number) {
    this.#clients = ports.map((port) => new GreeterClient(port));
    this.#healthy = this.#clients;
    this.#checking = this.#check(intervalMs);
  }

  /** Number of healthy providers. */
  get healthy(): number {
    return this.#healthy.length;
  }

  greet(name: string): Promise<string> {
    const client = this.#healthy[this.#next % this.#healthy.length];
    this.#next += 1;
    return client === undefined ? Promise.reject(new Error("no provider is SERVING")) : client.greet(name);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#checking;
    for (const client of this.#clients) client.close();
  }

  async #check(intervalMs: number): Promise<void> {
    while (!this.#stopped) {
      const serving = await Promise.all(this.#clients.map((client) => client.isServing().catch(() => false)));
      this.#healthy = this.#clients.filter((_, index) => serving[index]);
      await sleep(intervalMs);
    }
  }
}

/** Result of a drill. */
export interface Drill {
  readonly tally: Tally;
  /** Exit code of the provider that got SIGTERM, and the time until its end, ms. */
  readonly exit: { readonly code: number | null; readonly ms: number };
  /** Calls that the leaving provider answered after SIGTERM. */
  readonly answeredWhileLeaving: number;
}

/** Calls for a while, sends SIGTERM to one provider, and calls for a while after its end. */
export async function drill(
  pair: Pair,
  greet: (name: string) => Promise<string>,
  aroundMs: number,
): Promise<Drill> {
  const calls = new Calls(greet);
  await sleep(aroundMs);
  const before = calls.tally.answered[LEAVING] ?? 0;
  const start = performance.now();
  pair.leaving.signal("SIGTERM");
  const code = await pair.leaving.exit;
  const ms = performance.now() - start;
  await sleep(aroundMs);
  const tally = await calls.stop();
  return { tally, exit: { code, ms }, answeredWhileLeaving: (tally.answered[LEAVING] ?? 0) - before };
}
