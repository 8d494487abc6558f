import { PROBE_PORT } from "../settings/names.ts";
import { UserError } from "../common/errors.ts";
import { calleesFirst } from "../settings/graph.ts";
import type { Settings } from "../settings/settings.ts";
import { forwarded } from "./forward.ts";
import { LiveMesh } from "./mesh.ts";
import type { StackFile } from "../stack/stack-file.ts";

/** Returns the names of the stack's pods, callers first. */
async function podNames(mesh: LiveMesh, { services }: Settings): Promise<string[]> {
  const callersFirst = calleesFirst(services).reverse();
  const pods = await Promise.all(callersFirst.map(({ name }) => mesh.pods(name)));
  return pods.flat().flatMap(({ metadata }) => metadata?.name ?? []);
}

/**
 * Returns the pod with this name. Without a name, returns the first pod, which belongs to a caller.
 * @throws UserError that lists the pods if none has this name
 */
export function choosePod(pods: readonly string[], name?: string): string {
  const pod = name === undefined ? pods[0] : pods.find((candidate) => candidate === name);
  if (pod !== undefined) return pod;
  if (pods.length === 0) throw new UserError("the stack has no pods", "Run `make up` first.");
  throw new UserError(`the stack has no pod ${name ?? ""}`, `Choose one of ${pods.join(", ")} (POD=NAME).`);
}

/** Answer of a pod's QOS server. */
export interface QosAnswer {
  /** HTTP status. */
  readonly status: number;
  readonly body: string;
}

/**
 * Calls a command of a pod's QOS server through a port that the kubelet forwards. The server treats
 * the call as local and allows every command.
 * @param command such as `ls` or `offline/org.apache.dubbo.samples.Greeter:1.0.0`
 * @param name the pod (default: the first pod of a caller)
 * @throws UserError if there is no such pod, or it cannot be reached
 */
export async function qos({ settings }: StackFile, command: string, name?: string): Promise<QosAnswer> {
  const pod = choosePod(await podNames(new LiveMesh(settings), settings), name);
  return forwarded(settings, pod, PROBE_PORT, async (address) => {
    const response = await fetch(`http://${address}/${command}`, { headers: { connection: "close" } });
    return { status: response.status, body: await response.text() };
  });
}
