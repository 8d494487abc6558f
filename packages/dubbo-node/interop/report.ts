import { createHash } from "node:crypto";
import { z } from "zod";

/** Schema of the result of one scenario, as the Java consumer prints it. */
export const report = z.object({
  scenario: z.string(),
  outcome: z.enum(["ok", "error"]),
  reply: z.unknown().optional(),
  code: z.string().optional(),
  message: z.string().nullish(),
  attachments: z.record(z.string(), z.unknown()),
});

/** Result of one scenario. */
export type Report = z.infer<typeof report>;

/** Replaces a long text by its length and digest. */
export function summary(text: string): unknown {
  if (text.length <= 1000) return text;
  return { length: text.length, sha256: createHash("sha256").update(text).digest("hex") };
}

/**
 * Removes the parts of a greeting that differ between runs: the version suffix and the address of
 * the provider.
 */
function withoutAddress(text: string): string {
  return text.replace(/provider(-v1)?: [\d.]+:\d+,/, "provider: ADDRESS,");
}

/**
 * Returns the parts of a report that are compared.
 * The message of an expired deadline is left out, because it contains a time.
 */
export function comparable({ scenario, outcome, reply, code, message, attachments }: Report): object {
  if (outcome === "error") {
    return { outcome, code, ...(scenario !== "deadline" && { message }), attachments };
  }
  return { outcome, reply: typeof reply === "string" ? withoutAddress(reply) : reply, attachments };
}
