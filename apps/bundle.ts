import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { build, type BuildOptions } from "esbuild";
import { UserError } from "../common/errors.ts";
import { digestOf } from "../common/digest.ts";

/** Inputs of an image besides the application. */
export interface ImageOptions {
  /** Base image of the Dockerfile. */
  readonly baseImage: string;
  /** Operating system and architecture, such as `linux/amd64`. */
  readonly platform: string;
}

/** Build of an application's image; the paths are relative to the project. */
export interface ImageBuild {
  /** Folder with the files of the bundle only. */
  readonly context: string;
  readonly dockerfile: string;
  /** Tag that changes with every input of the image. */
  readonly tag: string;
}

const APPS = import.meta.dirname;
const PROJECT = dirname(APPS);
const DOCKERFILE = join(APPS, "Dockerfile");

/**
 * Defines `require`, by which CommonJS libraries in the bundle load the modules of Node.js. An ES
 * module has none. The alias avoids a clash with a name in the bundle.
 */
const REQUIRE = `import{createRequire as requireOf}from"node:module";const require=requireOf(import.meta.url);`;

/**
 * Options of esbuild for an application and its imports, as one module for the Node.js of the
 * image.
 */
export const BUNDLE = {
  bundle: true,
  platform: "node",
  target: "node22",
  format: "esm",
  banner: { js: REQUIRE },
  // The bundle must not depend on a tsconfig.json above the checkout.
  tsconfigRaw: {},
  logLevel: "silent",
} satisfies BuildOptions;

/** Returns the package folder of a file; undefined for a file of this project. */
function packageFolder(input: string): string | undefined {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
}

/** Returns the copyright comment at the start of a source file. */
function copyright(file: string): string {
  const comment = /^(\/\/.*\n)+/.exec(readFileSync(file, "utf8"))?.[0] ?? "";
  return comment.includes("Copyright") ? comment.replace(/^\/\/ ?/gm, "").trim() : "";
}

/**
 * Returns the texts that the licence of a package requires.
 * These are its licence files or, without any, the copyright comments in its sources.
 */
function licence(folder: string, sources: readonly string[]): string {
  const manifest: unknown = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const { name, version, license } = manifest as Record<"name" | "version" | "license", string>;
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|notice)/i.test(file));
  const texts = files.map((file) => readFileSync(join(folder, file), "utf8").trim());
  const found = new Set(texts.length > 0 ? texts : sources.map(copyright).filter((text) => text !== ""));
  return [`${name} ${version}, ${license}`, ...[...found].sort()].join("\n\n");
}

/** Returns the licences of the packages that contain these files. */
function licences(inputs: readonly string[]): string {
  const folders = new Set(inputs.map(packageFolder).filter((folder) => folder !== undefined));
  const texts = [...folders].map((folder) => {
    const sources = inputs.filter((input) => packageFolder(input) === folder);
    return licence(
      join(APPS, folder),
      sources.map((source) => join(APPS, source)),
    );
  });
  return `main.mjs contains these packages.\n\n${texts.sort().join(`\n\n${"-".repeat(80)}\n\n`)}\n`;
}

async function bundle(application: string): Promise<Record<string, Uint8Array>> {
  const { outputFiles, metafile } = await build({
    ...BUNDLE,
    absWorkingDir: APPS,
    entryPoints: [`${application}/main.ts`],
    minify: true,
    legalComments: "none",
    metafile: true,
    write: false,
    outfile: "main.mjs",
  });
  const [main] = outputFiles;
  if (main === undefined) throw new Error(`esbuild produced no output for ${application}`);
  return { "main.mjs": main.contents, "LICENCES.txt": Buffer.from(licences(Object.keys(metafile.inputs))) };
}

function differs(path: string, content: Uint8Array): boolean {
  try {
    return !readFileSync(path).equals(content);
  } catch {
    return true;
  }
}

/**
 * Makes a folder hold exactly these files, readable by every user.
 * Only different files are written. A new file appears complete, so that several processes may run
 * at the same time.
 */
function fill(folder: string, files: Readonly<Record<string, Uint8Array>>): void {
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder)) {
    if (!Object.hasOwn(files, name)) rmSync(join(folder, name), { recursive: true, force: true });
  }
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    if (!differs(path, content)) continue;
    const unfinished = `${folder}-${name}.${process.pid}`;
    writeFileSync(unfinished, content);
    chmodSync(unfinished, 0o644);
    renameSync(unfinished, path);
  }
}

/**
 * Bundles an application into the build context of its image, `apps/dist/<application>`.
 * An application is a folder beside this file with a `main.ts`. The same sources give the same
 * bytes in every checkout. Unchanged files are not written.
 * @throws UserError if there is no such application
 * @throws BuildFailure of esbuild, which names file and line
 */
export async function bundleApplication(application: string, options: ImageOptions): Promise<ImageBuild> {
  if (!existsSync(join(APPS, application, "main.ts"))) {
    throw new UserError(
      `there is no application apps/${application}: main.ts is missing`,
      "Write it as apps/README.md describes, or set app to an existing folder of apps/.",
    );
  }
  const context = join(APPS, "dist", application);
  const files = await bundle(application);
  fill(context, files);
  return {
    context: relative(PROJECT, context),
    dockerfile: relative(PROJECT, DOCKERFILE),
    tag: digestOf([...Object.values(files), readFileSync(DOCKERFILE), options.baseImage, options.platform]),
  };
}
