import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { CACHE_DIR } from "../../common/artifacts/cache.ts";
import { ENGINE_DIR, NAME } from "../../common/local-cluster.ts";

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
  // systemd's names of groups have no dashes but those between their parts.
  const group = podUid.replaceAll("-", "_");
  const found = processes().filter(
    (pid) => read(`/proc/${pid}/cgroup`).includes(group) && read(`/proc/${pid}/cmdline`).includes("main.mjs"),
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

/** An endpoint of an Envoy is out of its load balancing. */
export interface Out {
  /** When it was seen, ms since 1970: at most some 100 ms after it was so. */
  readonly at: number;
  /** Why, in Envoy's flags. */
  readonly state: string;
}

/**
 * Watches an endpoint from where its Envoy is, which costs less time than to ask through the API server.
 * @param podUid of the pod with the Envoy
 * @param address of the endpoint, which is healthy
 * @returns when it looks, with when the endpoint will have gone out
 */
export async function watchEndpoint(podUid: string, address: string): Promise<{ out: Promise<Out> }> {
  const script = join(import.meta.dirname, "endpoint-out.ts");
  const command = [process.execPath, script, address];
  const probe = execa("nsenter", ["--net", `--target=${applicationProcess(podUid)}`, ...command]);
  const rows: AsyncIterator<unknown> = probe.iterable();
  const next = async (): Promise<Out> => JSON.parse(String((await rows.next()).value)) as Out;
  const first = await next();
  if (first.state !== "") throw new Error(`${address} is out before: ${first.state}`);
  return { out: next() };
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

/** How the docker engine of the local cluster reaches an address, in `ip`'s words. */
export async function wayOut(address: string): Promise<string> {
  const { all } = await execa("ip", ["-n", NAME, "route", "get", address], { reject: false, all: true });
  return all;
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
    processes: commands.filter((line) => line.includes(CACHE_DIR) || line.includes(ENGINE_DIR)),
    networkNamespaces: await lines("ip", "netns"),
  };
}
