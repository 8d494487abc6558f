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

/** Command lines of the applications on Node.js, and of the Java peer. */
const APPLICATION = /main\.mjs|mesh\.dubbo\.interop/;

/**
 * Returns the id of an application's process on this machine.
 * The process is in the cgroup of the pod and runs the bundle.
 */
export function applicationProcess(podUid: string): number {
  // In systemd's names of cgroups, a dash separates the parts only.
  const group = podUid.replaceAll("-", "_");
  const found = processes().filter(
    (pid) => read(`/proc/${pid}/cgroup`).includes(group) && APPLICATION.test(read(`/proc/${pid}/cmdline`)),
  );
  const [pid] = found;
  if (found.length !== 1 || pid === undefined) throw new Error(`pod ${podUid} has ${found.length} processes`);
  return pid;
}

/**
 * Returns the files of an application's image, as its container sees them. Mounts of the kubelet
 * and the kernel are left out.
 */
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

/** Observation that an endpoint has left Envoy's load balancing. */
export interface Out {
  /** Time of the observation, ms since 1970; about 100 ms late at most. */
  readonly at: number;
  /** Reason, as flags of Envoy. */
  readonly state: string;
}

/**
 * Watches an endpoint from the network namespace of its Envoy, which is faster than the API server.
 * @param podUid uid of the pod with the Envoy
 * @param address address of the endpoint, which must be healthy
 * @returns once the watch has started, a promise for the time when the endpoint is out
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

/** Traces that a cluster could leave on a machine. */
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

/** Returns the route of the local cluster's docker engine to an address, as `ip` prints it. */
export async function wayOut(address: string): Promise<string> {
  const { all } = await execa("ip", ["-n", NAME, "route", "get", address], { reject: false, all: true });
  return all;
}

function withoutCounters(rule: string): string {
  return rule.replace(/\[\d+:\d+\]/, "").trim();
}

/** Returns the current traces, to compare before the start of a cluster and after its end. */
export async function traces(): Promise<Traces> {
  const rules = [...(await lines("iptables-save")), ...(await lines("ip6tables-save"))];
  const commands = processes().map((pid) => read(`/proc/${pid}/cmdline`).replaceAll("\0", " "));
  return {
    mounts: read("/proc/mounts")
      .split("\n")
      .filter((line) => /dubbo-mesh|kubelet|containerd|docker/.test(line)),
    links: (await lines("ip", "-brief", "link")).map((line) => line.split(/\s+/)[0] ?? "").sort(),
    routes: (await lines("ip", "route")).sort(),
    // An unused table and an empty one are equal.
    rules: rules
      .filter((line) => line.startsWith("-A"))
      .map(withoutCounters)
      .sort(),
    processes: commands.filter((line) => line.includes(CACHE_DIR) || line.includes(ENGINE_DIR)),
    networkNamespaces: await lines("ip", "netns"),
  };
}
