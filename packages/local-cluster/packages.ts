/** Debian packages that a cluster from packages needs. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { execa } from "execa";
import { fetching } from "../../common/artifacts/fetch.ts";
import { step } from "../../common/steps.ts";

/** Programs and files that each package is needed for. Another package may have brought them. */
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

/** Adds the system's folders to PATH where they are missing: `su` leaves root without /usr/sbin. */
export function completePath(): void {
  process.env["PATH"] = [...new Set([...pathFolders(), ...SYSTEM_FOLDERS])].join(delimiter);
}

function isThere(need: string): boolean {
  return need.startsWith("/")
    ? existsSync(need)
    : pathFolders().some((folder) => existsSync(join(folder, need)));
}

/** Names the packages of which a need is missing. @param find tells whether a need is there */
export function missingPackages(find = isThere): string[] {
  return Object.keys(NEEDS).filter((name) => NEEDS[name]?.every(find) === false);
}

/** Installs packages without starting their services, without upgrading or removing anything. */
export async function installPackages(names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await step(`install Debian packages: ${names.join(", ")}`, async () => {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    const registry = "the package mirror of this system (apt)";
    // A list that fails is no error here; a package that is missing is one below.
    await fetching({ registry, env, command: ["apt-get", "-q", "update"] });
    // A policy of the administrator stays.
    const ours = !existsSync(POLICY);
    if (ours) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
    const enabledBefore = await enabledServices();
    try {
      const options = ["-q", "-y", "--no-install-recommends", "--no-upgrade", "--no-remove"];
      await fetching({ registry, env, command: ["apt-get", ...options, "install", ...names] });
    } finally {
      if (ours) rmSync(POLICY);
    }
    // Installing enables services for the next boot, where they would take the cluster's ports.
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
