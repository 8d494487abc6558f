import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { GreeterClient } from "./greeter.ts";
import { ServerProcess } from "./process.ts";
import { freePorts, ours, untilGreeted } from "./providers.ts";

/** Time in which kernel and metrics must notice that the callers are gone, ms. */
const SETTLE_MS = 10_000;

/** Our provider, as the scenarios use it. */
export interface Target {
  readonly port: number;
  readonly qosPort: number;
  readonly server: ServerProcess;
  /** Major version of the Node.js that runs the provider. */
  readonly nodeMajor: number;
  /** Number of open files without a connection. */
  readonly openFiles: number;
}

/** Size of a scenario. */
export interface Size {
  /** Number of concurrent streams. */
  readonly streams: number;
  /** Number of readers that stop reading. */
  readonly readers: number;
  /** Repetitions of each kind of garbage. */
  readonly garbage: number;
  /** Number of connections to open and drop. */
  readonly connections: number;
}

/** A load or an abuse that a provider must survive. */
export interface Scenario {
  readonly title: string;
  /**
   * Runs the scenario, and returns its findings as text.
   * @throws Error if the provider fails
   */
  run(target: Target, size: Size): Promise<string>;
}

/** Options of the provider's start. */
export interface TargetOptions {
  /** Path of the Node.js that runs the provider (default: that of this process). */
  readonly node?: string;
}

function majorOf(node: string): number {
  return Number(execFileSync(node, ["--print", "process.versions.node"], { encoding: "utf8" }).split(".")[0]);
}

/** Polls a number until it is at most `most` or the time is over. Returns the last value. */
async function settled(look: () => number | Promise<number>, most: number): Promise<number> {
  const end = performance.now() + SETTLE_MS;
  let found = await look();
  while (found > most && performance.now() < end) {
    await sleep(50);
    found = await look();
  }
  return found;
}

/** Starts our provider with a readable heap. */
export async function startTarget({ node = process.execPath }: TargetOptions = {}): Promise<Target> {
  const ports = await freePorts();
  const server = ServerProcess.withHeap({ ...ours(ports), file: node });
  await untilGreeted(ports.port, server);
  // Files that the first greeting opens are closed soon after it.
  await sleep(500);
  return { ...ports, server, nodeMajor: majorOf(node), openFiles: server.openFiles() };
}

/** Returns the number of calls that the provider counts as in flight. */
async function underWay({ qosPort }: Target): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${qosPort}/metrics`, { headers: { connection: "close" } });
  const lines = (await response.text()).match(/^dubbo_provider_requests_processing_total\{.*$/gm) ?? [];
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/**
 * Checks the provider: it runs, answers, logs no problem, and has no open calls and no more open
 * files than at its start.
 */
export async function checkWell(target: Target): Promise<void> {
  const { server, port } = target;
  const client = new GreeterClient(port);
  try {
    await client.greet("still there?");
  } finally {
    client.close();
  }
  const calls = await settled(() => underWay(target), 0);
  if (calls !== 0)
    throw new Error(`${calls} calls are counted as under way ${SETTLE_MS} ms after they have ended`);
  const files = await settled(() => server.openFiles(), target.openFiles);
  if (files > target.openFiles)
    throw new Error(`${files} files are open, ${target.openFiles} were at the start`);
  if (server.ended) throw new Error("the provider has ended");
  if (server.stderr !== "") throw new Error(`on standard error: ${server.stderr}`);
  // Warnings about connections that send garbage are expected.
  const problems = server.problems.filter((line) => !line.includes("connection of 127.0.0.1: "));
  if (problems.length > 0) throw new Error(`logged: ${problems.slice(0, 5).join("\n")}`);
}

/** Runs tasks, at most `most` at a time. */
export async function inParallel(
  count: number,
  most: number,
  task: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      next += 1;
      await task(next - 1);
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, most) }, worker));
}
