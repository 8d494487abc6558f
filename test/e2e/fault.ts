import { setTimeout as sleep } from "node:timers/promises";
import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import { APPLICATION_CONTAINER } from "../../settings/names.ts";
import type { Settings } from "../../settings/settings.ts";
import { pairOf } from "./make.ts";
import { logMessages } from "../../tools/log-line.ts";
import type { Mesh } from "../../tools/mesh.ts";
import { askProxy } from "../../tools/verify/proxy.ts";
import { applicationProcess } from "./host.ts";

const POLL_MS = 200;

/** What became of the consumer's calls, from its log. */
interface Calls {
  /** Calls answered. */
  readonly answered: number;
  /** Among them those that were answered late, over 500 ms. */
  readonly delayed: number;
  /** What the consumer logged of the calls that failed. */
  readonly failed: readonly string[];
}

/** What was seen of a provider that hung; times in seconds. */
export interface Hung extends Calls {
  /** From the fault's begin until Envoy had the endpoint marked as failed by its active check. */
  readonly outAfter: number;
  /** From the fault's end until Envoy had it back. */
  readonly backAfter: number;
  /** Restarts of the provider's containers during the fault. */
  readonly restarts: number;
  /** Whether the kubelet has changed the provider's readiness. */
  readonly readinessChanged: boolean;
}

/** What was seen of a provider that was told to end; times in seconds. */
export interface Ended extends Calls {
  /** From the signal until Envoy had the endpoint marked as failed by its active check. */
  readonly outAfter: number;
  /** From the signal until the container had ended. */
  readonly endedAfter: number;
  /** Exit code of the container. */
  readonly exitCode: number;
  /** Calls begun in a second, over the whole of it. */
  readonly callsPerSecond: number;
}

interface Host {
  readonly address: { readonly socket_address?: { readonly address: string } };
  readonly health_status: { readonly failed_active_health_check?: boolean };
}

/** Whether an endpoint is out, by Envoy's own account: by the active check, or gone because its pod is not ready. */
async function isOut(mesh: Mesh, consumer: string, address: string): Promise<boolean> {
  const text = await askProxy(mesh, consumer, "clusters?format=json");
  const { cluster_statuses: clusters } = JSON.parse(text) as {
    cluster_statuses: { name: string; host_statuses?: Host[] }[];
  };
  const hosts = clusters
    .filter(({ name }) => /^outbound\|\d+\|.+\|/.test(name))
    .flatMap(({ host_statuses: statuses = [] }) => statuses);
  const host = hosts.find((candidate) => candidate.address.socket_address?.address === address);
  return host === undefined || host.health_status.failed_active_health_check === true;
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

/** Who takes part in a fault. */
interface Scene {
  /** The provider that it happens to. */
  readonly victim: V1Pod;
  /** Its process on this machine. */
  readonly pid: number;
  /** Whether the consumer's Envoy has the provider out. */
  readonly out: () => Promise<boolean>;
  /** What became of the consumer's calls since the scene was set. */
  readonly calls: () => Promise<Calls>;
}

/** The whole logs of these consumers. */
async function consumerLogs(mesh: Mesh, names: readonly string[]): Promise<string[]> {
  return Promise.all(names.map((name) => mesh.log(name, undefined, 1_000_000)));
}

/** What the consumer was answered last. */
export async function lastReply(mesh: Mesh, settings: Settings): Promise<string> {
  const { consumer } = pairOf(settings);
  const pod = (await mesh.pods(consumer.name)).at(-1)?.metadata?.name ?? "";
  const replies = matching(logMessages(await mesh.log(pod)), /consumer Unary reply <-/);
  return replies.at(-1) ?? "none";
}

async function scene(mesh: Mesh, settings: Settings): Promise<Scene> {
  const { provider, consumer } = pairOf(settings);
  const [victim] = await mesh.pods(provider.name);
  const callers = (await mesh.pods(consumer.name)).map(({ metadata }) => metadata?.name ?? "");
  const caller = callers.at(-1);
  const uid = victim?.metadata?.uid;
  const address = victim?.status?.podIP;
  if (victim === undefined || caller === undefined || uid === undefined || address === undefined) {
    throw new Error("the mesh has no provider or no consumer");
  }
  if (await isOut(mesh, caller, address))
    throw new Error(`Envoy has ${address} out before anything has happened`);
  const before = await consumerLogs(mesh, callers);
  return {
    victim,
    pid: applicationProcess(uid),
    out: () => isOut(mesh, caller, address),
    calls: async () => {
      const logs = await consumerLogs(mesh, callers);
      const messages = logs.flatMap((log, index) => logMessages(log.slice(before[index]?.length)));
      return {
        answered: matching(messages, /dubbo invoke \d+ end/).length,
        delayed: matching(messages, /dubbo invoke \d+ took/).length,
        failed: matching(messages, /dubbo invoke \d+ failed/),
      };
    },
  };
}

function now(): number {
  return performance.now() / 1000;
}

async function podNow(mesh: Mesh, settings: Settings, pod: V1Pod): Promise<V1Pod> {
  const found = await mesh.pods(pairOf(settings).provider.name);
  return found.find(({ metadata }) => metadata?.uid === pod.metadata?.uid) ?? pod;
}

/**
 * Stops a provider's process for some seconds, as a hang would, while the consumer calls, and tells what Envoy, the kubelet
 * and the consumer made of it. The process goes on in any case.
 */
export async function hang(mesh: Mesh, settings: Settings, secondsLong: number): Promise<Hung> {
  const { victim, pid, out, calls } = await scene(mesh, settings);
  const start = now();
  process.kill(pid, "SIGSTOP");
  let outAfter: number;
  try {
    outAfter = await secondsUntil(true, secondsLong, out);
    await sleep((secondsLong - (now() - start)) * 1000);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  const backAfter = await secondsUntil(false, 30, out);
  const after = await podNow(mesh, settings, victim);
  return {
    outAfter,
    backAfter,
    restarts: restarts(after) - restarts(victim),
    readinessChanged: readiness(after) !== readiness(victim),
    ...(await calls()),
  };
}

function applicationStatus(pod: V1Pod): V1ContainerStatus | undefined {
  return pod.status?.containerStatuses?.find(({ name }) => name === APPLICATION_CONTAINER);
}

/** Waits until the container that a pod's application runs in has ended; its exit code. */
async function exitOf(mesh: Mesh, settings: Settings, pod: V1Pod, limit: number): Promise<number> {
  const container = applicationStatus(pod)?.containerID;
  const end = now() + limit;
  while (now() < end) {
    const { state, lastState } = applicationStatus(await podNow(mesh, settings, pod)) ?? {};
    const ended = [state, lastState].find((each) => each?.terminated?.containerID === container);
    if (ended?.terminated !== undefined) return ended.terminated.exitCode;
    await sleep(POLL_MS);
  }
  throw new Error(`the provider has not ended within ${limit} s`);
}

/**
 * Tells a provider's process to end while the consumer calls, as the kubelet would, but leaves the pod, so that it is the check
 * alone that takes it out. The kubelet starts the container again.
 */
export async function terminate(mesh: Mesh, settings: Settings, drain: number): Promise<Ended> {
  const { victim, pid, out, calls } = await scene(mesh, settings);
  const start = now();
  process.kill(pid, "SIGTERM");
  const outAfter = await secondsUntil(true, drain, out);
  const exitCode = await exitOf(mesh, settings, victim, 2 * drain);
  const endedAfter = now() - start;
  await secondsUntil(false, 60, out);
  const seen = await calls();
  const callsPerSecond = Math.round((seen.answered + seen.failed.length) / (now() - start));
  return { outAfter, endedAfter, exitCode, callsPerSecond, ...seen };
}
