import { execa } from "execa";
import { APPLICATION_CONTAINER, PROBE_PORT } from "../settings/names.ts";
import { UserError } from "../common/errors.ts";
import { calleesFirst } from "../settings/graph.ts";
import type { Settings } from "../settings/settings.ts";
import { forwarded } from "./forward.ts";
import { kubectlCommand } from "./kubectl.ts";
import { Mesh } from "./mesh.ts";
import type { StackFile } from "../stack/stack-file.ts";
import { askProxy, type MeshReader, PROXY_CONTAINER } from "./verify/proxy.ts";
import { podSample, type PodSample } from "./verify/sample.ts";

/** Lines of each pod's log that are shown. */
const LOG_LINES = 100;

/** The log of a pod. */
export interface PodLog {
  /** Name of the pod. */
  readonly pod: string;
  /** Its container. */
  readonly container: string;
  /** The last lines. */
  readonly lines: readonly string[];
}

/** Which logs are wanted. */
export interface LogOptions {
  /** Name of one pod (default: all of the stack's). */
  readonly pod?: string | undefined;
  /** The sidecar's log in place of the application's. */
  readonly proxy?: boolean | undefined;
}

/** The stack's pods, callers first: their proxies have the rules of the calls. */
async function stackPods(mesh: MeshReader, { services }: Settings): Promise<PodSample[]> {
  const callersFirst = calleesFirst(services).reverse();
  const pods = await Promise.all(callersFirst.map(({ name }) => mesh.pods(name)));
  return pods.flat().map(podSample);
}

/**
 * The pod of this name, or the first, which is a caller's.
 * @throws UserError that lists the pods where none has this name
 */
export function choosePod(pods: readonly PodSample[], name?: string): PodSample {
  const pod = name === undefined ? pods[0] : pods.find((candidate) => candidate.name === name);
  if (pod !== undefined) return pod;
  if (pods.length === 0) throw new UserError("the stack has no pods", "Run `make up` first.");
  throw new UserError(
    `the stack has no pod ${name ?? ""}`,
    `Choose one of ${pods.map((candidate) => candidate.name).join(", ")} (POD=NAME).`,
  );
}

function requireSidecar({ name, sidecar }: PodSample): void {
  if (sidecar !== undefined) return;
  throw new UserError(
    `pod ${name} has no ${PROXY_CONTAINER}`,
    "Set dubbo-mesh:injection to true, run `make up`, and restart the pod: Istio injects when a pod is created.",
  );
}

async function podWithSidecar(mesh: MeshReader, settings: Settings, name?: string): Promise<string> {
  const pod = choosePod(await stackPods(mesh, settings), name);
  requireSidecar(pod);
  return pod.name;
}

/**
 * All that a pod's Envoy is configured with, as JSON.
 * @param name the pod (default: a caller's first)
 * @throws UserError where there is no such pod, or its proxy does not answer
 */
export async function dump(
  { settings }: StackFile,
  name?: string,
  mesh: MeshReader = new Mesh(settings),
): Promise<string> {
  return askProxy(mesh, await podWithSidecar(mesh, settings, name), "config_dump");
}

/**
 * The last lines of the application's or the sidecar's log, of one pod or of all of the stack's.
 * @throws UserError where there is no such pod or it has no sidecar
 */
export async function logs(
  { settings }: StackFile,
  { pod: name, proxy }: LogOptions,
  mesh: MeshReader = new Mesh(settings),
): Promise<PodLog[]> {
  const pods = await stackPods(mesh, settings);
  const first = choosePod(pods, name);
  const wanted = name === undefined ? pods : [first];
  if (proxy) wanted.forEach(requireSidecar);
  const container = proxy ? PROXY_CONTAINER : APPLICATION_CONTAINER;
  return Promise.all(
    wanted.map(async ({ name: pod }) => {
      const text = await mesh.log(pod, container, LOG_LINES);
      return { pod, container, lines: text.split("\n").filter((line) => line !== "") };
    }),
  );
}

/** Logs for people: each line says which pod it is of, unless there is only one. */
export function logsText(podLogs: readonly PodLog[]): string {
  const prefix = (pod: string): string => (podLogs.length === 1 ? "" : `${pod}  `);
  return podLogs.flatMap(({ pod, lines }) => lines.map((line) => prefix(pod) + line)).join("\n");
}

/**
 * Opens a shell in a pod's sidecar, on this terminal, and returns its exit code.
 * @param name the pod (default: a caller's first)
 * @throws UserError without a terminal, and where there is no such pod or it has no sidecar
 */
export async function shell({ settings }: StackFile, name?: string): Promise<number> {
  if (!process.stdin.isTTY) {
    throw new UserError(
      "a shell needs a terminal, and standard input is none",
      "Run `make shell` in a terminal.",
    );
  }
  const pod = await podWithSidecar(new Mesh(settings), settings, name);
  const [file = "", ...args] = kubectlCommand(settings);
  const exec = ["exec", "-it", "-n", settings.namespace, pod, "-c", PROXY_CONTAINER, "--", "/bin/bash"];
  const { exitCode = 1 } = await execa(file, [...args, ...exec], { stdio: "inherit", reject: false });
  return exitCode;
}

/** What a pod's QOS server has answered. */
export interface QosAnswer {
  /** HTTP status. */
  readonly status: number;
  /** The text. */
  readonly body: string;
}

/**
 * Calls a command of a pod's QOS server from inside of the pod, by the kubelet: from there, also those are allowed that others may not call.
 * @param command such as `ls` or `offline/org.apache.dubbo.samples.Greeter:1.0.0`
 * @param name the pod (default: a caller's first)
 * @throws UserError where there is no such pod, or it cannot be reached
 */
export async function qos({ settings }: StackFile, command: string, name?: string): Promise<QosAnswer> {
  const { name: pod } = choosePod(await stackPods(new Mesh(settings), settings), name);
  return forwarded(settings, pod, PROBE_PORT, async (address) => {
    const response = await fetch(`http://${address}/${command}`, { headers: { connection: "close" } });
    return { status: response.status, body: await response.text() };
  });
}
