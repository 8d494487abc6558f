// Times Pulumi's engine on stack dev and a bare `kubectl apply` of the same objects, in turns.
// Needs a running local cluster without stack dev: make cluster-up down bench
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import type { Service } from "../settings/graph.ts";
import { step } from "../common/steps.ts";
import { Engine, engineEnvironment } from "../tools/engine/engine.ts";
import { type KubernetesObject } from "../common/kubernetes-object.ts";
import { runProgram } from "../tools/engine/program.ts";
import { firstReply, loggingConsumer } from "../tools/first-reply.ts";
import { replaced } from "../tools/golden.ts";
import { kubectl } from "../tools/kubectl.ts";
import { LiveMesh } from "../tools/mesh.ts";
import { table } from "../tools/report.ts";
import { readStackFile } from "../stack/stack-file.ts";

const ROUNDS = 3;
const SETTLE_MS = 30_000;

const file = await readStackFile(resolve(import.meta.dirname, ".."), "dev");
const { settings } = file;
const mesh = new LiveMesh(settings);
/** Options of plain `pulumi`, without this project's commands. */
const plain = { cwd: file.directory, env: await engineEnvironment(), stdin: "ignore" } as const;
const engine = await Engine.of(file);

function consumer(): Service {
  const found = loggingConsumer(file);
  if (found === undefined) throw new Error("the stack runs no consumer");
  return found;
}

/** Returns the stack's objects. Each image has the digest that the engine pushed. */
async function pushed(images: Readonly<Record<string, string>>): Promise<KubernetesObject[]> {
  const declared = await runProgram(file);
  const digests = declared.images.map(({ reference }) => {
    const repository = reference.slice(0, reference.lastIndexOf(":"));
    const digest = Object.values(images).find((image) => image.startsWith(`${repository}@`));
    if (digest === undefined) throw new Error(`${reference} has not been pushed`);
    return [reference, digest] as const;
  });
  return replaced([...declared.objects], new Map(digests));
}

const times = new Map<string, number[]>();

async function timed<T>(name: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const value = await step(name, work);
  times.set(name, [...(times.get(name) ?? []), (performance.now() - start) / 1000]);
  return value;
}

function median(name: string): number {
  const sorted = [...(times.get(name) ?? [])].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

const { outputs } = await engine.up();
const list = JSON.stringify({
  apiVersion: "v1",
  kind: "List",
  items: await pushed(outputs["images"] as Record<string, string>),
});
await engine.down();
for (let round = 1; round <= ROUNDS; round += 1) {
  await timed("kubectl apply, to the first reply", async () => {
    await kubectl(settings, ["apply", "--server-side", "-f", "-"], list);
    await firstReply(mesh, consumer());
  });
  await kubectl(settings, ["delete", "namespace", settings.namespace, "--wait"]);
  await timed("up from nothing, to the first reply", async () => {
    await engine.up();
    await firstReply(mesh, consumer());
  });
  // The new pods and their Envoys still use both cores for a while.
  await sleep(SETTLE_MS);
  await timed("pulumi preview, unchanged", () => execa("pulumi", ["preview", "--stack", file.stack], plain));
  await timed("make preview, unchanged", () => engine.preview());
  await timed("up, unchanged", () => engine.up());
  await timed("down", () => engine.down());
}

const drain = Math.max(...settings.services.map(({ drainSeconds }) => drainSeconds));
const ratio = median("up from nothing, to the first reply") / median("kubectl apply, to the first reply");
const goals = [
  ["up from nothing, times kubectl apply", ratio, 2.2],
  ["pulumi preview, unchanged, s", median("pulumi preview, unchanged"), 2.5],
  ["up, unchanged, s", median("up, unchanged"), 5],
  ["down, s", median("down"), drain + 10],
] as const;

function tables(): string {
  const rows = [...times].map(([name, values]) => [
    name,
    ...[Math.min(...values), median(name), Math.max(...values)].map((value) => value.toFixed(1)),
  ]);
  const goalRows = goals.map(([name, value, goal]) => [name, value.toFixed(2), goal.toFixed(1)]);
  return [
    table([["seconds", "min", "median", "max"], ...rows]),
    table([["goal", "measured", "at most"], ...goalRows]),
  ].join("\n\n");
}

const isJson = process.argv.includes("--json");
const result = { seconds: Object.fromEntries(times), goals };
process.stdout.write(`${isJson ? JSON.stringify(result) : tables()}\n`);
process.exitCode = goals.every(([, value, goal]) => value <= goal) ? 0 : 1;
