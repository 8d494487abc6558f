// Runs one preview of a new stack. bench/preview.ts writes the job to standard input and reads the
// figures from standard output.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { LocalWorkspace } from "@pulumi/pulumi/automation/index.js";
import { z } from "zod";
import { unchecked } from "../../stack/checks.ts";
import { findEngine } from "../../tools/engine/find.ts";
import { type KubernetesObject, kubernetesObject } from "../../common/kubernetes-object.ts";
import { type PreviewFigures, type PreviewJob, previewJob } from "./job.ts";

const objectList = z.array(kubernetesObject);

const savedPlan = z.object({
  resourcePlans: z.record(
    z.string(),
    z.object({
      goal: z
        .object({
          dependencies: z.array(z.string()).nullish(),
          propertyDependencies: z.record(z.string(), z.array(z.string()).nullable()).nullish(),
        })
        .nullish(),
    }),
  ),
});
type Plan = z.infer<typeof savedPlan>;

/** Object of the core group. The generic resource does not support this group. */
class CoreResource extends pulumi.CustomResource {}

/** Declares an object without a component and without dependencies. */
function declareBare(object: KubernetesObject, opts: pulumi.CustomResourceOptions): pulumi.Resource {
  const { apiVersion, kind, metadata } = object;
  const name = `${kind}-${metadata.name}`;
  if (apiVersion === "v1") return new CoreResource(`kubernetes:core/v1:${kind}`, name, object, opts);
  return new kubernetes.apiextensions.CustomResource(name, object, opts);
}

function programOf({ program, objects }: PreviewJob): () => Promise<Record<string, unknown>> {
  return async () => {
    if (program === "ours") return { ...(await (await import("../../index.ts")).default(unchecked)) };
    const context = "bench";
    const provider = new kubernetes.Provider("kubernetes", { context, clusterIdentifier: context });
    const list = objectList.parse(JSON.parse(readFileSync(objects, "utf8")));
    for (const object of list) declareBare(object, { provider });
    return {};
  };
}

function edgesOf({ resourcePlans }: Plan): number {
  const goals = Object.values(resourcePlans).map(({ goal }) => goal);
  return goals
    .flatMap((goal) => [goal?.dependencies, ...Object.values(goal?.propertyDependencies ?? {})])
    .reduce((total, urns) => total + (urns?.length ?? 0), 0);
}

async function preview(job: PreviewJob): Promise<PreviewFigures> {
  const { project, folder, config, env } = job;
  const { command, env: engine } = await findEngine();
  const stack = await LocalWorkspace.createOrSelectStack(
    { stackName: "bench", projectName: project, program: programOf(job) },
    { workDir: folder, pulumiCommand: command, envVars: { ...env, ...engine } },
  );
  const values = Object.entries(config).map(([key, value]) => [key, { value }] as const);
  await stack.setAllConfig(Object.fromEntries(values));
  const path = join(folder, "plan.json");
  const [start, cpuBefore] = [performance.now(), process.cpuUsage()];
  await stack.preview({ plan: path });
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const memory = process.resourceUsage().maxRSS / 1024;
  const text = readFileSync(path, "utf8");
  const plan = savedPlan.parse(JSON.parse(text));
  return {
    seconds,
    cpu: (user + system) / 1e6,
    memory,
    resources: Object.keys(plan.resourcePlans).length,
    edges: edgesOf(plan),
    bytes: Buffer.byteLength(text),
  };
}

const figures = await preview(previewJob.parse(JSON.parse(readFileSync(0, "utf8"))));
process.stdout.write(`${JSON.stringify(figures)}\n`);
