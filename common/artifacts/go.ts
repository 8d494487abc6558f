/** Go programs, built from modules that a go.mod of this project pins. */
import { copyFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { UserError } from "../errors.ts";
import { type Artifact, keyOf } from "./artifact.ts";
import { binaryPath } from "./cache.ts";
import { fetching } from "./fetch.ts";

/** Oldest Go that builds the modules: the `go` line of their go.mod files. */
export const MIN_GO = "1.26";

/** A program that Go builds from pinned modules. */
export interface GoBinary {
  readonly name: string;
  /** Folder of the go.mod that pins the program. */
  readonly folder: string;
  readonly package: string;
  /** Values of string variables, by their full names (default: none). */
  readonly variables?: Readonly<Record<string, string>>;
  /** More flags of `go build` (default: none). */
  readonly flags?: readonly string[];
  /** Writes files for the sources' go:embed directives into a copy of `folder`. */
  readonly embed?: (copy: string) => Promise<void>;
  /** Build time on two idle cores, for the title. */
  readonly minutes: string;
  /** Disk space that the build takes in Go's caches, GiB. */
  readonly gib: number;
}

/** Compiles without debug information, an eighth faster. The linker would omit it anyway. */
const NO_DEBUG = "-dwarf=false";

/**
 * Returns a flag of `go build` for packages below a path that run little: it compiles them without
 * optimizations, in half the time.
 */
export function unoptimized(path: string): string {
  return `-gcflags=${path}/...=${NO_DEBUG} -N -l`;
}

function goSources(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return files.filter((name) => name === "go.mod" || name === "go.sum" || name.endsWith(".go"));
}

async function goProxy(): Promise<string> {
  const { stdout } = await execa("go", ["env", "GOPROXY"], { reject: false });
  return `the Go module proxy (${stdout})`;
}

/** Returns a Go program as a static binary, which also runs on other distributions. */
export function goArtifact({ folder, variables = {}, flags = [], embed, ...binary }: GoBinary): Artifact {
  const variableFlags = Object.entries(variables).map(([name, value]) => `-X ${name}=${value}`);
  const linking = ["-s", "-w", ...variableFlags].join(" ");
  const compiling = [`-gcflags=all=${NO_DEBUG}`, ...flags];
  const sources = goSources(folder).sort();
  const texts = sources.map((name) => readFileSync(join(folder, name), "utf8"));
  return {
    file: binaryPath(binary.name),
    key: keyOf("go", linking, ...compiling, binary.package, ...texts),
    title: `build ${binary.name} with Go (${binary.minutes} the first time)`,
    gib: binary.gib,
    make: async (to, scratch) => {
      const options = ["-trimpath", "-buildvcs=false", "-ldflags", linking, ...compiling, "-o", to];
      const command = ["go", "build", ...options, binary.package] as const;
      if (embed !== undefined) {
        for (const name of sources) copyFileSync(join(folder, name), join(scratch, name));
        await embed(scratch);
      }
      const cwd = embed === undefined ? folder : scratch;
      await fetching({ registry: await goProxy(), command, cwd, env: { CGO_ENABLED: "0" } });
    },
  };
}

/** Returns the folder of a Go module in the version that the go.mod in `cwd` pins. */
export async function goModuleFolder(module: string, cwd: string): Promise<string> {
  const registry = await goProxy();
  // Without a version, `go mod download` uses the one that go.mod pins.
  const command = ["go", "mod", "download", "-json", module] as const;
  const { Dir: folder } = JSON.parse(await fetching({ registry, command, cwd })) as { Dir: string };
  return folder;
}

/**
 * Checks that Go is installed and new enough.
 * @param output output of `go version`; undefined if Go is missing
 * @param purpose reason to need Go, for the error
 * @throws UserError if Go is missing or too old
 */
export function checkGo(output: string | undefined, minimum: string, purpose: string): void {
  const fix = `Install Go ${minimum} or newer, put it on PATH, and run the command again.`;
  if (output === undefined) throw new UserError(`Go is not installed, and ${purpose}`, fix);
  const [, major, minor] = /go(\d+)\.(\d+)/.exec(output) ?? [];
  const [minMajor, minMinor] = minimum.split(".").map(Number);
  if (major === undefined || minor === undefined)
    throw new UserError(`cannot read the version of Go from "${output.trim()}"`, fix);
  const missing = Number(major) - (minMajor ?? 0) || Number(minor) - (minMinor ?? 0);
  if (missing < 0) throw new UserError(`Go ${major}.${minor} is too old, and ${purpose}`, fix);
}

/**
 * Checks that Go on PATH is installed and new enough.
 * @param folder folder of a go.mod; Go may switch to the toolchain that the file names
 * @param purpose reason to need Go, for the error
 * @throws UserError if Go is missing or too old
 */
export async function requireGo(folder: string, purpose: string): Promise<void> {
  const { stdout, failed } = await execa("go", ["version"], { cwd: folder, reject: false });
  checkGo(failed ? undefined : stdout, MIN_GO, purpose);
}
