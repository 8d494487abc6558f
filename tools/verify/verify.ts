import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../../common/errors.ts";
import { loadOf } from "../../settings/graph.ts";
import type { HealthCheckLoad } from "../../settings/health-check.ts";
import { step } from "../../common/steps.ts";
import type { Settings } from "../../settings/settings.ts";
import { LiveMesh } from "../mesh.ts";
import { table } from "../report.ts";
import type { StackFile } from "../../stack/stack-file.ts";
import { type Check, count } from "./check.ts";
import { type Expected, expectedOf, windowSeconds } from "./expected.ts";
import { judgeAll, type Watched } from "./judge.ts";
import { readinessChecks } from "./pods.ts";
import type { MeshReader } from "./proxy.ts";
import { type MeshSample, sampleMesh } from "./sample.ts";

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

async function takeSamples(mesh: MeshReader, edges: readonly Expected[]): Promise<MeshSample[]> {
  return Promise.all(edges.map((expected) => sampleMesh(mesh, expected)));
}

function allReady(edges: readonly Expected[], samples: readonly MeshSample[]): boolean {
  return samples.every((sample, index) => {
    const expected = edges[index];
    return expected === undefined || readinessChecks(expected, sample).every(({ ok }) => ok);
  });
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

/**
 * Samples a mesh until every check is ok, or until the time limit. The limit depends on the
 * configured health check and pace of calls. Pods that are not ready first get the same time,
 * because their checks and calls fail until then.
 * @param pause time between two samples, ms
 * @throws UserError if the stack has no pods, or the cluster or a proxy does not answer
 */
export async function watch(mesh: MeshReader, settings: Settings, pause = PAUSE_MS): Promise<VerifyReport> {
  const edges = expectedOf(settings);
  const limit = windowSeconds(settings);
  const begin = now();
  const first = await takeSamples(mesh, edges);
  if (first.every(({ providers, consumers }) => providers.length + consumers.length === 0)) {
    throw new UserError(`namespace ${settings.namespace} has no pods of the stack`, "Run `make up` first.");
  }
  let before: readonly MeshSample[] | undefined = first;
  let start = begin;
  for (let after = first; ; after = await takeSamples(mesh, edges)) {
    if (!allReady(edges, after)) before = undefined;
    else if (before === undefined) [before, start] = [after, now()];
    const checks = judgeAll(pairs(edges, before ?? first, after));
    const ok = checks.every((check) => check.ok);
    if (ok || now() - (before === undefined ? begin : start) > limit) {
      const watched = Math.round((now() - begin) * 10) / 10;
      return { ok, seconds: watched, healthCheckLoad: loadOf(settings.services), checks };
    }
    await sleep(pause);
  }
}

/**
 * Verifies a stack on its live mesh.
 * @throws UserError if there is nothing to verify, or the cluster or a proxy does not answer
 */
export async function verify({ settings }: StackFile): Promise<VerifyReport> {
  requireVerifiable(settings);
  const mesh = new LiveMesh(settings);
  return step(`watch the mesh, for ${Math.ceil(windowSeconds(settings))} s at most`, () =>
    watch(mesh, settings),
  );
}

/** Formats a report: one check per line, then the load of health checks and the total. */
export function verifyText({ checks, seconds, healthCheckLoad }: VerifyReport): string {
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
  return `${table([["", "check", "of", "seen", "expected"], ...rows])}\n\n${load}\n${sum}`;
}
