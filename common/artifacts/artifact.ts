/**
 * Artifacts: files and folders of the cache. Each has a key file that names its inputs. A changed
 * input rebuilds the artifact. It gets its final name last, so an interrupted run leaves no partial
 * artifact.
 */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { execaSync } from "execa";
import { step } from "../steps.ts";

/** One file or folder in the cache. */
export interface Artifact {
  readonly file: string;
  /** Digest of the inputs. */
  readonly key: string;
  readonly title: string;
  /** Disk space that the build needs in addition, GiB (default: 0). */
  readonly gib?: number;
  /** Creates the file or folder `to`; `scratch` is an empty folder. */
  readonly make: (to: string, scratch: string) => Promise<void>;
}

/** Returns the digest of a list of inputs. */
export function keyOf(...inputs: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(inputs)).digest("hex").slice(0, 16);
}

/** Reports whether the artifact is in the cache, built from the same inputs. */
export function isMade(artifact: Pick<Artifact, "file" | "key">): boolean {
  const keyFile = `${artifact.file}.key`;
  return existsSync(artifact.file) && existsSync(keyFile) && readFileSync(keyFile, "utf8") === artifact.key;
}

/** Builds the artifact unless it is in the cache. */
export async function makeArtifact(artifact: Artifact): Promise<void> {
  if (isMade(artifact)) return;
  await step(artifact.title, async () => {
    const folder = dirname(artifact.file);
    mkdirSync(folder, { recursive: true });
    for (const old of readdirSync(folder)) {
      // An interrupted run leaves such folders.
      if (old.startsWith(`${artifact.key}.tmp`)) removeScratch(join(folder, old));
    }
    const scratch = mkdtempSync(join(folder, `${artifact.key}.tmp`));
    try {
      await artifact.make(join(scratch, "made"), scratch);
      rmSync(`${artifact.file}.key`, { force: true });
      rmSync(artifact.file, { recursive: true, force: true });
      renameSync(join(scratch, "made"), artifact.file);
      writeFileSync(`${artifact.file}.key`, artifact.key);
    } finally {
      removeScratch(scratch);
    }
  });
}

/**
 * Removes a folder. Unmounts everything below it first, because an interrupted debootstrap leaves
 * mounts.
 */
function removeScratch(folder: string): void {
  const mounts = existsSync("/proc/self/mounts") ? readFileSync("/proc/self/mounts", "utf8").split("\n") : [];
  const below = mounts
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(`${folder}/`));
  for (const path of below.reverse()) execaSync("umount", ["--lazy", path]);
  rmSync(folder, { recursive: true, force: true });
}
