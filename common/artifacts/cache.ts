/** The cache: what is made once for all checkouts. */
import { mkdirSync, statfsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { UserError } from "../errors.ts";

/** Folder of root's cache, which the local cluster uses, or of the user's own. */
function cacheFolder(): string {
  return process.getuid?.() === 0 ? "/var/cache/dubbo-mesh" : join(homedir(), ".cache/dubbo-mesh");
}

/** Binaries, images, registry: kept by `cluster down`. */
export const CACHE_DIR = process.env["DUBBO_MESH_CACHE"] ?? cacheFolder();

/** A binary in the cache. */
export function binaryPath(name: string): string {
  return join(CACHE_DIR, "bin", name);
}

/**
 * Refuses a disk with too little room.
 * @param neededGib room that is needed, GiB
 * @param purpose work that needs it, for the error
 */
export function checkDisk(
  disk: { readonly path: string; readonly freeBytes: number },
  neededGib: number,
  purpose: string,
): void {
  const freeGib = disk.freeBytes / 1024 ** 3;
  if (freeGib >= neededGib) return;
  throw new UserError(
    `${disk.path} has ${freeGib.toFixed(1)} GiB free, ${purpose} needs ${neededGib.toFixed(1)} GiB`,
    "free some room there, or set DUBBO_MESH_CACHE to a folder on a larger disk",
  );
}

/**
 * Refuses a cache on a disk with too little room for making artifacts.
 * @param spareGib further room that is needed, GiB
 */
export function requireRoom(
  artifacts: readonly { readonly gib?: number }[],
  purpose: string,
  spareGib = 0,
): void {
  mkdirSync(CACHE_DIR, { recursive: true });
  const { bavail, bsize } = statfsSync(CACHE_DIR);
  const neededGib = artifacts.reduce((sum, { gib = 0 }) => sum + gib, spareGib);
  checkDisk({ path: CACHE_DIR, freeBytes: bavail * bsize }, neededGib, purpose);
}
