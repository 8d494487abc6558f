import { z } from "zod";

/** How many pods run, by their load. */
export const autoscaleSettings = z
  .strictObject({
    min: z.int().min(1).max(1000).describe("pods at least"),
    max: z.int().min(1).max(1000).describe("pods at most"),
    cpu: z
      .int()
      .min(1)
      .max(1000)
      .describe("CPU that the application's container is to use, percent of its request"),
  })
  .refine(({ min, max }) => min <= max, { path: ["max"], error: "must be min or more" });

/** How many pods of a Deployment run: a number, or as many as their load takes. */
export interface Scale {
  /** Pods; undefined where they are scaled. */
  replicas?: number | undefined;
  /** How they are scaled; needs the cluster's metrics server. */
  autoscale?: z.infer<typeof autoscaleSettings> | undefined;
}

/** Pods that run at least. */
export function fewest({ replicas, autoscale }: Scale): number {
  return autoscale?.min ?? replicas ?? 0;
}

/** Pods that may run. */
export function most({ replicas, autoscale }: Scale): number {
  return autoscale?.max ?? replicas ?? 0;
}

/** The keys of a scale, where the stack gives one or the other; `usual` says how many pods where it gives none. */
export function scaleKeys(usual: number | string): {
  replicas: z.ZodOptional<z.ZodInt>;
  autoscale: z.ZodOptional<typeof autoscaleSettings>;
} {
  return {
    replicas: z.int().min(0).max(1000).optional().describe(`pods (default: ${usual})`),
    autoscale: autoscaleSettings.optional().describe("pods by CPU, in place of replicas: min, max, cpu"),
  };
}

/** Refuses a number of pods beside a scale. */
export function oneScale({ replicas, autoscale }: Scale, context: z.RefinementCtx): void {
  if (replicas === undefined || autoscale === undefined) return;
  context.addIssue({
    code: "custom",
    path: ["replicas"],
    message: "is set beside autoscale, which decides on it",
  });
}

/** The same settings with `usual` pods where they name none. */
export function withPods<T extends Scale>(given: T, usual: number): T {
  return given.autoscale === undefined ? { ...given, replicas: given.replicas ?? usual } : given;
}
