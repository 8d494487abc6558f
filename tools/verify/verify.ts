import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../../common/errors.ts";
import { loadOf } from "../../settings/graph.ts";
import type { HealthCheckLoad } from "../../settings/health-check.ts";
import { step } from "../../common/steps.ts";
import type { Settings } from "../../settings/settings.ts";
import { LiveMesh } from "../mesh.ts";
import { table } from "../report.ts";
import type { StackFile } from "../../stack/stack-file.ts";
import { ISTIO_NAMESPACE } from "../../settings/istio.ts";
import { type Check, type CheckName, count, FIXES } from "./check.ts";
import { type Expected, expectedOf, windowSeconds } from "./expected.ts";
import { judgeAll, type Watched } from "./judge.ts";
import { readinessChecks } from "./pods.ts";
import { judgeProxies, type ProxySample, sampleProxies } from "./proxies.ts";
import { askedOnce, type MeshReader } from "./proxy.ts";
import { type MeshSample, sampleMesh } from "./sample.ts";
import { type ControlPlane, sampleSync, syncCheck, type SyncSample } from "./sync.ts";

/** Returns a monotonic time, seconds. */
function now(): number {
  return performance.now() / 1000;
}

/** Time between two samples, ms. Each sample costs the proxies some work. */
const PAUSE_MS = 1500;

/** Result of {@link verify}. */
export interface VerifyReport {
  /** True if every check is ok. */
  readonly ok: boolean;
  /** Duration of the observation, seconds. */
  readonly seconds: number;
  /** Maximum rate of health checks. */
  readonly healthCheckLoad: HealthCheckLoad;
  readonly checks: readonly Check[];
  /** Remedies of the checks that fail, by check. */
  readonly fixes: Readonly<Partial<Record<CheckName, string>>>;
}

/**
 * Checks that the stack has something to verify.
 * @throws UserError that names the wrong setting
 */
export function requireVerifiable(settings: Settings): void {
  const { injection, accessLogs } = settings;
  if (!injection) {
    throw new UserError(
      "dubbo-mesh:injection is false: the stack asks for pods without istio-proxy, so there is no mesh to verify",
      "Set injection to true, run `make up`, and restart the pods (kubectl rollout restart deployment).",
    );
  }
  if (!accessLogs) {
    throw new UserError(
      "dubbo-mesh:accessLogs is false: the proxies log no calls, and verify reads these logs",
      "Set accessLogs to true and run `make up`; the pods need no restart.",
    );
  }
  if (expectedOf(settings).length === 0) {
    throw new UserError(
      "the stack runs no service that calls another, so nothing is called",
      "Give a service `calls`, and 1 or more replicas, and run `make up`.",
    );
  }
}

/** A look at the mesh. */
interface Look {
  /** A sample for each edge of the call graph. */
  readonly edges: readonly MeshSample[];
  readonly proxies: readonly ProxySample[];
  readonly sync: SyncSample;
}

async function takeLook(live: LiveStack, settings: Settings, expected: readonly Expected[]): Promise<Look> {
  const mesh = askedOnce(live.mesh);
  const [edges, proxies, sync] = await Promise.all([
    Promise.all(expected.map((edge) => sampleMesh(mesh, edge))),
    sampleProxies(mesh, settings),
    sampleSync(live.istio),
  ]);
  return { edges, proxies, sync };
}

function allReady(edges: readonly Expected[], samples: readonly MeshSample[]): boolean {
  return samples.every((sample, index) => {
    const expected = edges[index];
    return expected === undefined || readinessChecks(expected, sample).every(({ ok }) => ok);
  });
}

function podNames({ edges }: Look): string {
  const pods = edges.flatMap(({ providers, consumers }) => [...providers, ...consumers]);
  return [...new Set(pods.map(({ name }) => name))].sort().join(" ");
}

/** Returns each edge with its two samples. */
function pairs(
  edges: readonly Expected[],
  before: readonly MeshSample[],
  after: readonly MeshSample[],
): Watched[] {
  return edges.flatMap((expected, index) => {
    const [then, now] = [before[index], after[index]];
    return then === undefined || now === undefined ? [] : [{ expected, before: then, after: now }];
  });
}

/** Options of {@link watch}. */
export interface Watching {
  /** Time between two samples, ms (default: 1500). */
  readonly pause?: number;
  /** Selects checks (default: all). */
  readonly about?: (check: Check) => boolean;
  /** Ends the observation early. */
  readonly signal?: AbortSignal;
}

/** Pods of a stack, and of the Istio that it uses. */
export interface LiveStack {
  readonly mesh: MeshReader;
  readonly istio: ControlPlane;
}

function judgeLook(
  settings: Settings,
  expected: readonly Expected[],
  before: Look,
  { edges, proxies, sync }: Look,
): Check[] {
  const ofPods = (check: Check): boolean => check.check === "ready";
  const checks = judgeAll(pairs(expected, before.edges, edges));
  const pods = proxies.map(({ pod }) => pod);
  return [
    ...checks.filter(ofPods),
    syncCheck(sync, pods, settings.namespace),
    ...judgeProxies(settings, proxies),
    ...checks.filter((check) => !ofPods(check)),
  ];
}

function fixesOf(checks: readonly Check[]): VerifyReport["fixes"] {
  const failed = checks.filter(({ ok }) => !ok).map(({ check }) => check);
  return Object.fromEntries(failed.map((check) => [check, FIXES[check]]));
}

/**
 * Samples a mesh until every check is ok, or until the time limit. The limit depends on the
 * configured health check and pace of calls. Pods that are not ready first get the same time,
 * because their checks and calls fail until then. The time begins again when the pods are others,
 * because Envoy then learns new endpoints.
 * @throws UserError if the stack has no pods, or the cluster or a proxy does not answer; AbortError
 *   if it is ended early
 */
export async function watch(
  live: LiveStack,
  settings: Settings,
  { pause = PAUSE_MS, about = () => true, signal }: Watching = {},
): Promise<VerifyReport> {
  const expected = expectedOf(settings);
  const limit = windowSeconds(settings);
  const begin = now();
  const first = await takeLook(live, settings, expected);
  if (first.edges.every(({ providers, consumers }) => providers.length + consumers.length === 0)) {
    throw new UserError(`namespace ${settings.namespace} has no pods of the stack`, "Run `make up` first.");
  }
  let before: Look | undefined = first;
  let [start, asked] = [now(), begin];
  for (let after = first; ; after = await takeLook(live, settings, expected)) {
    if (!allReady(expected, after.edges)) before = undefined;
    else if (before === undefined || podNames(before) !== podNames(after)) [before, start] = [after, now()];
    const checks = judgeLook(settings, expected, before ?? first, after).filter(about);
    const ok = checks.every((check) => check.ok);
    // A slow look does not count as time to observe.
    if (ok || asked - (before === undefined ? begin : start) > limit) {
      const seconds = Math.round((now() - begin) * 10) / 10;
      return { ok, seconds, healthCheckLoad: loadOf(settings.services), checks, fixes: fixesOf(checks) };
    }
    await sleep(pause, undefined, { signal });
    asked = now();
  }
}

/** Returns the pods of a stack, and of its Istio. */
export function liveStack(settings: Settings): LiveStack {
  const istio = new LiveMesh({ ...settings, namespace: ISTIO_NAMESPACE });
  return { mesh: new LiveMesh(settings), istio };
}

/**
 * Verifies a stack on its live mesh.
 * @throws UserError if there is nothing to verify, or the cluster or a proxy does not answer
 */
export async function verify({ settings }: StackFile): Promise<VerifyReport> {
  requireVerifiable(settings);
  return step(`watch the mesh, for ${Math.ceil(windowSeconds(settings))} s at most`, () =>
    watch(liveStack(settings), settings),
  );
}

/** Formats a report: one check per line, then the load of health checks and the total. */
export function verifyText({ checks, seconds, healthCheckLoad, fixes }: VerifyReport): string {
  const rows = checks.map(({ check, of, seen, expected, ok }) => [
    ok ? "ok" : "FAIL",
    check,
    of,
    seen,
    expected,
  ]);
  const failed = checks.filter(({ ok }) => !ok).length;
  const { checksPerSecond, perProviderPod } = healthCheckLoad;
  const load = `health checks: at most ${checksPerSecond.toFixed(2)} a second in all, ${perProviderPod.toFixed(2)} a provider pod`;
  const sum = `${count(checks.length - failed, "check")} ok, ${failed} failed (watched for ${seconds} s)`;
  const remedies = Object.entries(fixes).map(([check, fix]) => `${check}: ${fix}`);
  return [
    table([["", "check", "of", "seen", "expected"], ...rows]),
    ...(remedies.length === 0 ? [] : [remedies.join("\n")]),
    `${load}\n${sum}`,
  ].join("\n\n");
}
