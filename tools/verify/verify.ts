import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../../lib/errors.ts";
import { step } from "../../lib/steps.ts";
import type { Settings } from "../../settings.ts";
import { Mesh } from "../mesh.ts";
import { table } from "../report.ts";
import type { StackFile } from "../stack-file.ts";
import type { Check } from "./check.ts";
import { expectedOf, windowSeconds } from "./expected.ts";
import { judge } from "./judge.ts";
import { sampleMesh } from "./sample.ts";

/** Time between two looks, ms: a look costs the proxies some work. */
const PAUSE_MS = 1500;

/** What {@link verify} saw. */
export interface VerifyReport {
  /** Whether every check is ok. */
  readonly ok: boolean;
  /** How long the mesh was watched, seconds. */
  readonly seconds: number;
  /** The checks. */
  readonly checks: readonly Check[];
}

/**
 * Refuses a stack in which there is nothing to verify.
 * @throws UserError that names the setting
 */
export function requireVerifiable({ injection, accessLogs, consumer, provider }: Settings): void {
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
  if (consumer.replicas === 0 || provider.versions.every(({ replicas }) => replicas === 0)) {
    throw new UserError(
      "the stack runs no consumer or no provider, so nothing is called",
      "Set dubbo-mesh:consumer.replicas and the replicas of a provider version to 1 or more, and run `make up`.",
    );
  }
}

/**
 * Watches the live mesh until every check is ok, or as long as the configured health check and pace of calls need to show.
 * @throws UserError where the stack has nothing to verify, or the cluster or a proxy does not answer
 */
export async function verify({ settings }: StackFile): Promise<VerifyReport> {
  requireVerifiable(settings);
  const expected = expectedOf(settings);
  const limit = windowSeconds(settings);
  const mesh = new Mesh(settings);
  return step(`watch the mesh, for ${Math.ceil(limit)} s at most`, async () => {
    const start = performance.now();
    const before = await sampleMesh(mesh, expected);
    for (;;) {
      await sleep(PAUSE_MS);
      const checks = judge(expected, before, await sampleMesh(mesh, expected));
      const ok = checks.every((check) => check.ok);
      const watched = (performance.now() - start) / 1000;
      if (ok || watched > limit) return { ok, seconds: Math.round(watched * 10) / 10, checks };
    }
  });
}

/** A report for people: a check a line, then the sum. */
export function verifyText({ checks, seconds }: VerifyReport): string {
  const rows = checks.map(({ check, of, seen, expected, ok }) => [
    ok ? "ok" : "FAIL",
    check,
    of,
    seen,
    expected,
  ]);
  const failed = checks.filter(({ ok }) => !ok).length;
  const sum = `${checks.length - failed} checks ok, ${failed} failed (watched for ${seconds} s)`;
  return `${table([["", "check", "of", "seen", "expected"], ...rows])}\n\n${sum}`;
}
