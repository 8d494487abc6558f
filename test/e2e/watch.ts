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
/** Time that the last log lines may need to arrive, ms. */
const LOG_DELAY_MS = 500;

/** Change of an endpoint's state in a consumer's Envoy. */
export interface Change {
  /** Time since the start of the watch, seconds. */
  readonly at: number;
  /** Address of the endpoint. */
  readonly address: string;
  /**
   * `healthy`, `gone`, or flags of Envoy such as `failed_active_health_check` and
   * `failed_outlier_check`. An endpoint is gone if Kubernetes lists it as not ready or not at all.
   */
  readonly state: string;
}

/** Envoy counters of calls without an answer. */
const GIVEN_UP = [
  "upstream_rq_5xx",
  "upstream_rq_timeout",
  "upstream_rq_retry_limit_exceeded",
  "upstream_rq_retry_overflow",
  "upstream_rq_pending_overflow",
  "upstream_rq_maintenance_mode",
] as const;

/** Envoy counters that explain its actions. */
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

/** Results of the consumers' calls. */
export interface Seen {
  /** Duration of the watch, seconds. */
  readonly seconds: number;
  /** Number of answered calls, from the consumers' logs. */
  readonly answered: number;
  /** Log messages of the failed calls. */
  readonly failed: readonly string[];
  /** Times of the answered calls that took over 500 ms, ms. */
  readonly delayed: readonly number[];
  /** Number of calls in the logs' numbering that neither ended nor failed. */
  readonly unaccounted: number;
  /** Log messages of the wait for the provider before the first call. */
  readonly waits: readonly string[];
  /** Growth of the consumers' Envoy counters, without zeros. */
  readonly envoy: Partial<Counters>;
  /** Names of the watched consumers. */
  readonly consumers: readonly string[];
  /** Changes of the endpoints' states. */
  readonly changes: readonly Change[];
}

/** A watched consumer. */
interface Watched {
  readonly messages: string[];
  readonly following: AbortController;
  readonly before: ReadonlyMap<string, number>;
  /** True if the consumer appeared after the start of the watch. */
  readonly late: boolean;
}

function numbers(messages: readonly string[], pattern: RegExp): number[] {
  return messages.flatMap((message) => {
    const found = pattern.exec(message)?.[1];
    return found === undefined ? [] : [Number(found)];
  });
}

/** Returns a stream that passes on whole lines. */
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
  // The piped log ends with an error when the watch ends, and has no other listener.
  return stream.on("pipe", (log: Readable) => log.on("error", () => undefined));
}

/** Returns the sum of a counter over the provider's clusters. */
function total(stats: ReadonlyMap<string, number>, counter: Counter): number {
  const wanted = [...stats].filter(([name]) => name.includes(PROVIDER) && name.endsWith(`;.${counter}`));
  return wanted.reduce((sum, [, value]) => sum + value, 0);
}

/** Returns the growth of a counter. It restarts from zero when Envoy replaces a cluster. */
function growth(then: number, after: number): number {
  return after < then ? after : after - then;
}

/**
 * Watches the consumers of a stack: their calls in their logs, and the endpoints' states in their
 * Envoys.
 */
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

  /** Starts with the current consumers. Later consumers are watched from their start. */
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
      // A pod that is about to end does not answer. The next look no longer finds it.
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
    // The API cannot skip all earlier lines. The one earlier line belongs to a call that is not
    // counted.
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

  /** Returns the growth of the counters, for the consumers that still exist. */
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

/** Returns the Envoy counters of calls without an answer. */
export function givenUp({ envoy }: Seen): Partial<Counters> {
  return Object.fromEntries(
    GIVEN_UP.flatMap((name) => (envoy[name] === undefined ? [] : [[name, envoy[name]]])),
  );
}
