import { type Check, count, list } from "./check.ts";
import type { EnvoyCluster, EnvoyHost } from "./envoy.ts";
import { clusterName, type Expected, shortName } from "./expected.ts";
import type { CallerSample } from "./sample.ts";

/** Activity of a caller's Envoy for one cluster during the observation. */
export interface ClusterWindow {
  readonly name: string;
  /** Endpoints at the end of the observation. */
  readonly hosts: readonly EnvoyHost[];
  /** Successful calls by endpoint. */
  readonly answered: readonly { readonly address: string; readonly calls: number }[];
  /** Number of failed calls. */
  readonly failed: number;
  /** True if the cluster has an active health check. */
  readonly checked: boolean;
  /** Returns the growth of a cluster counter, or undefined if Envoy does not keep it. */
  readonly grown: (counter: string) => number | undefined;
}

/** Returns the growth of a counter. Envoy restarts it at zero when it replaces the cluster. */
export function growth(then = 0, now = 0): number {
  return now < then ? now : now - then;
}

function windowOf(
  { name, statsName, hosts }: EnvoyCluster,
  before: CallerSample | undefined,
  after: CallerSample,
): ClusterWindow {
  const old = before?.clusters.find((cluster) => cluster.name === name)?.hosts ?? [];
  const grownHosts = hosts.map(({ address, succeeded, failed }) => {
    const then = old.find((host) => host.address === address);
    return { address, calls: growth(then?.succeeded, succeeded), failed: growth(then?.failed, failed) };
  });
  return {
    name,
    hosts,
    answered: grownHosts.map(({ address, calls }) => ({ address, calls })),
    failed: grownHosts.reduce((sum, { failed }) => sum + failed, 0),
    checked: after.checked.includes(name),
    grown: (counter) => {
      const key = `cluster.${statsName}.${counter}`;
      const now = after.counters.get(key);
      return now === undefined ? undefined : growth(before?.counters.get(key), now);
    },
  };
}

/**
 * Returns the activity of a caller's Envoy in each of the callee's clusters between two samples.
 */
export function clusterWindows(before: CallerSample | undefined, after: CallerSample): ClusterWindow[] {
  return after.clusters.map((cluster) => windowOf(cluster, before, after));
}

function callsOf({ answered, failed }: ClusterWindow): number {
  return answered.reduce((sum, { calls }) => sum + calls, failed);
}

/**
 * Returns the clusters that routes send calls to, even if Envoy lacks them, and all others that
 * carried calls.
 */
export function carriers(expected: Expected, windows: readonly ClusterWindow[]): ClusterWindow[] {
  const routed = expected.versions
    .filter(({ weight }) => weight > 0)
    .map(({ name }) => clusterName(expected, name));
  const absent = routed
    .filter((name) => windows.every((window) => window.name !== name))
    .map((name) => ({ name, hosts: [], answered: [], failed: 0, checked: false, grown: () => undefined }));
  return [...windows.filter((window) => routed.includes(window.name) || callsOf(window) > 0), ...absent];
}

/**
 * Checks that no call fails. If the caller makes its own calls, also checks that every endpoint
 * answers. Reports the spread between endpoints.
 */
export function callCheck(of: string, window: ClusterWindow, { loadBalancer, interval }: Expected): Check {
  const { answered, failed } = window;
  const calls = answered.map((host) => host.calls);
  const spread = calls.length === 0 ? 0 : Math.max(...calls) - Math.min(...calls);
  const each = answered.map((host) => `${host.address} ${host.calls}`);
  return {
    check: "calls",
    of,
    seen: `${count(callsOf(window), "call")}: ${each.length === 0 ? "no endpoint" : list(each)}; spread ${spread}, failed ${failed}`,
    expected: `${loadBalancer}: ${interval === undefined ? "" : "each endpoint answers, "}no call fails`,
    ok: calls.length > 0 && (interval === undefined || calls.every((number) => number > 0)) && failed === 0,
  };
}

function healthText({ hosts }: ClusterWindow, sick: readonly EnvoyHost[]): string {
  const healthy = `${hosts.length - sick.length} of ${hosts.length} healthy`;
  const reasons = sick.map(({ address, problems }) => `${address} ${problems.join(" ")}`);
  return sick.length === 0 ? healthy : `${healthy} (${list(reasons)})`;
}

function uncheckedText(window: ClusterWindow, windows: readonly ClusterWindow[]): string {
  const elsewhere = windows
    .filter(({ checked }) => checked)
    .map((other) => `${shortName(other.name)}, which carries ${count(callsOf(other), "call")}`);
  const text = `no health check on ${shortName(window.name)}, which carries ${count(callsOf(window), "call")}`;
  return elsewhere.length === 0 ? text : `${text}; there is one on ${list(elsewhere)}`;
}

/**
 * Checks that a cluster has an active health check that succeeds, and that its endpoints are
 * healthy.
 */
export function healthCheck(of: string, window: ClusterWindow, windows: readonly ClusterWindow[]): Check {
  const row = {
    check: "health check",
    of,
    expected: "a check an endpoint succeeds, none fails, all are healthy",
  } as const;
  if (!window.checked) return { ...row, seen: uncheckedText(window, windows), ok: false };
  const [attempts, successes, failures] = ["attempt", "success", "failure"].map((name) =>
    window.grown(`health_check.${name}`),
  );
  if (attempts === undefined || successes === undefined || failures === undefined) {
    return { ...row, seen: "Envoy does not count health_check.* (proxyStatsMatcher)", ok: false };
  }
  const sick = window.hosts.filter(({ problems }) => problems.length > 0);
  return {
    ...row,
    seen: `attempts +${attempts}, successes +${successes}, failures +${failures}; ${healthText(window, sick)}`,
    ok: window.hosts.length > 0 && successes >= window.hosts.length && failures === 0 && sick.length === 0,
  };
}
