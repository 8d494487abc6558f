import { setTimeout as sleep } from "node:timers/promises";
import { step } from "../../../common/steps.ts";
import { Connection } from "./connection.ts";
import { type Command, type Memory, ServerProcess } from "./process.ts";
import {
  buildJava,
  BUNDLED,
  folderBytes,
  freePorts,
  java,
  javaBytes,
  nodeOptions,
  ours,
  type Ports,
  untilGreeted,
  untilListening,
} from "./providers.ts";
import { median } from "./statistics.ts";

/** One figure for both providers. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  readonly java: number;
  /** Our value divided by that of Java. */
  readonly ratio: number;
  /** Goal as text; empty without a goal. */
  readonly goal: string;
  /** True if the goal is met; undefined without a goal. */
  readonly ok: boolean | undefined;
}

/** Number of starts of each provider. */
const STARTS = 7;
/** Number of calls that count as cold, from the first one. */
const COLD_CALLS = 10_000;
/** Number of calls after which a provider counts as warm. */
const WARM_AFTER = 200_000;
/** Number of measured calls of a warm provider. */
const WARM_CALLS = 50_000;
/** Idle time before the memory of both providers is read, ms. */
const IDLE_MS = 10_000;
/** Number of concurrent unary calls, and of the connections that they share. */
const CONCURRENCY = 50;
const CONNECTIONS = 5;
/** Calls in each turn. The providers take turns, so that both see the same state of the machine. */
const TURN = 5000;

const MAX_START = 0.2;
const MAX_IDLE = 0.5;
const MAX_WARM_CPU = 1.5;
const MAX_BUNDLE_MB = 5;

/** A value for each provider. */
interface Pair<T> {
  readonly ours: T;
  readonly java: T;
}

const NAMES = ["ours", "java"] as const;
type Name = (typeof NAMES)[number];

function commandOf(name: Name, ports: Ports, node: string): Command {
  if (name === "java") return java(ports);
  const command = ours(ports);
  return { ...command, file: node, args: [...nodeOptions(node), ...command.args] };
}

/** Returns the time from the start of the process to its first greeting, ms. */
async function startTime(name: Name, node: string): Promise<number> {
  const ports = await freePorts();
  const command = commandOf(name, ports, node);
  const start = performance.now();
  const server = new ServerProcess(command, "none");
  try {
    await untilGreeted(ports.port, server);
    return performance.now() - start;
  } finally {
    await server.kill();
  }
}

async function startTimes(count: number, node: string): Promise<Pair<number[]>> {
  const times: Pair<number[]> = { ours: [], java: [] };
  for (let run = 0; run < count; run += 1) {
    for (const name of NAMES) times[name].push(await startTime(name, node));
  }
  return times;
}

/** Cost of a number of calls. */
interface Cost {
  readonly calls: number;
  /** CPU time of the server, s. */
  readonly cpu: number;
  /** Elapsed time, s. */
  readonly time: number;
}

const NOTHING: Cost = { calls: 0, cpu: 0, time: 0 };

function sum(a: Cost, b: Cost): Cost {
  return { calls: a.calls + b.calls, cpu: a.cpu + b.cpu, time: a.time + b.time };
}

/** A provider under load. */
class Loaded {
  readonly server: ServerProcess;
  readonly #connections: readonly Connection[];
  #calls = 0;

  constructor(server: ServerProcess, connections: readonly Connection[]) {
    this.server = server;
    this.#connections = connections;
  }

  /** Makes calls, {@link CONCURRENCY} at a time, and checks every reply. */
  async load(calls: number): Promise<Cost> {
    const end = this.#calls + calls;
    const worker = async (connection: Connection): Promise<void> => {
      while (this.#calls < end) {
        this.#calls += 1;
        await connection.greet(`service mesh ${this.#calls}`);
      }
    };
    const before = this.server.cpuSeconds();
    const start = performance.now();
    const perConnection = Array.from({ length: CONCURRENCY / CONNECTIONS });
    await Promise.all(this.#connections.flatMap((connection) => perConnection.map(() => worker(connection))));
    const time = (performance.now() - start) / 1000;
    return { calls, cpu: this.server.cpuSeconds() - before, time };
  }
}

/** Makes the calls on both providers in turns. */
async function inTurns(both: Pair<Loaded>, calls: number): Promise<Pair<Cost>> {
  const costs = { ours: NOTHING, java: NOTHING };
  for (let made = 0; made < calls; made += TURN) {
    const turn = Math.min(TURN, calls - made);
    for (const name of NAMES) costs[name] = sum(costs[name], await both[name].load(turn));
  }
  return costs;
}

function figure(name: string, unit: string, { ours, java }: Pair<number>, most?: number): Figure {
  const ratio = ours / java;
  const asked = most !== undefined && { goal: `ratio at most ${most}`, ok: ratio <= most };
  return { name, unit, ours, java, ratio, goal: "", ok: undefined, ...asked };
}

function both<T, U>(pair: Pair<T>, change: (value: T) => U): Pair<U> {
  return { ours: change(pair.ours), java: change(pair.java) };
}

const MB = 1_000_000;

function memoryFigures(when: string, memory: Pair<Memory>, most?: number): Figure[] {
  return [
    figure(
      `RSS, ${when}`,
      "MB",
      both(memory, ({ rss }) => rss / MB),
      most,
    ),
    figure(
      `PSS, ${when}`,
      "MB",
      both(memory, ({ pss }) => pss / MB),
    ),
    figure(
      `USS, ${when}`,
      "MB",
      both(memory, ({ uss }) => uss / MB),
    ),
  ];
}

function costFigures(when: string, cost: Pair<Cost>, most?: number): Figure[] {
  return [
    figure(
      `CPU a call, ${when}`,
      "us",
      both(cost, ({ cpu, calls }) => (cpu / calls) * 1e6),
      most,
    ),
    figure(
      `calls/s, ${when}`,
      "",
      both(cost, ({ calls, time }) => calls / time),
    ),
  ];
}

async function loadFigures(servers: Pair<ServerProcess>, ports: Pair<Ports>): Promise<Figure[]> {
  const idle = await step(`memory after ${IDLE_MS / 1000} s without a call`, async () => {
    await sleep(IDLE_MS);
    return both(servers, (server) => server.memory());
  });
  const connections: Connection[] = [];
  const loaded = async (name: Name): Promise<Loaded> => {
    const own = await Promise.all(
      Array.from({ length: CONNECTIONS }, () => Connection.open(ports[name].port)),
    );
    connections.push(...own);
    return new Loaded(servers[name], own);
  };
  try {
    const pair = { ours: await loaded("ours"), java: await loaded("java") };
    const coldCost = await step(`the first ${COLD_CALLS} calls of each`, () => inTurns(pair, COLD_CALLS));
    await step(`calls up to ${WARM_AFTER} of each`, () => inTurns(pair, WARM_AFTER - COLD_CALLS));
    const warmCost = await step(`${WARM_CALLS} calls of each after that`, () => inTurns(pair, WARM_CALLS));
    return [
      ...memoryFigures("idle", idle, MAX_IDLE),
      ...costFigures("cold", coldCost),
      ...costFigures("warm", warmCost, MAX_WARM_CPU),
      ...memoryFigures(
        "after the load",
        both(servers, (server) => server.memory()),
      ),
    ];
  } finally {
    for (const connection of connections) connection.close();
  }
}

async function underLoad(node: string): Promise<Figure[]> {
  const ports = { ours: await freePorts(), java: await freePorts() };
  const server = (name: Name): ServerProcess => new ServerProcess(commandOf(name, ports[name], node), "none");
  const servers = { ours: server("ours"), java: server("java") };
  try {
    for (const name of NAMES) await untilListening(ports[name].port, servers[name]);
    return await loadFigures(servers, ports);
  } finally {
    await Promise.all(NAMES.map((name) => servers[name].kill()));
  }
}

function bundleFigure(): Figure {
  const size = figure("application in the image", "MB", {
    ours: folderBytes(BUNDLED) / MB,
    java: javaBytes() / MB,
  });
  return { ...size, goal: `ours below ${MAX_BUNDLE_MB}`, ok: size.ours < MAX_BUNDLE_MB };
}

/**
 * Compares our provider with Java's in one run with one client: start, memory, CPU and size.
 * Both log every greeting to /dev/null. Java runs with the defaults of the JVM.
 * @param node path of the Node.js that runs our provider
 */
export async function compare(node: string): Promise<Figure[]> {
  await step("build both providers", async () => {
    await buildJava();
  });
  const times = await step(`${STARTS} starts of each`, () => startTimes(STARTS, node));
  return [
    figure("start to first reply, median", "ms", both(times, median), MAX_START),
    ...(await underLoad(node)),
    bundleFigure(),
  ];
}
