/** Debian packages that a cluster from packages needs. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { execa } from "execa";
import { fetching } from "../../common/artifacts/fetch.ts";
import { step } from "../../common/steps.ts";

/** Programs and files that each package provides. Another package may also provide them. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  "docker.io": ["dockerd", "docker"],
  containerd: ["containerd"],
  runc: ["runc"],
  debootstrap: ["debootstrap"],
  "debian-archive-keyring": ["/usr/share/keyrings/debian-archive-keyring.gpg"],
  iptables: ["iptables"],
  iproute2: ["ip"],
  "python3-pip": ["pip3"],
};

const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const SERVICES = ["docker.service", "docker.socket", "containerd.service"];
const POLICY = "/usr/sbin/policy-rc.d";

function pathFolders(): string[] {
  return process.env["PATH"]?.split(delimiter) ?? [];
}

/** Adds missing system folders to PATH. `su` gives root a PATH without /usr/sbin. */
export function completePath(): void {
  process.env["PATH"] = [...new Set([...pathFolders(), ...SYSTEM_FOLDERS])].join(delimiter);
}

function isThere(need: string): boolean {
  return need.startsWith("/")
    ? existsSync(need)
    : pathFolders().some((folder) => existsSync(join(folder, need)));
}

/**
 * Lists the packages with a missing program or file.
 * @param find tells whether a program or file exists
 */
export function missingPackages(find = isThere): string[] {
  return Object.keys(NEEDS).filter((name) => NEEDS[name]?.every(find) === false);
}

/** Installs packages. Starts no services, and neither upgrades nor removes other packages. */
export async function installPackages(names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await step(`install Debian packages: ${names.join(", ")}`, async () => {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    const registry = "the package mirror of this system (apt)";
    // A failed update is no error yet: the installation reports a missing package.
    await fetching({ registry, env, command: ["apt-get", "-q", "update"] });
    // Keep a policy of the administrator.
    const ours = !existsSync(POLICY);
    if (ours) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
    const enabledBefore = await enabledServices();
    try {
      const options = ["-q", "-y", "--no-install-recommends", "--no-upgrade", "--no-remove"];
      await fetching({ registry, env, command: ["apt-get", ...options, "install", ...names] });
    } finally {
      if (ours) rmSync(POLICY);
    }
    // The installation enables services for the next boot. They would occupy the cluster's ports.
    const enabled = (await enabledServices()).filter((service) => !enabledBefore.includes(service));
    if (enabled.length > 0) await execa("systemctl", ["disable", ...enabled]);
  });
}

async function enabledServices(): Promise<string[]> {
  if (!existsSync("/run/systemd/system")) return [];
  const states = await Promise.all(
    SERVICES.map((service) => execa("systemctl", ["is-enabled", service], { reject: false })),
  );
  return SERVICES.filter((_, index) => states[index]?.stdout === "enabled");
}
