/**
 * Compiles the library into dist/: JavaScript with esbuild, types with tsc. npm runs this script
 * before it packs.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { execa } from "execa";
import manifest from "./package.json" with { type: "json" };

const FOLDER = import.meta.dirname;
const DIST = join(FOLDER, "dist");

rmSync(DIST, { recursive: true, force: true });
await build({
  absWorkingDir: FOLDER,
  entryPoints: ["index.ts", "image.ts", "provider.ts"],
  outdir: DIST,
  bundle: true,
  // Entries that export the same class must share one copy of it.
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node22",
  external: [...Object.keys(manifest.dependencies), "@pulumi/docker"],
});
await execa("tsc", ["--project", FOLDER], { preferLocal: true, stdio: "inherit" });
