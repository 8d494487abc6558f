import { setTimeout as sleep } from "node:timers/promises";
import type { V1Pod } from "@kubernetes/client-node";
import type { Settings } from "../../settings.ts";
import { logMessages } from "../../tools/log-line.ts";
import type { Mesh } from "../../tools/mesh.ts";
import { askProxy } from "../../tools/verify/proxy.ts";
import { applicationProcess } from "./host.ts";

const POLL_MS = 200;

/** What was seen of a fault; times in seconds. */
export interface Seen {
  /** From the fault's begin until Envoy had the endpoint marked as failed by its active check. */
  readonly outAfter: number;
  /** From the fault's end until Envoy had it back. */
  readonly backAfter: number;
  /** Restarts of the provider's containers during the fault. */
  readonly restarts: number;
  /** Whether the kubelet has changed the provider's readiness. */
  readonly readinessChanged: boolean;
  /** Calls answered, and among them answered late (over 500 ms), from the consumer's log. */
  readonly answered: number;
  readonly delayed: number;
  /** What the consumer logged of the calls that failed. */
  readonly failed: readonly string[];
}

interface Host {
  readonly address: { readonly socket_address?: { readonly address: string } };
  readonly health_status: { readonly failed_active_health_check?: boolean };
}

/** Whether an endpoint is out by the active check, by Envoy's own account. */
async function isOut(mesh: Mesh, consumer: string, address: string): Promise<boolean> {
  const text = await askProxy(mesh, consumer, "clusters?format=json");
  const { cluster_statuses: clusters } = JSON.parse(text) as {
    cluster_statuses: { name: string; host_statuses?: Host[] }[];
  };
  const hosts = clusters
    .filter(({ name }) => /^outbound\|\d+\|.+\|/.test(name))
    .flatMap(({ host_statuses: statuses = [] }) => statuses);
  const host = hosts.find((candidate) => candidate.address.socket_address?.address === address);
  if (host === undefined) throw new Error(`Envoy has no endpoint ${address}`);
  return host.health_status.failed_active_health_check === true;
}

/** Seconds until Envoy's state of an endpoint is as wanted. */
async function secondsUntil(wanted: boolean, limit: number, state: () => Promise<boolean>): Promise<number> {
  const start = performance.now();
  const passed = (): number => (performance.now() - start) / 1000;
  while (passed() < limit) {
    if ((await state()) === wanted) return passed();
    await sleep(POLL_MS);
  }
  throw new Error(`Envoy has not taken the endpoint ${wanted ? "out" : "back"} within ${limit} s`);
}

function readiness(pod: V1Pod): string {
  const ready = pod.status?.conditions?.find(({ type }) => type === "Ready");
  return `${ready?.status ?? ""} since ${ready?.lastTransitionTime?.toISOString() ?? ""}`;
}

function restarts(pod: V1Pod): number {
  return (pod.status?.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
}

function matching(messages: readonly string[], pattern: RegExp): string[] {
  return messages.filter((message) => pattern.test(message));
}

/**
 * Stops a provider's process for some seconds, as a hang would, while the consumer calls, and tells what Envoy, the kubelet
 * and the consumer made of it. The process goes on in any case.
 */
export async function hang(mesh: Mesh, { provider, consumer }: Settings, secondsLong: number): Promise<Seen> {
  const [victim] = await mesh.pods(provider.name);
  const caller = (await mesh.pods(consumer.name)).at(-1)?.metadata?.name;
  const uid = victim?.metadata?.uid;
  const address = victim?.status?.podIP;
  if (victim === undefined || caller === undefined || uid === undefined || address === undefined) {
    throw new Error("the mesh has no provider or no consumer");
  }
  const out = (): Promise<boolean> => isOut(mesh, caller, address);
  const before = await mesh.log(caller, undefined, 100_000);
  const pid = applicationProcess(uid);
  const start = performance.now();
  process.kill(pid, "SIGSTOP");
  let outAfter: number;
  try {
    outAfter = await secondsUntil(true, secondsLong, out);
    await sleep(secondsLong * 1000 - (performance.now() - start));
  } finally {
    process.kill(pid, "SIGCONT");
  }
  const backAfter = await secondsUntil(false, 30, out);
  const messages = logMessages((await mesh.log(caller, undefined, 100_000)).slice(before.length));
  const after = (await mesh.pods(provider.name)).find(({ metadata }) => metadata?.uid === uid) ?? victim;
  return {
    outAfter,
    backAfter,
    restarts: restarts(after) - restarts(victim),
    readinessChanged: readiness(after) !== readiness(victim),
    answered: matching(messages, /dubbo invoke \d+ end/).length,
    delayed: matching(messages, /dubbo invoke \d+ took/).length,
    failed: matching(messages, /dubbo invoke \d+ failed/),
  };
}
