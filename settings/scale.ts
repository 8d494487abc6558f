import { z } from "zod";

/** Bounds and CPU target of a HorizontalPodAutoscaler. */
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

/** Scale of a Deployment: a fixed number of pods, or an autoscaler. */
export interface Scale {
  /** Number of pods; undefined with an autoscaler. */
  replicas?: number | undefined;
  /** Autoscaler. It needs the cluster's metrics server. */
  autoscale?: z.infer<typeof autoscaleSettings> | undefined;
}

/** Returns the smallest number of pods. */
export function fewest({ replicas, autoscale }: Scale): number {
  return autoscale?.min ?? replicas ?? 0;
}

/** Returns the largest number of pods. */
export function most({ replicas, autoscale }: Scale): number {
  return autoscale?.max ?? replicas ?? 0;
}

/**
 * Returns the keys of a scale.
 * @param usual default number of pods, for the description
 */
export function scaleKeys(usual: number | string): {
  replicas: z.ZodOptional<z.ZodInt>;
  autoscale: z.ZodOptional<typeof autoscaleSettings>;
} {
  return {
    replicas: z.int().min(0).max(1000).optional().describe(`pods (default: ${usual})`),
    autoscale: autoscaleSettings.optional().describe("pods by CPU, in place of replicas: min, max, cpu"),
  };
}

/** Rejects `replicas` beside `autoscale`. */
export function rejectTwoScales({ replicas, autoscale }: Scale, context: z.RefinementCtx): void {
  if (replicas === undefined || autoscale === undefined) return;
  context.addIssue({
    code: "custom",
    path: ["replicas"],
    message: "is set beside autoscale, which decides on it",
  });
}

/** Sets `replicas` to `usual` if the scale is empty. */
export function withPods<T extends Scale>(given: T, usual: number): T {
  return given.autoscale === undefined ? { ...given, replicas: given.replicas ?? usual } : given;
}
