/** The files of a node: Debian with systemd and containerd, made into what kind starts as a node. */
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { execa } from "execa";

/** Debian packages of a node. Source: images/base/Dockerfile of the kind module. */
export const NODE_PACKAGES: readonly string[] = [
  ...["systemd", "containerd", "runc", "containernetworking-plugins", "docker-registry"],
  ...["iptables", "nftables", "conntrack", "iproute2", "ethtool", "kmod", "mount"],
  ...["ca-certificates", "curl", "jq", "pigz", "procps", "hostname"],
];

/** Units that mean nothing in a container. */
const UNITS = [
  ["lib/systemd/system/sysinit.target.wants", /^systemd-tmpfiles-setup\.service$/],
  ["lib/systemd/system/multi-user.target.wants", /./],
  ["etc/systemd/system/multi-user.target.wants", /./],
  ["lib/systemd/system/local-fs.target.wants", /./],
  ["lib/systemd/system/basic.target.wants", /./],
  ["lib/systemd/system/sockets.target.wants", /udev|initctl/],
] as const;

/** Configuration of Debian's registry, which runs from the node's image. */
export const REGISTRY_FILE = "/etc/docker/registry/config.yml";
/** Folder in which a registry keeps what is pushed; also in the registry's own image. */
export const REGISTRY_FOLDER = "/var/lib/registry";
/** Source: https://distribution.github.io/distribution/about/configuration/ */
const REGISTRY_CONFIGURATION = {
  version: "0.1",
  log: { level: "warn", accesslog: { disabled: true } },
  storage: { filesystem: { rootdirectory: REGISTRY_FOLDER }, delete: { enabled: true } },
  http: { addr: ":5000" },
};

/** Names of the programs in the binary `kube` that a node calls itself. */
const NODE_PROGRAMS = ["kubelet", "kubeadm", "kubectl"];

async function within(root: string, ...command: readonly string[]): Promise<string> {
  const { stdout } = await execa("chroot", [root, ...command], { cwd: "/" });
  return stdout;
}

/** Changes Debian's files into those of a node. @param files folder images/base/files of the kind module */
export async function makeNodeFiles(root: string, files: string): Promise<void> {
  const at = (path: string): string => join(root, path);
  cpSync(files, root, { recursive: true, mode: 0 });
  await execa("chmod", ["-R", "u+w", ...["kind", "etc", "usr/local", "LICENSES"].map(at)]);
  for (const folder of ["usr/local/bin", "kind/bin"])
    for (const name of readdirSync(at(folder))) chmodSync(join(at(folder), name), 0o755);
  for (const [folder, names] of UNITS)
    for (const name of list(at(folder)).filter((each) => names.test(each))) rmSync(join(at(folder), name));
  appendFileSync(at("etc/systemd/journald.conf"), "ReadKMsg=no\n");
  for (const folder of ["opt/cni", "etc/kubernetes/manifests", "etc/cni/net.d", "kind/manifests"])
    mkdirSync(at(folder), { recursive: true });
  const links = {
    "sbin/init": "/usr/lib/systemd/systemd",
    "usr/local/bin/containerd": "/usr/bin/containerd", // where kind's unit expects it
    "opt/cni/bin": "/usr/lib/cni",
    ...Object.fromEntries(NODE_PROGRAMS.map((name) => [`usr/bin/${name}`, "kube"])),
  };
  for (const [path, target] of Object.entries(links)) {
    rmSync(at(path), { force: true });
    symlinkSync(target, at(path));
  }
  await within(root, "systemctl", "enable", "kubelet", "containerd", "undo-mount-hacks");
  await within(root, "systemctl", "mask", "systemd-binfmt");
  await configureContainerd(root);
  writeFileSync(at(REGISTRY_FILE), JSON.stringify(REGISTRY_CONFIGURATION));
  // kind applies it as it is; what it stands for in kind's own images, no package registry has.
  const none = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "no-storage", namespace: "kube-system" },
  };
  writeFileSync(at("kind/manifests/default-storage.yaml"), JSON.stringify(none));
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

async function configureContainerd(root: string): Promise<void> {
  const spec = JSON.parse(await within(root, "ctr", "oci", "spec")) as {
    process: Record<string, unknown>;
    hooks?: object;
  };
  delete spec.process["rlimits"];
  const hooks = { createContainer: [{ path: "/kind/bin/mount-product-files.sh" }] };
  writeFileSync(join(root, "etc/containerd/cri-base.json"), JSON.stringify({ ...spec, hooks }));
  const file = join(root, "etc/containerd/config.toml");
  const text = readFileSync(file, "utf8")
    // Containers start, too, where root lacks CAP_SYS_RESOURCE.
    .replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true");
  const registries =
    '\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n';
  writeFileSync(file, text + registries);
}
