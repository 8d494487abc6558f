// Times a first preview of many services, and one of the same objects without components.
// Needs Pulumi's engine, but no cluster and no Docker.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { execa } from "execa";
import { reportError } from "../common/errors.ts";
import { step } from "../common/steps.ts";
import { toYaml } from "../common/yaml.ts";
import { PROJECT } from "../settings/settings.ts";
import { runProgram } from "../tools/engine/program.ts";
import { table } from "../tools/report.ts";
import { readStackFile } from "../stack/stack-file.ts";
import { type PreviewFigures, previewFigures, type PreviewJob } from "./preview/job.ts";

/** Highest ratio of the preview's time to that of the bare program. */
const GOAL = 1.2;
const SIZES = [50, 200, 500];

/** Figures of one number of services. */
interface Comparison {
  readonly services: number;
  readonly ours: PreviewFigures;
  readonly bare: PreviewFigures;
  /** Ratio of times, ours to bare. */
  readonly time: number;
  /** Ratio of Node.js memory, ours to bare. */
  readonly memory: number;
  readonly edgesPerService: number;
  readonly bytesPerService: number;
  readonly ok: boolean;
}

/** Returns the configuration of a chain: each service calls the previous one. */
function chain(count: number): Record<string, string> {
  const services = Array.from({ length: count }, (_, index) => ({
    name: `s${index}`,
    image: `registry.invalid/bench@sha256:${"0".repeat(64)}`,
    port: 50_052,
    offers: [`bench.S${index}`],
    calls: index === 0 ? [] : [`s${index - 1}`],
  }));
  return { [`${PROJECT}:context`]: "bench", [`${PROJECT}:services`]: JSON.stringify(services) };
}

/** Writes the objects of the stack to a file and returns its path. */
async function writeObjects(folder: string, config: Readonly<Record<string, string>>): Promise<string> {
  writeFileSync(join(folder, "Pulumi.bench.yaml"), toYaml({ config }));
  const { objects } = await runProgram(await readStackFile(folder, "bench"));
  const path = join(folder, "objects.json");
  writeFileSync(path, JSON.stringify(objects));
  return path;
}

/**
 * Returns variables with which the CLI previews a separate stack, with a plan and without a
 * cluster.
 */
function isolated(folder: string): Record<string, string> {
  return {
    PULUMI_BACKEND_URL: `file://${folder}`,
    PULUMI_CONFIG_PASSPHRASE: "",
    PULUMI_EXPERIMENTAL: "true",
    // The CLI serializes the state after each resource, also of a preview, which discards it.
    // Source: pulumi's pkg/backend/diy/backend.go, DiscardPersister
    PULUMI_SKIP_CHECKPOINTS: "true",
    PULUMI_SKIP_UPDATE_CHECK: "true",
    KUBECONFIG: join(folder, "kubeconfig"),
  };
}

async function measure(job: Omit<PreviewJob, "project" | "env">): Promise<PreviewFigures> {
  const { folder } = job;
  mkdirSync(folder);
  const input = JSON.stringify({ ...job, project: PROJECT, env: isolated(folder) });
  const script = join(import.meta.dirname, "preview/run.ts");
  const { stdout } = await execa(process.execPath, [script], { input, stderr: "inherit" });
  return previewFigures.parse(JSON.parse(stdout));
}

async function compare(services: number): Promise<Comparison> {
  const folder = mkdtempSync(join(tmpdir(), "dubbo-mesh-bench-"));
  try {
    const config = chain(services);
    const objects = await writeObjects(folder, config);
    const run = (program: PreviewJob["program"]): Promise<PreviewFigures> =>
      step(`preview of ${services} services, ${program}`, () =>
        measure({ program, folder: join(folder, program), objects, config }),
      );
    const bare = await run("bare");
    const ours = await run("ours");
    const [time, memory] = [ours.seconds / bare.seconds, ours.memory / bare.memory];
    return {
      ...{ services, ours, bare, time, memory },
      edgesPerService: ours.edges / services,
      bytesPerService: ours.bytes / services,
      ok: time <= GOAL && memory <= GOAL,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function rowsOf({ services, ours, bare, ...figures }: Comparison): string[][] {
  const { time, memory, edgesPerService, bytesPerService, ok } = figures;
  const own = (name: string, values: PreviewFigures): string[] => [
    `${services}, ${name}`,
    String(values.resources),
    ...[values.seconds, values.cpu, values.memory].map((value) => value.toFixed(1)),
  ];
  return [
    [...own("bare", bare), "", "", "", "", ""],
    [
      ...own("ours", ours),
      ...[time, memory].map((ratio) => ratio.toFixed(2)),
      ...[edgesPerService, bytesPerService].map((value) => value.toFixed(0)),
      ok ? "ok" : "MISSED",
    ],
  ];
}

const HEADER = [
  "services",
  "resources",
  "s",
  "CPU s",
  "MB",
  "time",
  "memory",
  "edges each",
  "bytes each",
  "",
];

async function main(sizes: readonly number[], json: boolean): Promise<void> {
  const results: Comparison[] = [];
  for (const size of sizes) results.push(await compare(size));
  const text = `${table([HEADER, ...results.flatMap(rowsOf)])}\ntime, memory: ours to bare (goal: at most ${GOAL})`;
  process.stdout.write(`${json ? JSON.stringify(results) : text}\n`);
  if (!results.every(({ ok }) => ok)) process.exitCode = 1;
}

function count(text: string, counts: readonly number[] | undefined): number[] {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError("it must be a whole number.");
  return [...(counts ?? []), Number(text)];
}

const json = process.argv.includes("--json");
await new Command("bench-preview")
  .description("time previews of many services; exit code 1 if a goal is missed")
  .argument("[services...]", `numbers of services (default: ${SIZES.join(", ")})`, count)
  .option("--json", "print one JSON array", false)
  .action((sizes: number[]) => main(sizes.length === 0 ? SIZES : sizes, json))
  .parseAsync()
  .catch((error: unknown) => {
    process.exitCode = reportError(error, json);
  });
