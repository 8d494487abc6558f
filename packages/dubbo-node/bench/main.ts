// Measures our provider: compares it with Java's and with the bare transport, tests it under load
// and invalid input, and ends it during calls. Run by make bench-apps.
import { execFileSync, spawnSync } from "node:child_process";
import { Command, InvalidArgumentError, Option } from "commander";
import { reportError, UserError } from "../../../common/errors.ts";
import { table } from "../../../tools/report.ts";
import { compare, type Figure } from "./compare.ts";
import { type EnvoyDrill, envoyDrill } from "./envoy.ts";
import { FULL_SIZE, MAX_HEAP_GROWTH, type Robustness, robustness } from "./robustness.ts";

interface Options {
  readonly json: boolean;
  readonly minutes: number;
  readonly node: string;
}

/** Result of one part: as data, as text, and true if all goals are met. */
interface Result {
  readonly data: unknown;
  readonly text: string;
  readonly ok: boolean;
}

function decimals(value: number): string {
  return value.toFixed(value < 10 ? 2 : 0);
}

function verdict(ok: boolean | undefined): string {
  if (ok === undefined) return "";
  return ok ? "ok" : "MISSED";
}

function figureRow({ name, unit, ours, java, bare, toJava, toBare, goal, ok }: Figure): string[] {
  const label = unit === "" ? name : `${name}, ${unit}`;
  const values = [ours, java, bare].map(decimals);
  return [label, ...values, toJava.toFixed(2), toBare.toFixed(2), goal, verdict(ok)];
}

async function compared({ node }: Options): Promise<Result> {
  const figures = await compare(node);
  const rows = figures.map(figureRow);
  return {
    data: figures,
    text: table([["figure", "ours", "Java", "bare", "to Java", "to bare", "goal", ""], ...rows]),
    ok: figures.every(({ ok }) => ok !== false),
  };
}

function robustnessText({ scenarios, rounds, growth, ok }: Robustness): string {
  const memory = rounds.map(({ round, heapUsed, external, rss, peakRss }) => [
    round === 0 ? "after the warm-up" : `after round ${round}`,
    ...[heapUsed, external, rss, peakRss].map((value) => value.toFixed(1)),
  ]);
  return [
    table(Object.entries(scenarios)),
    table([["memory, MB", "heap", "external", "RSS", "most RSS"], ...memory]),
    `heap at most ${growth.toFixed(2)} times that of the warm-up (goal: at most ${MAX_HEAP_GROWTH}) ${verdict(ok)}`,
  ].join("\n\n");
}

async function tortured({ minutes, node }: Options): Promise<Result> {
  const seen = await robustness(minutes, { node });
  return { data: { size: FULL_SIZE, ...seen }, text: robustnessText(seen), ok: seen.ok };
}

function drillText(seen: EnvoyDrill): string {
  if ("skipped" in seen) return `SIGTERM behind Envoy: skipped, ${seen.skipped}`;
  const { tally, exit, shutdownWaitMs, outAfterMs, retries, answeredWhileLeaving, ok } = seen;
  const answered = Object.entries(tally.answered).map(([name, count]) => `${count} by the ${name} one`);
  return [
    `SIGTERM behind Envoy: ${tally.begun} calls begun, ${tally.failures.length} failed, answered ${answered.join(", ")}`,
    `Envoy took it out after ${outAfterMs === undefined ? "?" : Math.round(outAfterMs)} ms (it answered ${answeredWhileLeaving} calls meanwhile), ${retries} retries`,
    `it ended with code ${String(exit.code)} after ${Math.round(exit.ms)} ms (shutdown wait ${shutdownWaitMs} ms) ${verdict(ok)}`,
    ...new Set(tally.failures),
  ].join("\n");
}

async function drilled({ node }: Options): Promise<Result> {
  const seen = await envoyDrill(node);
  return { data: seen, text: drillText(seen), ok: "skipped" in seen || seen.ok };
}

const PARTS: Readonly<Record<string, (options: Options) => Promise<Result>>> = {
  compare: compared,
  robustness: tortured,
  drill: drilled,
};

const PART_NAMES = Object.keys(PARTS).join(", ");

/** Returns the first line of a program's version output. */
function version(file: string, flag: string): string {
  const { stdout, stderr } = spawnSync(file, [flag], { encoding: "utf8" });
  return `${stdout}${stderr}`.split("\n")[0] ?? "";
}

async function run(names: readonly string[], options: Options): Promise<void> {
  for (const name of names) {
    if (!Object.hasOwn(PARTS, name))
      throw new UserError(`there is no part ${name}`, `Name some of ${PART_NAMES}.`);
  }
  const versions = {
    node: execFileSync(options.node, ["--version"], { encoding: "utf8" }).trim(),
    java: version("java", "-version"),
  };
  const print = (text: string): unknown => options.json || process.stdout.write(`${text}\n\n`);
  print(`our provider on node ${versions.node}, Java's on ${versions.java}`);
  const parts: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(PARTS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const { data, text, ok } = await part(options);
    parts[name] = data;
    if (!ok) process.exitCode = 1;
    print(text);
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ versions, parts })}\n`);
}

function count(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError("it must be a number.");
  return Number(text);
}

const program = new Command("bench-apps")
  .description(
    "compare our provider with Java's: under load, abuse and SIGTERM; exit code 1 if a goal is missed",
  )
  .argument("[parts...]", `some of ${PART_NAMES} (default: all)`)
  .option("--json", "print one JSON object", false)
  .option("--minutes <n>", "robustness: time for which to repeat the scenarios, minutes", count, 0)
  .addOption(
    new Option("--node <path>", "Node.js that runs our provider").env("BENCH_NODE").default(process.execPath),
  )
  .action((names: string[], options: Options) => run(names, options));

const json = process.argv.includes("--json");
await program.parseAsync().catch((error: unknown) => {
  process.exitCode = reportError(error, json);
});
