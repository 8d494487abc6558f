/** Debian packages that the cluster is made of, installed when one of their programs is missing. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { execa } from "execa";
import { fetching } from "../../common/artifacts/fetch.ts";
import { step } from "../../common/steps.ts";

/** What each package is needed for: a program, or a file. One that is there already, from wherever, counts: docker-ce's dockerd will do. */
const NEEDED: readonly { need: string; name: string }[] = [
  { name: "docker.io", need: "dockerd" },
  { name: "docker.io", need: "docker" },
  { name: "containerd", need: "containerd" },
  { name: "runc", need: "runc" },
  { name: "debootstrap", need: "debootstrap" },
  { name: "debian-archive-keyring", need: "/usr/share/keyrings/debian-archive-keyring.gpg" },
  { name: "iptables", need: "iptables" },
  { name: "iproute2", need: "ip" },
  { name: "python3-pip", need: "pip3" },
];

// Where Debian puts programs, whatever PATH says.
const FOLDERS = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const SERVICES = ["docker.service", "docker.socket", "containerd.service"];
const POLICY = "/usr/sbin/policy-rc.d";

/** Makes programs of the system findable for commands run from here: `su` leaves root without /usr/sbin on PATH. */
export function completePath(): void {
  process.env["PATH"] = [process.env["PATH"] ?? "", ...FOLDERS].join(":");
}

/** The packages to install on a machine where `find` answers for what they are needed for. */
export function missingPackages(find: (need: string) => boolean = isThere): string[] {
  return [...new Set(NEEDED.filter(({ need }) => !find(need)).map(({ name }) => name))];
}

/** The path of a program, or its bare name. */
export function program(name: string): string {
  const folders = [...(process.env["PATH"] ?? "").split(":"), ...FOLDERS];
  return folders.map((folder) => `${folder}/${name}`).find((file) => existsSync(file)) ?? name;
}

function isThere(need: string): boolean {
  return existsSync(need.startsWith("/") ? need : program(need));
}

/** Installs packages without starting their services, without upgrading or removing anything. */
export async function installPackages(names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await step(`install Debian packages: ${names.join(", ")}`, async () => {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    const registry = "the package mirror of this system (apt)";
    // A third party's list that fails is no error here; a package that cannot be had is one below.
    await fetching({ registry, env, command: ["apt-get", "-q", "update"] });
    // Whoever installs a policy of his own keeps it; his services are his affair.
    const ours = !existsSync(POLICY);
    if (ours) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
    const enabledBefore = await enabledServices();
    try {
      const options = ["-q", "-y", "--no-install-recommends", "--no-upgrade", "--no-remove"];
      await fetching({ registry, env, command: ["apt-get", ...options, "install", ...names] });
    } finally {
      if (ours) rmSync(POLICY);
    }
    // Installing enables services for the next boot; they would take the cluster's ports.
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
