import { readdirSync, readFileSync } from "node:fs";
import { execa } from "execa";
import { RUN_DIR, STATE_DIR } from "../../cluster/local.ts";

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function processes(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The process of an application's container on this machine: the one in the pod's cgroup that runs the bundle. */
export function applicationProcess(podUid: string): number {
  const found = processes().filter(
    (pid) =>
      read(`/proc/${pid}/cgroup`).includes(podUid) && read(`/proc/${pid}/cmdline`).includes("main.mjs"),
  );
  const [pid] = found;
  if (found.length !== 1 || pid === undefined) throw new Error(`pod ${podUid} has ${found.length} processes`);
  return pid;
}

/** The files of an application's image, as its container sees them; what the kubelet and the kernel mount is left out. */
export function applicationFiles(podUid: string): string[] {
  const root = `/proc/${applicationProcess(podUid)}/root`;
  const mounted = /^\/(proc|sys|dev|run|var\/run)(\/|$)/;
  const walk = (folder: string): string[] =>
    readdirSync(`${root}${folder}`, { withFileTypes: true }).flatMap((entry) => {
      const path = `${folder}${entry.name}`;
      if (mounted.test(path)) return [];
      return entry.isDirectory() ? walk(`${path}/`) : [path];
    });
  return walk("/").sort();
}

/** What a cluster could leave on a machine. */
export interface Traces {
  readonly mounts: readonly string[];
  readonly links: readonly string[];
  readonly routes: readonly string[];
  readonly rules: readonly string[];
  readonly processes: readonly string[];
  readonly networkNamespaces: readonly string[];
}

async function lines(command: string, ...args: string[]): Promise<string[]> {
  const { stdout } = await execa(command, args, { reject: false });
  return stdout.split("\n").filter((line) => line !== "");
}

function withoutCounters(rule: string): string {
  return rule.replace(/\[\d+:\d+\]/, "").trim();
}

/** What lies on this machine now: to be compared before a cluster was started and after it was taken down. */
export async function traces(): Promise<Traces> {
  const rules = [...(await lines("iptables-save")), ...(await lines("ip6tables-save"))];
  const commands = processes().map((pid) => read(`/proc/${pid}/cmdline`).replaceAll("\0", " "));
  return {
    mounts: read("/proc/mounts")
      .split("\n")
      .filter((line) => /dubbo-mesh|kubelet|containerd|docker/.test(line)),
    links: (await lines("ip", "-brief", "link")).map((line) => line.split(/\s+/)[0] ?? "").sort(),
    routes: (await lines("ip", "route")).sort(),
    // A table that was never used and an empty one are the same.
    rules: rules
      .filter((line) => line.startsWith("-A"))
      .map(withoutCounters)
      .sort(),
    processes: commands.filter((line) => line.includes(STATE_DIR) || line.includes(RUN_DIR)),
    networkNamespaces: await lines("ip", "netns"),
  };
}
