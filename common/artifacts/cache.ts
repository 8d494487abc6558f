/** The cache: files that all checkouts share. */
import { mkdirSync, statfsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { UserError } from "../errors.ts";

/** Returns root's cache folder, which the local cluster uses, or the user's. */
function cacheFolder(): string {
  return process.getuid?.() === 0 ? "/var/cache/dubbo-mesh" : join(homedir(), ".cache/dubbo-mesh");
}

/** Folder of the cache for binaries, images and the registry. `cluster down` keeps it. */
export const CACHE_DIR = process.env["DUBBO_MESH_CACHE"] ?? cacheFolder();

/** Returns the path of a binary in the cache. */
export function binaryPath(name: string): string {
  return join(CACHE_DIR, "bin", name);
}

/**
 * Checks that a disk has enough room.
 * @param neededGib required room, GiB
 * @param purpose work that needs the room, for the error
 * @throws UserError if there is too little room
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
    "Free some space there, or set DUBBO_MESH_CACHE to a folder on a larger disk.",
  );
}

/**
 * Checks that the disk of the cache has enough room to build artifacts.
 * @param spareGib additional room, GiB
 * @throws UserError if there is too little room
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
