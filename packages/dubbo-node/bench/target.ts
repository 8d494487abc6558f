import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { GreeterClient } from "./greeter.ts";
import { ServerProcess } from "./process.ts";
import { freePorts, ours, untilGreeted } from "./providers.ts";

/** What the kernel and the metrics may take to notice that callers have gone, ms. */
const SETTLE_MS = 10_000;

/** Our provider as the scenarios see it. */
export interface Target {
  readonly port: number;
  readonly qosPort: number;
  readonly server: ServerProcess;
  /** Major version of the node that it runs on. */
  readonly nodeMajor: number;
  /** Files that it has open without a connection. */
  readonly openFiles: number;
}

/** How much a scenario does. */
export interface Size {
  /** Streams open at a time. */
  readonly streams: number;
  /** Readers that stop reading. */
  readonly readers: number;
  /** Times that each kind of garbage is sent. */
  readonly garbage: number;
  /** Connections that are opened and dropped. */
  readonly connections: number;
}

/** What a provider must get through. */
export interface Scenario {
  readonly title: string;
  /** Does it, and returns what was seen, for people; throws where the provider is wrong. */
  run(target: Target, size: Size): Promise<string>;
}

/** How the provider is started. */
export interface TargetOptions {
  /** The node that runs it (default: this process's). */
  readonly node?: string;
}

function majorOf(node: string): number {
  return Number(execFileSync(node, ["--print", "process.versions.node"], { encoding: "utf8" }).split(".")[0]);
}

/** Looks until a number is small enough; returns the last one. */
async function settled(look: () => number | Promise<number>, most: number): Promise<number> {
  const end = performance.now() + SETTLE_MS;
  let found = await look();
  while (found > most && performance.now() < end) {
    await sleep(50);
    found = await look();
  }
  return found;
}

/** Starts our provider, with a heap that can be read. */
export async function startTarget({ node = process.execPath }: TargetOptions = {}): Promise<Target> {
  const ports = await freePorts();
  const server = ServerProcess.withHeap({ ...ours(ports), file: node });
  await untilGreeted(ports.port, server);
  // What was open for the first greeting is closed soon after.
  await sleep(500);
  return { ...ports, server, nodeMajor: majorOf(node), openFiles: server.openFiles() };
}

/** Calls that the provider counts as under way. */
async function underWay({ qosPort }: Target): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${qosPort}/metrics`, { headers: { connection: "close" } });
  const lines = (await response.text()).match(/^dubbo_provider_requests_processing_total\{.*$/gm) ?? [];
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/** Checks that the provider is well: it runs, it answers, it has written no complaint, and nothing is left over. */
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
  if (server.problems.length > 0) throw new Error(`logged: ${server.problems.slice(0, 5).join("\n")}`);
}

/** Runs tasks with at most so many under way at a time. */
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
