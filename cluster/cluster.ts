/** The local cluster: up, down, status, logs. What it consists of is in the files beside this one. */
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { rmdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { UserError } from "../lib/errors.ts";
import { elapsed, step } from "../lib/steps.ts";
import { api } from "./api.ts";
import { makeArtifacts, missingArtifacts, requireGo, requireRoom } from "./artifacts.ts";
import { makeCertificates, writeKubeconfigs } from "./certificates.ts";
import { type Component, components, writeFiles } from "./daemons.ts";
import { forgetContainers, imagesMade, makeImages } from "./images.ts";
import { applyManifest, injects, makeManifest } from "./istio.ts";
import { BRIDGE, CACHE_DIR, NODE_NAME, POD_CIDR, RUN_DIR, SERVICE_CIDR, STATE_DIR } from "./local.ts";
import { unmountBelow } from "./mounts.ts";
import { kubeProxyJumps, makeNetwork, refuseTheOutside, removeNetwork } from "./network.ts";
import { completePath, installPackages, missingPackages } from "./packages.ts";
import { checkHost, checkPorts, checkRoutes } from "./preconditions.ts";
import * as processes from "./processes.ts";

const START_TIMEOUT_MS = 90_000;
const POLL_MS = 100;

/** One part of the cluster. */
export interface ComponentStatus {
  readonly name: string;
  /** Its process on this machine. */
  readonly pid: number | undefined;
  /** Whether it does its work, as seen just now. */
  readonly ready: boolean;
}

/** The cluster, part by part. */
export interface ClusterStatus {
  /** Whether all parts are ready. */
  readonly ready: boolean;
  readonly components: readonly ComponentStatus[];
}

/** Starts the cluster and waits until Istio injects sidecars; makes first what is missing. Does nothing when it is up. */
export async function clusterUp(): Promise<void> {
  checkThisHost();
  await exclusively(async () => {
    const start = performance.now();
    if (await isUpToDate()) {
      process.stderr.write(`  ok    the local cluster is up (${elapsed(start)})\n`);
      return;
    }
    await prepare();
    const started = performance.now();
    await startAll();
    process.stderr.write(`  ok    the local cluster is ready (${elapsed(started)} from its start)\n`);
  });
}

/** Ends the cluster: its processes, mounts, network, cgroups and state go, binaries and images stay in the cache. */
export async function clusterDown(): Promise<void> {
  checkThisHost();
  await exclusively(async () => {
    await step("stop the local cluster", stopAll);
  });
}

/** Asks each part of the cluster whether it does its work. */
export async function clusterStatus(): Promise<ClusterStatus> {
  const daemons = Object.values(components());
  const states = await Promise.all([
    ...daemons.map(async (daemon) => ({
      name: daemon.name,
      pid: processes.daemonPid(daemon),
      ready: existsSync(STATE_DIR) && (await daemon.ready()),
    })),
    istiodStatus(),
  ]);
  return { ready: states.every(({ ready }) => ready), components: states };
}

/** Prints the last lines of a component's log, or of all. */
export async function clusterLogs(component?: string, lines = 100): Promise<void> {
  const names = Object.values(components()).map(({ name }) => name);
  if (component !== undefined && !names.includes(component)) {
    throw new UserError(`the cluster has no component ${component}`, `name one of ${names.join(", ")}`);
  }
  const files = names
    .filter((name) => name === (component ?? name))
    .map(processes.logFile)
    .filter((file) => existsSync(file));
  if (files.length === 0) throw new UserError("there are no logs", "start the cluster: make up");
  await execa("tail", ["-n", String(lines), ...files], { stdout: "inherit" });
}

function checkThisHost(): void {
  checkHost({ platform: process.platform, arch: process.arch, uid: process.getuid?.() });
  completePath();
}

/**
 * Runs `work` unless another process is at it. The lock is a socket in the abstract namespace: the kernel drops it with the process
 * that holds it, however that ends.
 */
async function exclusively(work: () => Promise<void>): Promise<void> {
  const lock = createServer().unref();
  await new Promise<void>((resolve, reject) => {
    lock.once("error", () => {
      const message = "another process is starting or stopping the local cluster";
      reject(new UserError(message, "wait until it has ended, then run the same command again"));
    });
    lock.listen("\0dubbo-mesh-cluster", resolve);
  });
  try {
    await work();
  } finally {
    lock.close();
  }
}

async function istiodStatus(): Promise<ComponentStatus> {
  const pid = existsSync(STATE_DIR)
    ? processes.clusterPids().find((one) => commandName(one) === "pilot-discovery")
    : undefined;
  return { name: "istiod", pid, ready: pid !== undefined && (await injects()) };
}

function commandName(pid: number): string {
  try {
    return readFileSync(`/proc/${String(pid)}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}

async function isUpToDate(): Promise<boolean> {
  if (!existsSync(STATE_DIR) || missingPackages().length > 0) return false;
  if (missingArtifacts().any || !imagesMade()) return false;
  if (!Object.values(components()).every((daemon) => processes.runsAsWanted(daemon))) return false;
  return (await clusterStatus()).ready;
}

async function prepare(): Promise<void> {
  const missing = missingArtifacts();
  // Go's caches (modules, compiled packages) take 10 GiB of what a build needs.
  if (missing.any) requireRoom(12, "building the local cluster");
  else requireRoom(2, "the local cluster");
  if (missing.go) await requireGo();
  await installPackages(missingPackages());
  await checkNetwork();
  await makeArtifacts();
  await makeManifest();
}

async function checkNetwork(): Promise<void> {
  const [listeners, routes] = await Promise.all([
    execa("ss", ["-Hltnup"]),
    execa("ip", ["-j", "-4", "route"]),
  ]);
  const ports = Object.values(components()).flatMap((daemon) => daemon.ports);
  checkPorts(listeners.stdout, ports, new Set(processes.clusterPids()));
  const known = JSON.parse(routes.stdout || "[]") as { dst: string; dev?: string }[];
  checkRoutes(known, { cidrs: [POD_CIDR, SERVICE_CIDR], device: BRIDGE });
}

async function startAll(): Promise<void> {
  const all = components();
  mkdirSync(RUN_DIR, { recursive: true });
  await makeCertificates();
  writeKubeconfigs();
  processes.makeCgroups();
  // Pods that were attached to a bridge that is gone have no network: the kubelet makes them anew.
  if (await makeNetwork()) await processes.killGroup("kubepods");
  Object.values(all).forEach(writeFiles);

  const runtime = step("containerd, docker engine, registry", async () => {
    await start(all.containerd);
    await Promise.all([start(all.dockerd), start(all.registry)]);
    await makeImages();
  });
  const control = step("Kubernetes API", async () => {
    await startDatastore(all.etcd);
    await start(all.apiServer);
  });
  await Promise.all([control, runtime]);
  const dns = step("Istio's manifest, DNS", async () => {
    await applyManifest();
    await start(all.coredns);
  });
  const node = step("controllers, node, services", async () => {
    await Promise.all([start(all.controllerManager), start(all.scheduler), start(all.kubelet)]);
    await waitFor(`the node ${NODE_NAME}`, nodeRegistered);
    await start(all.kubeProxy);
    await waitFor("kube-proxy's rules", kubeProxyJumps);
    await refuseTheOutside();
  });
  await Promise.all([dns, node]);
  await step("Istio", () => waitFor("Istio's sidecar injection", injects));
}

async function nodeRegistered(): Promise<boolean> {
  return (await api("GET", `/api/v1/nodes/${NODE_NAME}`)).status === 200;
}

async function start(daemon: Component): Promise<void> {
  await processes.startDaemon(daemon);
  const begin = performance.now();
  // The shell that becomes the daemon needs a moment to do so.
  const ended = (): boolean => performance.now() - begin > 1_000 && processes.daemonPid(daemon) === undefined;
  await waitFor(daemon.name, daemon.ready, ended);
}

/** Polls until `ready`. Throws when it takes too long, or when `ended` says that it cannot happen any more. */
async function waitFor(name: string, ready: () => Promise<boolean>, ended = () => false): Promise<void> {
  const begin = performance.now();
  while (!(await ready())) {
    const late = performance.now() - begin > START_TIMEOUT_MS;
    if (late || ended()) {
      const file = processes.logFile(name);
      const log = existsSync(file) ? `; the end of its log ${file}:\n${lastLines(file)}` : "";
      throw new Error(
        `${name} ${late ? `is not ready after ${String(START_TIMEOUT_MS / 1000)} s` : "has ended"}${log}`,
      );
    }
    await sleep(POLL_MS);
  }
}

function lastLines(file: string): string {
  return readFileSync(file, "utf8").trim().split("\n").slice(-5).join("\n");
}

/** etcd writes without fsync, so a power cut may leave a datastore that it cannot read: then the cluster starts empty. */
async function startDatastore(etcd: Component): Promise<void> {
  const data = `${STATE_DIR}/etcd`;
  const kept = existsSync(data);
  try {
    await start(etcd);
  } catch (error) {
    if (!kept || processes.daemonPid(etcd) !== undefined) throw error;
    process.stderr.write("  note  the datastore is damaged: the cluster starts empty\n");
    rmSync(data, { recursive: true });
    await start(etcd);
  }
}

async function stopAll(): Promise<void> {
  const { kubelet, containerd } = components();
  if (processes.hasCgroups()) {
    const pid = processes.daemonPid(kubelet);
    if (pid !== undefined) await processes.endProcess(pid);
    await processes.killGroup("kubepods");
    if (processes.daemonPid(containerd) !== undefined) await forgetContainers();
    await processes.killGroup("");
  }
  removeShimSockets();
  await unmountBelow(RUN_DIR, STATE_DIR, CACHE_DIR);
  await removeNetwork();
  processes.removeCgroups();
  removeLeftovers();
}

const SHIM_SOCKETS = "/run/containerd/s";

/** containerd's shims listen in a folder that every containerd shares; each container's folder names its socket. */
function removeShimSockets(): void {
  const tasks = `${RUN_DIR}/containerd/io.containerd.runtime.v2.task`;
  for (const namespace of list(tasks)) {
    for (const task of readdirSync(join(tasks, namespace))) {
      const file = join(tasks, namespace, task, "address");
      const socket = existsSync(file) ? readFileSync(file, "utf8").trim().replace("unix://", "") : "";
      if (socket.startsWith(SHIM_SOCKETS)) rmSync(socket, { force: true });
    }
  }
}

/** What programs write outside the cluster's folders, whatever they are told. */
function removeLeftovers(): void {
  const links = "/var/log/containers"; // of the kubelet
  removeFiles(links, (name) => readlinkSync(join(links, name)).startsWith(STATE_DIR));
  const plugins = "/var/lib/kubelet/device-plugins";
  removeFiles(plugins, (name) => ["kubelet.sock", "DEPRECATION"].includes(name));
  const results = "/var/lib/cni/results"; // of the network plugins, for each pod
  const pods = new Set(list(results).flatMap((name) => /^dubbo-mesh-(\w+)-eth0$/.exec(name)?.[1] ?? []));
  removeFiles(results, (name) => pods.has(name.split("-").at(-2) ?? ""));
  for (const folder of [RUN_DIR, STATE_DIR]) rmSync(folder, { recursive: true, force: true });
  const shared = [
    links,
    plugins,
    "/var/lib/kubelet",
    results,
    "/var/lib/cni",
    SHIM_SOCKETS,
    "/run/containerd/fifo",
  ];
  [...shared, "/run/containerd", "/run/docker/plugins", "/run/docker"].forEach(removeIfEmpty);
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function removeFiles(folder: string, ours: (name: string) => boolean): void {
  for (const name of list(folder).filter(ours)) rmSync(join(folder, name));
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // not there, or used by somebody else
  }
}
