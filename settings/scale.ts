import { z } from "zod";

/** Bounds and CPU target of a HorizontalPodAutoscaler. */
export const autoscaleSettings = z
  .strictObject({
    min: z.int().min(1).max(1000).describe("minimum number of pods"),
    max: z.int().min(1).max(1000).describe("maximum number of pods"),
    cpu: z
      .int()
      .min(1)
      .max(1000)
      .describe("target CPU use of the application's container, percent of its request"),
  })
  .refine(({ min, max }) => min <= max, { path: ["max"], error: "must not be less than min" });

/** Scale of a Deployment: a fixed number of pods, or an autoscaler. */
export interface Scale {
  /** Number of pods; undefined with an autoscaler. */
  replicas?: number | undefined;
  /** Autoscaler. It needs the cluster's metrics server. */
  autoscale?: z.infer<typeof autoscaleSettings> | undefined;
}

/** Returns the smallest number of pods. */
export function minReplicas({ replicas, autoscale }: Scale): number {
  return autoscale?.min ?? replicas ?? 0;
}

/** Returns the largest number of pods. */
export function maxReplicas({ replicas, autoscale }: Scale): number {
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
    replicas: z.int().min(0).max(1000).optional().describe(`number of pods (default: ${usual})`),
    autoscale: autoscaleSettings
      .optional()
      .describe("number of pods by CPU use, instead of replicas: min, max, cpu"),
  };
}

/** Rejects `replicas` beside `autoscale`. */
export function rejectTwoScales({ replicas, autoscale }: Scale, context: z.RefinementCtx): void {
  if (replicas === undefined || autoscale === undefined) return;
  context.addIssue({
    code: "custom",
    path: ["replicas"],
    message: "cannot be set together with autoscale, which sets the number of pods",
  });
}

/** Sets `replicas` to `usual` if the scale is empty. */
export function withDefaultReplicas<T extends Scale>(given: T, usual: number): T {
  return given.autoscale === undefined ? { ...given, replicas: given.replicas ?? usual } : given;
}
