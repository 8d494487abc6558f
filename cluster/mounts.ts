/** Mounts that a container, a builder or debootstrap left behind. */
import { readFileSync } from "node:fs";
import { execa } from "execa";

/** Unmounts whatever is mounted below the folders, the last one mounted first. Before their removal: it would go into the mounts. */
export async function unmountBelow(...folders: readonly string[]): Promise<void> {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const points = mounts.map((line) => line.split(" ")[4] ?? "").reverse();
  for (const point of points) {
    if (folders.some((folder) => point.startsWith(`${folder}/`))) await execa("umount", ["--lazy", point]);
  }
}
