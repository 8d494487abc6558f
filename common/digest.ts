import { createHash } from "node:crypto";

/** A short digest of parts, each told from the next: 16 hexadecimal digits. */
export function digestOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest("hex").slice(0, 16);
}
