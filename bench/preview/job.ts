import { z } from "zod";

/** Preview to run: the standard input of run.ts. */
export const previewJob = z.object({
  /** The project's program, or one that declares the same objects without components. */
  program: z.enum(["ours", "bare"]),
  project: z.string(),
  /** Empty folder for the state and the plan. */
  folder: z.string(),
  /** Path of the stack's objects, as a JSON list. */
  objects: z.string(),
  /** The stack's configuration by full key. */
  config: z.record(z.string(), z.string()),
  /** Variables for the CLI. */
  env: z.record(z.string(), z.string()),
});
export type PreviewJob = z.infer<typeof previewJob>;

/** Figures of one preview. */
export const previewFigures = z.object({
  /** Time of the CLI from its start to its end, seconds. */
  seconds: z.number(),
  /** CPU time of the program's Node.js, seconds. */
  cpu: z.number(),
  /** Largest memory of the program's Node.js, MB. */
  memory: z.number(),
  resources: z.number(),
  /** Dependencies in the plan, of resources and of their properties. */
  edges: z.number(),
  /** Size of the plan, bytes. */
  bytes: z.number(),
});
export type PreviewFigures = z.infer<typeof previewFigures>;
