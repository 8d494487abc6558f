/**
 * The cluster's processes, found by their cgroup: everything that the cluster starts, and everything that this starts in
 * turn, lives below the cgroup `/dubbo-mesh`. Unlike a pid file, a cgroup cannot name a stranger's process after a reboot or a reused pid,
 * and nothing escapes it.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../lib/errors.ts";
import { RUN_DIR, STATE_DIR } from "./local.ts";

/** The cgroup of the whole cluster, below the root of each hierarchy. */
export const CGROUP = "dubbo-mesh";
const LOG_DIR = `${STATE_DIR}/logs`;
const MAX_LOG_BYTES = 20 * 1024 * 1024;

/** A program that runs as long as the cluster does. */
export interface Daemon {
  /** Its name: of its cgroup and its log file. */
  readonly name: string;
  /** The program and its arguments. */
  readonly command: readonly [string, ...string[]];
  /** The cache keys of its binary and the text of its configuration files: when one changes, it is started anew. */
  readonly inputs: readonly string[];
  /** Variables beside PATH and HOME. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
}

/** Where the hierarchies of control groups are mounted, from /proc/self/mountinfo. Version 2 has one, version 1 one a controller. */
export function cgroupRoots(mountinfo: string): string[] {
  return mountinfo
    .split("\n")
    .map((line) => line.split(" "))
    .filter((fields) => ["cgroup", "cgroup2"].includes(fields[fields.indexOf("-") + 1] ?? ""))
    .map((fields) => fields[4] ?? "");
}

/** The hierarchy that processes are looked up in: the only one of version 2, or `pids` of version 1, which runc fills too. */
export function trackingRoot(roots: readonly string[]): string | undefined {
  return roots.find((root) => root === "/sys/fs/cgroup") ?? roots.find((root) => basename(root) === "pids");
}

function roots(): string[] {
  return cgroupRoots(readFileSync("/proc/self/mountinfo", "utf8"));
}

function tracking(): string {
  const root = trackingRoot(roots());
  if (root === undefined) {
    throw new UserError(
      "no control groups are mounted",
      "mount cgroup2 at /sys/fs/cgroup, as every current distribution does",
    );
  }
  return join(root, CGROUP);
}

/** Makes the cluster's cgroup in every hierarchy; in version 2 the kubelet wants its controllers switched on there. */
export function makeCgroups(): void {
  for (const root of roots()) {
    mkdirSync(join(root, CGROUP), { recursive: true });
    const available = join(root, "cgroup.controllers");
    if (!existsSync(available)) continue;
    const names = readFileSync(available, "utf8").trim().split(" ").filter(Boolean);
    for (const name of names) for (const dir of [root, join(root, CGROUP)]) enable(dir, name);
  }
}

function enable(dir: string, controller: string): void {
  try {
    writeFileSync(join(dir, "cgroup.subtree_control"), `+${controller}`);
  } catch {
    // The kubelet names the ones that it misses.
  }
}

function subgroups(dir: string): string[] {
  if (!existsSync(dir)) return [];
  const children = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...children.flatMap((entry) => subgroups(join(dir, entry.name))), dir];
}

function pidsIn(dir: string): number[] {
  return subgroups(dir).flatMap((group) => {
    try {
      return readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
    } catch {
      return []; // the group has just gone
    }
  });
}

/** All processes of the cluster, containers included. */
export function clusterPids(): number[] {
  return pidsIn(tracking());
}

function executable(pid: number): string {
  try {
    return basename(readlinkSync(`/proc/${String(pid)}/exe`)).replace(/ \(deleted\)$/, "");
  } catch {
    return "";
  }
}

/** The process of a daemon. Its children (the shims of containerd) share its cgroup: the program tells it from them. */
export function daemonPid(daemon: Pick<Daemon, "name" | "command">): number | undefined {
  return pidsIn(join(tracking(), "daemons", daemon.name)).find(
    (pid) => executable(pid) === basename(daemon.command[0]),
  );
}

/** Kills the processes in a cgroup below the cluster's, and waits until they are gone. */
export async function killGroup(group: string): Promise<void> {
  const dir = join(tracking(), group);
  for (let round = 0; round < 200; round++) {
    const pids = pidsIn(dir);
    if (pids.length === 0) return;
    pids.forEach((pid) => {
      signal(pid, "SIGKILL");
    });
    await sleep(25);
  }
  throw new Error(`processes in the cgroup ${dir} do not end: ${pidsIn(dir).join(", ")}`);
}

function signal(pid: number, name: "SIGKILL" | "SIGTERM"): void {
  try {
    process.kill(pid, name);
  } catch {
    // it has ended by itself
  }
}

/** Whether there is a cgroup of the cluster. */
export function hasCgroups(): boolean {
  return existsSync(tracking());
}

/** Removes the cluster's cgroups, which must be empty. */
export function removeCgroups(): void {
  for (const dir of roots().flatMap((root) => subgroups(join(root, CGROUP)))) rmdirSync(dir);
}

/** Names a daemon's command and inputs, to see whether the running one is the wanted one. */
export function daemonKey(daemon: Daemon): string {
  return createHash("sha256")
    .update(JSON.stringify([daemon.command, daemon.inputs, daemon.environment]))
    .digest("hex");
}

function keyFile(name: string): string {
  return `${RUN_DIR}/${name}.key`;
}

function startedKey(name: string): string {
  return existsSync(keyFile(name)) ? readFileSync(keyFile(name), "utf8") : "";
}

/** Whether a daemon runs, with the command and inputs that are wanted now. */
export function runsAsWanted(daemon: Daemon): boolean {
  return daemonPid(daemon) !== undefined && startedKey(daemon.name) === daemonKey(daemon);
}

/** Starts a daemon unless it runs as wanted. */
export async function startDaemon(daemon: Daemon): Promise<void> {
  if (runsAsWanted(daemon)) return;
  const pid = daemonPid(daemon);
  if (pid !== undefined) await endProcess(pid);
  const group = join(tracking(), "daemons", daemon.name);
  mkdirSync(group, { recursive: true });
  const log = openLog(daemon.name);
  // The shell enters the cgroup before it becomes the daemon, so no child can be missed.
  const child = spawn(
    "/bin/sh",
    ["-c", 'echo $$ >"$0" && exec "$@"', `${group}/cgroup.procs`, ...daemon.command],
    {
      detached: true,
      cwd: "/",
      stdio: ["ignore", log, log],
      env: { ...ENVIRONMENT, ...daemon.environment },
    },
  );
  child.unref();
  closeSync(log);
  writeFileSync(keyFile(daemon.name), daemonKey(daemon));
}

/** The environment of daemons: nothing of the user's. */
const ENVIRONMENT = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" };

/** Ends one process: politely, and after 3 s not. */
export async function endProcess(pid: number): Promise<void> {
  signal(pid, "SIGTERM");
  for (let round = 0; round < 120 && existsSync(`/proc/${String(pid)}`); round++) await sleep(25);
  signal(pid, "SIGKILL");
}

/** The file that a daemon logs to. */
export function logFile(name: string): string {
  return `${LOG_DIR}/${name}.log`;
}

function openLog(name: string): number {
  mkdirSync(LOG_DIR, { recursive: true });
  const file = logFile(name);
  if (existsSync(file) && statSync(file).size > MAX_LOG_BYTES) truncateSync(file);
  return openSync(file, "a");
}
