import { setTimeout as sleep } from "node:timers/promises";
import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import { APPLICATION_CONTAINER } from "../../settings/names.ts";
import type { Settings } from "../../settings/settings.ts";
import { pairOf } from "./make.ts";
import { logMessages } from "../../tools/log-line.ts";
import type { LiveMesh } from "../../tools/mesh.ts";
import { askProxy } from "../../tools/verify/proxy.ts";
import { applicationProcess } from "./host.ts";

const POLL_MS = 200;

/** Results of the consumer's calls, from its log. */
interface Calls {
  /** Number of answered calls. */
  readonly answered: number;
  /** Number of answered calls that took over 500 ms. */
  readonly delayed: number;
  /** Log messages of the failed calls. */
  readonly failed: readonly string[];
}

/** Results of a hanging provider; times in seconds. */
export interface Hung extends Calls {
  /** Time from the start of the fault until the active check fails in Envoy, seconds. */
  readonly outAfter: number;
  /** Time from the end of the fault until Envoy uses the endpoint again, seconds. */
  readonly backAfter: number;
  /** Number of restarts of the provider's containers during the fault. */
  readonly restarts: number;
  /** True if the kubelet has changed the readiness of the provider. */
  readonly readinessChanged: boolean;
}

/** Results of a terminated provider; times in seconds. */
export interface Ended extends Calls {
  /** Time from the signal until the active check fails in Envoy, seconds. */
  readonly outAfter: number;
  /** Time from the signal until the end of the container, seconds. */
  readonly endedAfter: number;
  /** Exit code of the container. */
  readonly exitCode: number;
  /** Calls per second over the whole test. */
  readonly callsPerSecond: number;
}

interface Host {
  readonly address: { readonly socket_address?: { readonly address: string } };
  readonly health_status: { readonly failed_active_health_check?: boolean };
}

/**
 * Tells if an endpoint is out, according to Envoy.
 * The active check fails, or Envoy has no such endpoint because its pod is not ready.
 */
async function isOut(mesh: LiveMesh, consumer: string, address: string): Promise<boolean> {
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

/** Waits for a state of an endpoint in Envoy, and returns the seconds until then. */
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

/** Pods and calls of a fault. */
interface Scene {
  /** Provider with the fault. */
  readonly victim: V1Pod;
  /** Process id of the provider on this machine. */
  readonly pid: number;
  /** Tells if the consumer's Envoy has taken the provider out. */
  readonly out: () => Promise<boolean>;
  /** Returns the results of the consumer's calls since the start of the scene. */
  readonly calls: () => Promise<Calls>;
}

/** Returns the complete logs of consumers. */
async function consumerLogs(mesh: LiveMesh, names: readonly string[]): Promise<string[]> {
  return Promise.all(names.map((name) => mesh.log(name, undefined, 1_000_000)));
}

/** Returns the last reply in the consumer's log. */
export async function lastReply(mesh: LiveMesh, settings: Settings): Promise<string> {
  const { consumer } = pairOf(settings);
  const pod = (await mesh.pods(consumer.name)).at(-1)?.metadata?.name ?? "";
  const replies = matching(logMessages(await mesh.log(pod)), /consumer Unary reply <-/);
  return replies.at(-1) ?? "none";
}

async function scene(mesh: LiveMesh, settings: Settings): Promise<Scene> {
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

async function podNow(mesh: LiveMesh, settings: Settings, pod: V1Pod): Promise<V1Pod> {
  const found = await mesh.pods(pairOf(settings).provider.name);
  return found.find(({ metadata }) => metadata?.uid === pod.metadata?.uid) ?? pod;
}

/**
 * Stops a provider's process for some seconds, like a hang, while the consumer calls.
 * Returns the effects on Envoy, the kubelet and the consumer. The process resumes in any case.
 */
export async function hang(mesh: LiveMesh, settings: Settings, secondsLong: number): Promise<Hung> {
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

/** Waits until the application container of a pod ends, and returns its exit code. */
async function exitOf(mesh: LiveMesh, settings: Settings, pod: V1Pod, limit: number): Promise<number> {
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
 * Sends SIGTERM to a provider's process, like the kubelet, while the consumer calls.
 * The pod stays, so that only the health check takes it out. The kubelet restarts the container.
 */
export async function terminate(mesh: LiveMesh, settings: Settings, drain: number): Promise<Ended> {
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
