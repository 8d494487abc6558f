import { type Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { Log } from "@kubernetes/client-node";
import { APPLICATION_CONTAINER } from "../../settings/names.ts";
import { logMessage } from "../../tools/log-line.ts";
import { kubeConfig } from "../../tools/mesh.ts";
import { parseStats } from "../../tools/verify/envoy.ts";
import { askProxy } from "../../tools/verify/proxy.ts";
import { CONSUMER, nameOf, now, PROVIDER, type Scene } from "./scene.ts";

const POLL_MS = 400;
/** Time that the last lines of a log may take to arrive, ms. */
const LOG_DELAY_MS = 500;

/** An endpoint's state has changed, by the account of a consumer's Envoy. */
export interface Change {
  /** Seconds since the watch began. */
  readonly at: number;
  /** Address of the endpoint. */
  readonly address: string;
  /** `healthy`, `gone` (Kubernetes has it not ready or not at all), or Envoy's flags: `failed_active_health_check`, `failed_outlier_check`, ... */
  readonly state: string;
}

/** Counters of the consumers' Envoys that say that a call was not answered. */
const GIVEN_UP = [
  "upstream_rq_5xx",
  "upstream_rq_timeout",
  "upstream_rq_retry_limit_exceeded",
  "upstream_rq_retry_overflow",
  "upstream_rq_pending_overflow",
  "upstream_rq_maintenance_mode",
] as const;

/** Counters that tell what Envoy did. */
const TOLD = [
  "upstream_rq_total",
  "upstream_rq_retry",
  "upstream_rq_retry_success",
  "upstream_rq_per_try_timeout",
  "upstream_rq_rx_reset",
  "health_check.failure",
  "outlier_detection.ejections_enforced_total",
] as const;

type Counter = (typeof GIVEN_UP)[number] | (typeof TOLD)[number];
type Counters = Readonly<Record<Counter, number>>;

/** What became of the consumers' calls. */
export interface Seen {
  /** How long was watched. */
  readonly seconds: number;
  /** Calls that were answered, by the consumers' logs. */
  readonly answered: number;
  /** What the consumers logged of the calls that failed. */
  readonly failed: readonly string[];
  /** Times of the answered calls that took over 500 ms, in ms. */
  readonly delayed: readonly number[];
  /** Calls that are neither: the logs number them. */
  readonly unaccounted: number;
  /** Looks at the provider's health before the first call. */
  readonly waits: readonly string[];
  /** Growth of the counters of the consumers' Envoys, those that are zero left out. */
  readonly envoy: Partial<Counters>;
  /** Consumers that were seen. */
  readonly consumers: readonly string[];
  /** How the endpoints' states changed. */
  readonly changes: readonly Change[];
}

/** A consumer that is watched. */
interface Watched {
  readonly messages: string[];
  readonly following: AbortController;
  readonly before: ReadonlyMap<string, number>;
  /** Whether it came after the watch had begun. */
  readonly late: boolean;
}

function numbers(messages: readonly string[], pattern: RegExp): number[] {
  return messages.flatMap((message) => {
    const found = pattern.exec(message)?.[1];
    return found === undefined ? [] : [Number(found)];
  });
}

/** A stream that hands over lines. */
function lines(take: (line: string) => void): Writable {
  let rest = "";
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      const parts = (rest + chunk.toString("utf8")).split("\n");
      rest = parts.pop() ?? "";
      parts.forEach(take);
      done();
    },
  });
  // The log that is piped into it ends with an error when the watch ends, and is listened to by nobody else.
  return stream.on("pipe", (log: Readable) => log.on("error", () => undefined));
}

/** Sum of a counter over the provider's clusters. */
function total(stats: ReadonlyMap<string, number>, counter: Counter): number {
  const wanted = [...stats].filter(([name]) => name.includes(PROVIDER) && name.endsWith(`;.${counter}`));
  return wanted.reduce((sum, [, value]) => sum + value, 0);
}

/** How much a counter grew; it starts from zero again where Envoy replaces a cluster. */
function growth(then: number, after: number): number {
  return after < then ? after : after - then;
}

/** Watches the consumers of a stack: their calls, by their logs as they are written, and the endpoints' states in their Envoys. */
export class Watch {
  readonly #scene: Scene;
  readonly #start = now();
  readonly #watched = new Map<string, Watched>();
  readonly #states = new Map<string, string>();
  readonly #changes: Change[] = [];
  #over = false;
  #polling: Promise<void> = Promise.resolve();

  private constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** Begins with the consumers that there are; those that come later are watched from their start. */
  static async begin(scene: Scene): Promise<Watch> {
    const watch = new Watch(scene);
    await watch.#look(true);
    watch.#changes.length = 0;
    watch.#polling = watch.#poll();
    return watch;
  }

  get #seconds(): number {
    return now() - this.#start;
  }

  async end(): Promise<Seen> {
    const seconds = this.#seconds;
    this.#over = true;
    await this.#polling;
    await sleep(LOG_DELAY_MS);
    const envoy = await this.#counters();
    for (const { following } of this.#watched.values()) following.abort();
    const all = [...this.#watched.values()].map(({ messages, late }) => messages.slice(late ? 0 : 1));
    const messages = all.flat();
    const answered = numbers(messages, /dubbo invoke (\d+) end/).length;
    const failed = messages.filter((message) => /dubbo invoke \d+ failed/.test(message));
    const begun = all.map((one) => numbers(one, /dubbo invoke (\d+) (?:end|failed)/));
    const numbered = begun.reduce(
      (sum, of) => sum + (of.length === 0 ? 0 : Math.max(...of) - Math.min(...of) + 1),
      0,
    );
    return {
      seconds: Math.round(seconds * 10) / 10,
      answered,
      failed,
      delayed: numbers(messages, /dubbo invoke \d+ took (\d+) ms/),
      unaccounted: numbered - answered - failed.length,
      waits: messages.filter((message) => message.includes("waits for ")),
      envoy,
      consumers: [...this.#watched.keys()],
      changes: this.#changes,
    };
  }

  async #poll(): Promise<void> {
    while (!this.#over) {
      // A pod that is about to end does not answer: the next look will not find it.
      await this.#look(false).catch(() => undefined);
      await sleep(POLL_MS);
    }
  }

  async #look(first: boolean): Promise<void> {
    const consumers = (await this.#scene.mesh.pods(CONSUMER)).map(nameOf);
    for (const consumer of consumers) {
      if (!this.#watched.has(consumer)) await this.#follow(consumer, first);
    }
    const latest = consumers.at(-1);
    if (latest !== undefined) this.#note(await this.#scene.clusters(latest));
  }

  async #follow(consumer: string, first: boolean): Promise<void> {
    const { settings, mesh } = this.#scene;
    const before = first ? parseStats(await askProxy(mesh, consumer, "stats")) : new Map<string, number>();
    const messages: string[] = [];
    const sink = lines((line) => messages.push(logMessage(line)));
    // No tail at all cannot be asked for: the line that was there before is the end of a call that is not counted.
    const options = { follow: true, ...(first && { tailLines: 1 }) };
    const log = new Log(kubeConfig(settings));
    const following = await log.log(settings.namespace, consumer, APPLICATION_CONTAINER, sink, options);
    this.#watched.set(consumer, { messages, following, before, late: !first });
  }

  #note(clusters: Awaited<ReturnType<Scene["clusters"]>>): void {
    const hosts = clusters.flatMap((cluster) => cluster.hosts);
    const states = new Map(hosts.map(({ address, problems }) => [address, problems.join(" ") || "healthy"]));
    const at = Math.round(this.#seconds * 10) / 10;
    for (const address of new Set([...this.#states.keys(), ...states.keys()])) {
      const state = states.get(address) ?? "gone";
      if (this.#states.get(address) !== state) this.#changes.push({ at, address, state });
      this.#states.set(address, state);
    }
  }

  /** Growth of the counters of those consumers that are still there. */
  async #counters(): Promise<Partial<Counters>> {
    const { mesh } = this.#scene;
    const alive = (await mesh.pods(CONSUMER)).map(nameOf).filter((name) => this.#watched.has(name));
    const sums = new Map<Counter, number>();
    for (const consumer of alive) {
      const after = parseStats(await askProxy(mesh, consumer, "stats"));
      const before = this.#watched.get(consumer)?.before ?? after;
      for (const counter of [...GIVEN_UP, ...TOLD]) {
        const grown = growth(total(before, counter), total(after, counter));
        sums.set(counter, (sums.get(counter) ?? 0) + grown);
      }
    }
    return Object.fromEntries([...sums].filter(([, value]) => value > 0));
  }
}

/** What Envoy counted of calls that were not answered. */
export function givenUp({ envoy }: Seen): Partial<Counters> {
  return Object.fromEntries(
    GIVEN_UP.flatMap((name) => (envoy[name] === undefined ? [] : [[name, envoy[name]]])),
  );
}
