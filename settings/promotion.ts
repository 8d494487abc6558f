import { z } from "zod";
import { duration } from "./duration.ts";

function ascend(steps: readonly number[]): boolean {
  return steps.every((step, index) => step > (steps[index - 1] ?? 0));
}

/** Steps and bounds of `make promote` in a stack. */
export const promotionSettings = z
  .strictObject({
    steps: z
      .array(z.int().min(1).max(100))
      .min(1)
      .refine(ascend, "must be in ascending order, each once")
      .default([5, 25, 50, 100])
      .describe("weights that the version gets in turn, percent"),
    calls: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(20)
      .describe("calls that the version must answer before a step can hold"),
    minSuccess: z
      .number()
      .min(0)
      .max(100)
      .default(95)
      .describe(
        "lowest success rate of its tries, percent; below 100, `calls` must be large enough for one failure",
      ),
    maxAddedLatency: duration
      .default("0.1s")
      .describe(
        "most time that its p50 may exceed that of the replaced versions by; from 500 calls on, its p99 too",
      ),
  })
  .superRefine(({ calls, minSuccess }, context) => {
    if (minSuccess === 100) return;
    // 100 - 99.9 is a little less than 0.1.
    const needed = Math.ceil(100 / (100 - minSuccess) - 1e-6);
    if (calls >= needed) return;
    const message = `allows no failure in ${calls} calls: set calls to ${needed} or more, or minSuccess to 100`;
    context.addIssue({ code: "custom", path: ["minSuccess"], message });
  });

/** Steps and bounds of `make promote`, after defaults. */
export type PromotionSettings = z.infer<typeof promotionSettings>;

/** Steps and bounds of a service that sets none. They suit the sample: one call a second. */
export const DEFAULT_PROMOTION: PromotionSettings = promotionSettings.parse({});
