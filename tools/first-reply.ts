import { setTimeout as sleep } from "node:timers/promises";
import type { V1Pod } from "@kubernetes/client-node";
import { UserError } from "../common/errors.ts";
import { maxPods, type Service } from "../settings/graph.ts";
import { APPLICATION_CONTAINER } from "../settings/names.ts";
import type { StackFile } from "../stack/stack-file.ts";
import { logMessages } from "./log-line.ts";
import type { LiveMesh } from "./mesh.ts";

const POLL_MS = 300;
const TIMEOUT_MS = 300_000;

/** Log text of the sample's consumer for a reply. */
const REPLY = /consumer Unary reply <-message:\s*".*"/;

/**
 * Returns the stack's instance of the sample's consumer, which logs its replies. Returns undefined
 * if none runs, or if the settings have defaults in place of encrypted values.
 */
export function loggingConsumer({
  settings,
  unread,
}: Pick<StackFile, "settings" | "unread">): Service | undefined {
  if (unread.length > 0) return undefined;
  return settings.services.find((service) => service.app === "consumer" && maxPods(service) > 0);
}

/** Returns the first reply in a consumer's log. */
export function replyIn(log: string): string | undefined {
  return logMessages(log)
    .map((message) => REPLY.exec(message)?.[0])
    .find((reply) => reply !== undefined);
}

function isRunning(pod: V1Pod): boolean {
  const statuses = pod.status?.containerStatuses ?? [];
  return statuses.some(({ name, state }) => name === APPLICATION_CONTAINER && state?.running !== undefined);
}

/**
 * Returns the reasons why a pod waits: a missing node, a waiting container, or an application that
 * is not ready.
 */
function waitReasons({ status }: V1Pod): string[] {
  const nodeless = (status?.conditions ?? []).filter(
    ({ type, status: is }) => type === "PodScheduled" && is === "False",
  );
  const containers = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  return [
    ...nodeless.map(({ message }) => message ?? "no node can run it"),
    ...containers.flatMap(({ name, state, ready }) => {
      if (state?.waiting?.reason !== undefined) return [`${name} ${state.waiting.reason}`];
      const unready = name === APPLICATION_CONTAINER && state?.running !== undefined && !ready;
      return unready ? [`${name} runs, but is not ready`] : [];
    }),
  ];
}

/** Describes why a pod does not run yet. */
export function describeWait(pod: V1Pod): string {
  const reasons = waitReasons(pod);
  const text = reasons.length === 0 ? (pod.status?.phase ?? "no status") : reasons.join(", ");
  return `${pod.metadata?.name ?? "pod"}: ${text}`;
}

/** Describes why pods wait; empty if none does. The engine only says that a Deployment is late. */
export function describeWaits(pods: readonly V1Pod[]): string {
  const late = pods.filter((pod) => waitReasons(pod).length > 0).map(describeWait);
  return late.length === 0 ? "" : `pods that are not ready: ${late.join("; ")}`;
}

/**
 * Adds to an error the reasons why pods wait.
 * @param pods the stack's pods, as far as the cluster lists them
 */
export function withWaitReasons(error: UserError, pods: readonly V1Pod[]): UserError {
  const waits = describeWaits(pods);
  return waits === "" ? error : new UserError(`${error.message}\n${waits}`, error.fix, { cause: error });
}

/**
 * Waits for the consumer's first reply and returns that line of its log.
 * @throws UserError after 300 s, with the reasons why pods wait
 */
export async function firstReply(mesh: LiveMesh, consumer: Service): Promise<string> {
  const deadline = Date.now() + TIMEOUT_MS;
  let pods: V1Pod[] = [];
  while (Date.now() < deadline) {
    pods = await mesh.pods(consumer.name);
    const newest = pods.filter(isRunning).at(-1)?.metadata?.name;
    const reply = newest === undefined ? undefined : replyIn(await mesh.log(newest));
    if (reply !== undefined) return reply;
    await sleep(POLL_MS);
  }
  const reasons = pods.length === 0 ? `${consumer.name} has no pods` : pods.map(describeWait).join("; ");
  const logs = `kubectl logs -n ${mesh.namespace} -l app=${consumer.name}`;
  throw new UserError(
    `the consumer got no reply within ${TIMEOUT_MS / 1000} s (${reasons})`,
    `Look at \`${logs}\`, and with \`-c istio-proxy\` at its proxy's; then run \`make up\` again.`,
  );
}
