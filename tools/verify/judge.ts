import type { Check } from "./check.ts";
import { callCheck, carriers, clusterWindows, healthCheck } from "./clusters.ts";
import type { Expected } from "./expected.ts";
import { shortName } from "./expected.ts";
import { checkLog, callLog, type LogWindow, mtlsCheck, newLines } from "./logs.ts";
import { addressChecks, readinessChecks } from "./pods.ts";
import type { CallerSample, MeshSample } from "./sample.ts";

/** Returns the checks of one caller's Envoy. */
function callerChecks(
  expected: Expected,
  before: CallerSample | undefined,
  after: CallerSample,
  sample: MeshSample,
): Check[] {
  // A single caller needs no name.
  const prefix = sample.callers.length > 1 ? `${after.pod} ` : "";
  const windows = clusterWindows(before, after);
  const carrying = carriers(expected, windows);
  const of = (cluster: string): string => prefix + shortName(cluster);
  return [
    ...addressChecks(expected, sample, after, prefix),
    ...carrying.map((window) => callCheck(of(window.name), window, expected)),
    ...carrying.map((window) => healthCheck(of(window.name), window, windows)),
    callLog("outbound", after.pod, expected, newLines(before?.log, after.log)),
  ];
}

/** Returns the TLS handshakes of a cluster so far, for all callers together. */
function handshakes(cluster: string, callers: readonly CallerSample[]): number | undefined {
  const counts = callers.flatMap(({ clusters, counters }) => {
    const statsName = clusters.find(({ name }) => name === cluster)?.statsName;
    return counters.get(`cluster.${statsName ?? cluster}.ssl.handshake`) ?? [];
  });
  return counts.length === 0 ? undefined : counts.reduce((sum, number) => sum + number);
}

/** Returns the checks of the traffic that reaches the callees. */
function providerChecks(expected: Expected, before: MeshSample, after: MeshSample): Check[] {
  const isReady = (pod: string): boolean => after.providers.some(({ name, ready }) => name === pod && ready);
  const providers = after.callees.map(({ pod, version, log }): LogWindow => {
    const earlier = before.callees.find((callee) => callee.pod === pod);
    return { version, ready: isReady(pod), lines: newLines(earlier?.log, log) };
  });
  const lines = providers.flatMap((provider) => provider.lines);
  const carrying = after.callers.flatMap((caller) => {
    const earlier = before.callers.find(({ pod }) => pod === caller.pod);
    return carriers(expected, clusterWindows(earlier, caller)).map(({ name }) => name);
  });
  const calls = callLog("inbound", expected.provider, expected, lines);
  if (expected.checkPath === undefined) return [calls];
  return [
    calls,
    checkLog(expected, providers),
    ...[...new Set(carrying)].map((cluster) =>
      mtlsCheck(cluster, expected, providers, handshakes(cluster, after.callers)),
    ),
  ];
}

/**
 * Compares two samples of a mesh: the state in the second, and the events between them. If no
 * caller's proxy runs, it returns only readiness.
 */
export function judge(expected: Expected, before: MeshSample, after: MeshSample): Check[] {
  const readiness = readinessChecks(expected, after);
  if (after.callers.length === 0) return readiness;
  return [
    ...readiness,
    ...after.callers.flatMap((caller) => {
      const earlier = before.callers.find(({ pod }) => pod === caller.pod);
      return callerChecks(expected, earlier, caller, after);
    }),
    ...providerChecks(expected, before, after),
  ];
}

/** An edge of the call graph, and two samples of it. */
export interface Watched {
  readonly expected: Expected;
  readonly before: MeshSample;
  readonly after: MeshSample;
}

/**
 * Returns the checks of the whole mesh. If there are several edges, each check names its edge. Each
 * Deployment is checked once.
 */
export function judgeAll(edges: readonly Watched[]): Check[] {
  const checks = edges.flatMap(({ expected, before, after }) => {
    const edge = edges.length > 1 ? `${expected.consumer} to ${expected.provider}: ` : "";
    return judge(expected, before, after).map((check) =>
      isOfPods(check) ? check : { ...check, of: edge + check.of },
    );
  });
  const ofPods = new Map(checks.filter(isOfPods).map((check) => [check.of, check]));
  return [...ofPods.values(), ...checks.filter((check) => !isOfPods(check))];
}

/** Reports whether a check is about pods, not about calls between them. */
function isOfPods({ check }: Check): boolean {
  return check === "ready";
}
