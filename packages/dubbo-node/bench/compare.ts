import { statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { step } from "../../../common/steps.ts";
import { Connection } from "./connection.ts";
import { type Command, type Memory, ServerProcess } from "./process.ts";
import {
  BARE,
  bare,
  buildBare,
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

/** One figure for all providers. */
export interface Figure extends Each<number> {
  readonly name: string;
  readonly unit: string;
  /** Our value divided by that of Java. */
  readonly toJava: number;
  /** Our value divided by that of the bare transport. */
  readonly toBare: number;
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
/** Idle time before the memory of the providers is read, ms. */
const IDLE_MS = 10_000;
/** Number of concurrent unary calls, and of the connections that they share. */
const CONCURRENCY = 50;
const CONNECTIONS = 5;
/** Calls in each turn. The providers take turns, so that all see the same state of the machine. */
const TURN = 5000;

const MAX_BUNDLE_MB = 5;

const NAMES = ["ours", "java", "bare"] as const;
type Name = (typeof NAMES)[number];
/** A value for each provider: ours, Java's, and our greeter on node:http2 without the SDK. */
type Each<T> = Readonly<Record<Name, T>>;

/** Goal for one of our figures: its largest ratio to that of another provider. */
interface Goal {
  readonly to: "java" | "bare";
  readonly most: number;
}

const GOALS = {
  start: { to: "java", most: 0.2 },
  idle: { to: "java", most: 0.5 },
  warmCpu: { to: "bare", most: 1.15 },
} as const satisfies Record<string, Goal>;

function commandOf(name: Name, ports: Ports, node: string): Command {
  if (name === "java") return java(ports);
  const command = name === "ours" ? ours(ports) : bare(ports);
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

async function startTimes(count: number, node: string): Promise<Each<number[]>> {
  const times: Each<number[]> = { ours: [], java: [], bare: [] };
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

/** Makes the calls on all providers in turns. */
async function inTurns(all: Each<Loaded>, calls: number): Promise<Each<Cost>> {
  const costs = { ours: NOTHING, java: NOTHING, bare: NOTHING };
  for (let made = 0; made < calls; made += TURN) {
    const turn = Math.min(TURN, calls - made);
    for (const name of NAMES) costs[name] = sum(costs[name], await all[name].load(turn));
  }
  return costs;
}

function figure(name: string, unit: string, values: Each<number>, goal?: Goal): Figure {
  const { ours, java, bare } = values;
  const asked = goal !== undefined && {
    goal: `at most ${goal.most} of ${goal.to}`,
    ok: ours / values[goal.to] <= goal.most,
  };
  return {
    name,
    unit,
    ...values,
    toJava: ours / java,
    toBare: ours / bare,
    goal: "",
    ok: undefined,
    ...asked,
  };
}

function each<T, U>(values: Each<T>, change: (value: T) => U): Each<U> {
  return { ours: change(values.ours), java: change(values.java), bare: change(values.bare) };
}

const MB = 1_000_000;

function memoryFigures(when: string, memory: Each<Memory>, goal?: Goal): Figure[] {
  return [
    figure(
      `RSS, ${when}`,
      "MB",
      each(memory, ({ rss }) => rss / MB),
      goal,
    ),
    figure(
      `PSS, ${when}`,
      "MB",
      each(memory, ({ pss }) => pss / MB),
    ),
    figure(
      `USS, ${when}`,
      "MB",
      each(memory, ({ uss }) => uss / MB),
    ),
  ];
}

function costFigures(when: string, cost: Each<Cost>, goal?: Goal): Figure[] {
  return [
    figure(
      `CPU a call, ${when}`,
      "us",
      each(cost, ({ cpu, calls }) => (cpu / calls) * 1e6),
      goal,
    ),
    figure(
      `calls/s, ${when}`,
      "",
      each(cost, ({ calls, time }) => calls / time),
    ),
  ];
}

async function loadFigures(servers: Each<ServerProcess>, ports: Each<Ports>): Promise<Figure[]> {
  const idle = await step(`memory after ${IDLE_MS / 1000} s without a call`, async () => {
    await sleep(IDLE_MS);
    return each(servers, (server) => server.memory());
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
    const all = { ours: await loaded("ours"), java: await loaded("java"), bare: await loaded("bare") };
    const coldCost = await step(`the first ${COLD_CALLS} calls of each`, () => inTurns(all, COLD_CALLS));
    await step(`calls up to ${WARM_AFTER} of each`, () => inTurns(all, WARM_AFTER - COLD_CALLS));
    const warmCost = await step(`${WARM_CALLS} calls of each after that`, () => inTurns(all, WARM_CALLS));
    return [
      ...memoryFigures("idle", idle, GOALS.idle),
      ...costFigures("cold", coldCost),
      ...costFigures("warm", warmCost, GOALS.warmCpu),
      ...memoryFigures(
        "after the load",
        each(servers, (server) => server.memory()),
      ),
    ];
  } finally {
    for (const connection of connections) connection.close();
  }
}

async function underLoad(node: string): Promise<Figure[]> {
  const ports = { ours: await freePorts(), java: await freePorts(), bare: await freePorts() };
  const server = (name: Name): ServerProcess => new ServerProcess(commandOf(name, ports[name], node), "none");
  const servers = { ours: server("ours"), java: server("java"), bare: server("bare") };
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
    bare: statSync(BARE).size / MB,
  });
  return { ...size, goal: `ours below ${MAX_BUNDLE_MB}`, ok: size.ours < MAX_BUNDLE_MB };
}

/**
 * Compares our provider with Java's and with the bare transport, in one run with one client: start,
 * memory, CPU and size. All log every greeting to /dev/null. Java runs with the defaults of the
 * JVM.
 * @param node path of the Node.js that runs our provider and the bare one
 */
export async function compare(node: string): Promise<Figure[]> {
  await step("build the providers", async () => {
    await buildJava();
    await buildBare();
  });
  const times = await step(`${STARTS} starts of each`, () => startTimes(STARTS, node));
  return [
    figure("start to first reply, median", "ms", each(times, median), GOALS.start),
    ...(await underLoad(node)),
    bundleFigure(),
  ];
}
