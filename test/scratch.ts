import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Creates the folder of a test run's temporary files, also of its commands. It is removed when this
 * process ends.
 */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "dubbo-mesh-tests-"));
  // Some tests run commands as another user.
  chmodSync(folder, 0o755);
  process.env["TMPDIR"] = folder;
  process.once("exit", () => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}
