import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import type { ImageBuild, ImageOptions } from "../apps/bundle.ts";
import { digestOf } from "../common/digest.ts";
import { UserError } from "../common/errors.ts";

const PROJECT = resolve(import.meta.dirname, "..");

/** Build context of an image, relative to the project. */
export interface BuildContext {
  readonly context: string;
  readonly dockerfile?: string | undefined;
}

/**
 * Returns the paths, modes and contents in a folder. They are sorted, so the result is the same on
 * every machine.
 */
function contentsOf(folder: string): (string | Uint8Array)[] {
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
  return paths.flatMap((path) => {
    const full = join(folder, path);
    const entry = lstatSync(full);
    if (entry.isDirectory()) return [];
    const content = entry.isSymbolicLink() ? readlinkSync(full) : readFileSync(full);
    return [path, entry.mode.toString(8), content];
  });
}

/**
 * Returns the build of a user's image. Its tag changes with every file in the folder.
 * @throws UserError if the folder or the Dockerfile cannot be read
 */
export function contextImage(
  { context, dockerfile }: BuildContext,
  { baseImage, platform }: ImageOptions,
): ImageBuild {
  const file = dockerfile ?? join(context, "Dockerfile");
  try {
    const contents = contentsOf(join(PROJECT, context));
    return {
      context,
      dockerfile: file,
      tag: digestOf([...contents, readFileSync(join(PROJECT, file)), baseImage, platform]),
    };
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UserError(
      `the image's build context ${context} cannot be read: ${code} ${path ?? ""}`,
      "Set build.context to a folder of the project, and build.dockerfile to a Dockerfile if it has none.",
      { cause: error },
    );
  }
}
