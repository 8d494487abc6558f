import { createHash } from "node:crypto";

/**
 * Returns a short digest of parts: 16 hexadecimal digits. The boundaries between the parts count.
 */
export function digestOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest("hex").slice(0, 16);
}
