import { createHash } from "node:crypto";
import { z } from "zod";

/** What came of one scenario, in the form in which the Java consumer prints it. */
export const report = z.object({
  scenario: z.string(),
  outcome: z.enum(["ok", "error"]),
  reply: z.unknown().optional(),
  code: z.string().optional(),
  message: z.string().nullish(),
  attachments: z.record(z.string(), z.unknown()),
});

/** What came of one scenario. */
export type Report = z.infer<typeof report>;

/** Long texts by length and digest. */
export function summary(text: string): unknown {
  if (text.length <= 1000) return text;
  return { length: text.length, sha256: createHash("sha256").update(text).digest("hex") };
}

/** A greeting without what differs from run to run: the provider's suffix of its version, and its address. */
function withoutAddress(text: string): string {
  return text.replace(/provider(-v1)?: [\d.]+:\d+,/, "provider: ADDRESS,");
}

/** A report as it is compared. The time that a deadline's message names differs, so its message is left out. */
export function comparable({ scenario, outcome, reply, code, message, attachments }: Report): object {
  if (outcome === "error") {
    return { outcome, code, ...(scenario !== "deadline" && { message }), attachments };
  }
  return { outcome, reply: typeof reply === "string" ? withoutAddress(reply) : reply, attachments };
}
