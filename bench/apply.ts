// From the first object sent to the consumer's first reply: the kubectl engine beside a bare `kubectl apply` of the same objects,
// in turns, in one run. Needs a local cluster that is up: make cluster-up bench
import { resolve } from "node:path";
import type { Service } from "../lib/graph.ts";
import { step } from "../lib/steps.ts";
import type { Settings } from "../settings.ts";
import { buildAndPush } from "../tools/engine/images.ts";
import { KubectlEngine, withDigests } from "../tools/engine/kubectl.ts";
import { type KubernetesObject, runProgram } from "../tools/engine/program.ts";
import { firstReply, loggingConsumer } from "../tools/first-reply.ts";
import { kubectl } from "../tools/kubectl.ts";
import { Mesh } from "../tools/mesh.ts";
import { table } from "../tools/report.ts";
import { readStackFile } from "../tools/stack-file.ts";

const ROUNDS = 5;
/** The most that the kubectl engine may take, as a ratio to the bare apply. */
const GOAL = 1.2;

const file = await readStackFile(resolve(import.meta.dirname, ".."), "dev");
const { settings } = file;
const mesh = new Mesh(settings);
const engine = new KubectlEngine(file);

async function pushed(): Promise<KubernetesObject[]> {
  const { objects, images } = await runProgram(file);
  const digests = new Map<unknown, string>();
  for (const image of images) {
    digests.set(image.reference, await buildAndPush(image, file.directory, settings.dockerHost));
  }
  return withDigests([...objects], digests);
}

function consumerOf({ services }: Settings): Service {
  const consumer = loggingConsumer(services);
  if (consumer === undefined) throw new Error("the stack runs no consumer");
  return consumer;
}

async function secondsToReply(title: string, apply: () => Promise<unknown>): Promise<number> {
  await kubectl(settings, ["delete", "namespace", settings.namespace, "--ignore-not-found", "--wait"]);
  const start = performance.now();
  await step(title, async () => {
    await apply();
    await firstReply(mesh, consumerOf(settings));
  });
  return (performance.now() - start) / 1000;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const objects = await pushed();
const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
const bare: number[] = [];
const ours: number[] = [];
for (let round = 1; round <= ROUNDS; round += 1) {
  bare.push(
    await secondsToReply(`bare apply, round ${round}`, () =>
      kubectl(settings, ["apply", "--server-side", "-f", "-"], list),
    ),
  );
  ours.push(await secondsToReply(`kubectl engine, round ${round}`, () => engine.apply(objects)));
}
const row = (name: string, values: readonly number[]): string[] => [
  name,
  ...[Math.min(...values), median(values), Math.max(...values)].map((value) => value.toFixed(1)),
];
const ratio = median(ours) / median(bare);
process.stdout.write(
  `${table([["seconds", "min", "median", "max"], row("bare kubectl apply", bare), row("kubectl engine", ours)])}\n`,
);
process.stdout.write(`ratio of the medians: ${ratio.toFixed(2)} (goal: at most ${GOAL})\n`);
process.exitCode = ratio <= 2 * GOAL ? 0 : 1;
