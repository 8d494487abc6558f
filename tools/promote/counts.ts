import { z } from "zod";
import type { Service } from "../../settings/graph.ts";
import { growth } from "../verify/clusters.ts";
import { type EnvoyHost, parseClusters } from "../verify/envoy.ts";
import { clusterName } from "../verify/expected.ts";
import { askProxy, type MeshReader } from "../verify/proxy.ts";
import { CLUSTERS, podsOf, whileAlive } from "../verify/sample.ts";

/** Calls of a histogram whose times lie between `from` and `from + width`, ms. */
export interface Bin {
  readonly from: number;
  readonly width: number;
  readonly calls: number;
}

/** Counters of one caller's Envoy for one version. They grow until Envoy restarts. */
export interface Counters {
  readonly hosts: readonly EnvoyHost[];
  /** Tries that were sent. */
  readonly tries: number;
  /** Tries that have not ended. */
  readonly active: number;
  /** Tries that ended with an answer or an error, and were not followed by another try. */
  readonly completed: number;
  /** Tries that were followed by another try. */
  readonly retried: number;
  /** Times of the calls, from the end of the request to the end of the reply. */
  readonly times: readonly Bin[];
}

/** Counters of a service's versions, by version and then by caller's pod. */
export type Reading = ReadonlyMap<string, ReadonlyMap<string, Counters>>;

/** Tries of the calls to a version, in some time. */
export interface Counts {
  /** Tries that ended well, or with a status that blames the request. */
  readonly succeeded: number;
  /** Tries that failed by their gRPC status, timed out or were reset. */
  readonly failed: number;
  /**
   * Tries that the caller gave up before an answer, such as at its deadline. A negative number
   * means that Envoy answered that many calls without a try. Calls that begin or end during the
   * reading cause a small error.
   */
  readonly unaccounted: number;
  readonly times: readonly Bin[];
}

export const NONE: Counts = { succeeded: 0, failed: 0, unaccounted: 0, times: [] };

const bin = z.object({ lower_bound: z.number(), width: z.number(), count: z.number() });
const histogram = z.object({ name: z.string(), totals: z.array(bin).default([]) });
const statistics = z.object({
  stats: z.array(
    z.union([
      z.object({ name: z.string(), value: z.number() }),
      z.object({ histograms: z.object({ details: z.array(histogram).default([]) }) }),
    ]),
  ),
});

/**
 * Returns counters and histograms by name. It parses Envoy's `/stats?format=json` with
 * `histogram_buckets=detailed`.
 */
export function parseStatistics(json: string): {
  readonly counters: ReadonlyMap<string, number>;
  readonly times: ReadonlyMap<string, readonly Bin[]>;
} {
  const { stats } = statistics.parse(JSON.parse(json));
  const counters = stats.flatMap((stat) => ("value" in stat ? [[stat.name, stat.value] as const] : []));
  const times = stats.flatMap((stat) =>
    "histograms" in stat
      ? stat.histograms.details.map(({ name, totals }) => {
          const bins = totals.map(({ lower_bound: from, width, count: calls }) => ({ from, width, calls }));
          return [name, bins] as const;
        })
      : [],
  );
  return { counters: new Map(counters), times: new Map(times) };
}

const STATISTICS =
  "stats?format=json&histogram_buckets=detailed&filter=^cluster\\.outbound.*\\.upstream_rq_(total|active|completed|retry|time)$";

/** Returns the counters of each version of a service, from the Envoy of one caller's pod. */
async function readCaller(
  mesh: MeshReader,
  pod: string,
  { host, callee }: Callee,
): Promise<[string, Counters][]> {
  const [clusters, statistics] = await Promise.all([
    askProxy(mesh, pod, CLUSTERS),
    askProxy(mesh, pod, STATISTICS),
  ]);
  const versionOf = new Map(
    callee.versions.map(({ name }) => [clusterName({ host, port: callee.port }, name), name]),
  );
  const { counters, times } = parseStatistics(statistics);
  return parseClusters(clusters, (name) => versionOf.has(name)).map(({ name, statsName, hosts }) => {
    const counter = (suffix: string): number =>
      counters.get(`cluster.${statsName}.upstream_rq_${suffix}`) ?? 0;
    const of: Counters = {
      hosts,
      tries: counter("total"),
      active: counter("active"),
      completed: counter("completed"),
      retried: counter("retry"),
      times: times.get(`cluster.${statsName}.upstream_rq_time`) ?? [],
    };
    return [versionOf.get(name) ?? "", of];
  });
}

/** Service whose callers are read, and its DNS name. */
export interface Callee {
  readonly callee: Pick<Service, "name" | "port" | "versions">;
  readonly host: string;
}

/**
 * Reads the counters of a service's versions from the Envoys of all callers.
 * @param callers names of the calling services
 * @throws UserError if the cluster or a proxy does not answer
 */
export async function readCallers(
  mesh: MeshReader,
  callers: readonly string[],
  callee: Callee,
): Promise<Reading> {
  const reading = new Map<string, Map<string, Counters>>();
  await Promise.all(
    callers.map(async (caller) => {
      const running = (await podsOf(mesh, caller)).filter(({ proxyRuns }) => proxyRuns);
      await Promise.all(
        running.map(async ({ name: pod }) => {
          const answer = await whileAlive(mesh, caller, pod, readCaller(mesh, pod, callee));
          for (const [version, counters] of answer ?? []) {
            reading.set(version, (reading.get(version) ?? new Map<string, Counters>()).set(pod, counters));
          }
        }),
      );
    }),
  );
  return reading;
}

function total(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

function grownTimes(before: readonly Bin[], after: readonly Bin[]): Bin[] {
  return after.map((now) => {
    const then = before.find(({ from }) => from === now.from)?.calls;
    return { ...now, calls: growth(then, now.calls) };
  });
}

/**
 * Returns the tries of one caller between two readings of its Envoy. The counters of an endpoint
 * do not have the tries that the caller gave up: these are neither active, nor did they end with an
 * answer or an error. They do not have the calls that Envoy answered without an endpoint either:
 * these have ended, but were never tried.
 * Source: Envoy's router.cc, onUpstreamHeaders, onUpstreamTrailers, maybeRetryReset,
 * sendNoHealthyUpstreamResponse
 */
function countsOf(before: Counters | undefined, after: Counters): Counts {
  const hosts = after.hosts.map(({ address, succeeded, failed }) => {
    const then = before?.hosts.find((host) => host.address === address);
    return { succeeded: growth(then?.succeeded, succeeded), failed: growth(then?.failed, failed) };
  });
  const ended = growth(before?.completed, after.completed) + growth(before?.retried, after.retried);
  const stillActive = after.active - (before?.active ?? 0);
  return {
    succeeded: total(hosts.map(({ succeeded }) => succeeded)),
    failed: total(hosts.map(({ failed }) => failed)),
    unaccounted: growth(before?.tries, after.tries) - ended - stillActive,
    times: grownTimes(before?.times ?? [], after.times),
  };
}

/** Returns the sum of counts. */
export function plus(...counts: readonly Counts[]): Counts {
  const bins = new Map<number, Bin>();
  for (const { from, width, calls } of counts.flatMap(({ times }) => times)) {
    bins.set(from, { from, width, calls: (bins.get(from)?.calls ?? 0) + calls });
  }
  return {
    succeeded: total(counts.map(({ succeeded }) => succeeded)),
    failed: total(counts.map(({ failed }) => failed)),
    unaccounted: total(counts.map(({ unaccounted }) => unaccounted)),
    times: [...bins.values()].filter(({ calls }) => calls > 0).sort((a, b) => a.from - b.from),
  };
}

/**
 * Returns the tries of all callers to some versions between two readings.
 * @param before undefined for all tries since the Envoys started
 */
export function countsBetween(
  versions: readonly string[],
  before: Reading | undefined,
  after: Reading,
): Counts {
  const counts = versions.flatMap((version) =>
    [...(after.get(version) ?? [])].map(([pod, counters]) =>
      countsOf(before?.get(version)?.get(pod), counters),
    ),
  );
  return plus(...counts);
}

/** Returns the pods in whose Envoy a version has no healthy endpoint. */
export function withoutEndpoint(version: string, reading: Reading): string[] {
  return [...(reading.get(version) ?? [])]
    .filter(([, { hosts }]) => hosts.every(({ problems }) => problems.length > 0))
    .map(([pod]) => pod);
}
