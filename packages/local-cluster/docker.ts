/** Docker engine of the nodes: the user's, or one started here for images from packages. */
import { spawn } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { CommandError } from "@pulumi/pulumi/automation/index.js";
import { execa, type Options, type Result } from "execa";
import { CACHE_DIR } from "../../common/artifacts/cache.ts";
import { diagnostics } from "../../common/diagnostics.ts";
import { reasonOf, UserError } from "../../common/errors.ts";
import { dockerHost, ENGINE_DIR, NAME } from "../../common/local-cluster.ts";
import { checkRoutes } from "./preconditions.ts";
import { within } from "../../common/wait.ts";

/** Addresses of the two ends of the veth pair: this machine's and the engine's. */
const LINE = { cidr: "198.18.7.0/30", machine: "198.18.7.1/30", engine: "198.18.7.2/30" } as const;
/** Address of the API server in the engine that this module starts. */
export const ENGINE_ADDRESS = LINE.engine.replace(/\/.*/, "");

const LINK = `${NAME}0`;
const NETWORK_NAMESPACE = `/run/netns/${NAME}`;
const PID_FILE = join(ENGINE_DIR, "dockerd.pid");
const DATA_ROOT = join(CACHE_DIR, "engine");
const LOG_FILE = join(ENGINE_DIR, "dockerd.log");
const START_SECONDS = 30;
const STOP_SECONDS = 60;
const ANSWER_MS = 10_000;

/** Returns the environment for docker and kind. */
export function dockerEnvironment(): Record<string, string> {
  const host = dockerHost();
  // The user's other kind clusters share the network `kind`.
  const common = { KIND_EXPERIMENTAL_DOCKER_NETWORK: NAME };
  if (host === undefined) return common;
  // BuildKit's plugin may be missing. The user's docker configuration may select another engine.
  return { ...common, DOCKER_HOST: host, DOCKER_BUILDKIT: "0", DOCKER_CONFIG: join(ENGINE_DIR, "cli") };
}

type Run = Pick<Options, "input" | "reject" | "timeout">;
type Ran = Pick<Result<{ encoding: "utf8" }>, "stdout" | "stderr" | "failed" | "exitCode">;

/** Runs docker with the cluster's engine. */
export async function docker(args: readonly string[], options: Run = {}): Promise<Ran> {
  return execa("docker", args, { env: dockerEnvironment(), input: "", ...options });
}

/** Runs docker with the output of another command as its standard input. */
export async function dockerReading(
  [command, ...sourceArgs]: readonly [string, ...string[]],
  args: readonly string[],
): Promise<void> {
  const env = dockerEnvironment();
  await execa(command, sourceArgs, { env, stdin: "ignore", buffer: false }).pipe("docker", args, { env });
}

async function askVersion(timeout: number): Promise<Ran> {
  return docker(["version", "--format", "{{.Server.Version}}"], { reject: false, timeout });
}

/** Tells whether a docker engine answers. */
export async function engineAnswers(): Promise<boolean> {
  return !(await askVersion(ANSWER_MS)).failed;
}

/**
 * Checks that a docker engine answers.
 * @throws UserError if none does
 */
export async function requireEngine(timeout = ANSWER_MS): Promise<void> {
  const { failed, stderr } = await askVersion(timeout);
  if (!failed) return;
  const reason = stderr.trim().split("\n").at(-1) ?? "";
  throw new UserError(
    `docker does not answer: ${reason === "" ? `it is not installed, or takes more than ${timeout / 1000} s` : reason}`,
    "Start Docker Desktop or the docker engine, let this user reach it (group docker), and run the command again.",
  );
}

/** Tells whether the engine has an image. */
export async function hasImage(reference: string): Promise<boolean> {
  return !(await docker(["image", "inspect", reference], { reject: false })).failed;
}

/** Failures of docker and kind that the user can fix: pattern of a line, problem, and fix. */
const FAILURES: readonly (readonly [RegExp, string, string])[] = [
  [
    /privileged mode is incompatible|operation not permitted|unable to apply caps/i,
    "the docker engine may not run privileged containers, which kind's nodes are",
    "Use an engine that runs as root (https://kind.sigs.k8s.io/docs/user/known-issues/), or another cluster: CONTEXT=NAME.",
  ],
  [
    /no space left on device/i,
    "the disk of the docker engine is full",
    "Free some space (docker system df), and run the command again.",
  ],
  [
    /port is already allocated|address already in use/i,
    "a port that the cluster needs is in use",
    "Stop the program that uses it, and run the command again.",
  ],
];

/** Explains a failure of docker, kind or Pulumi while the cluster starts. */
export function explained(error: unknown): UserError {
  const text = error instanceof CommandError ? diagnostics(error.message) : reasonOf(error);
  for (const [pattern, known, fix] of FAILURES) {
    const line = text.split("\n").find((each) => pattern.test(each));
    if (line !== undefined) return new UserError(`${known}: ${line.trim()}`, fix, { cause: error });
  }
  const fix =
    "Fix the reported problem, and run the command again; `make cluster-down` removes an incomplete cluster.";
  return new UserError(`the local cluster does not start: ${text}`, fix, { cause: error });
}

const CAP_SYS_RESOURCE = 24n;

/**
 * Reports whether a docker engine that this module starts can run `--privileged` containers. They
 * need CAP_SYS_RESOURCE, which root may lack.
 */
function isFullyPrivileged(): boolean {
  const [, bounding = "0"] = /^CapBnd:\s*(\w+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return (BigInt(`0x${bounding}`) & (1n << CAP_SYS_RESOURCE)) !== 0n;
}

function engineSettings(): object {
  if (isFullyPrivileged()) return {};
  const path = join(ENGINE_DIR, "runc");
  copyFileSync(join(import.meta.dirname, "runc"), path);
  return { runtimes: { limited: { path } }, "default-runtime": "limited" };
}

/**
 * Creates the engine's network namespace, and a veth pair that joins it to this machine. The
 * namespace has no default route, so its programs cannot reach other machines. The rules and routes
 * of this machine do not change.
 */
async function makeNetwork(): Promise<void> {
  if (existsSync(NETWORK_NAMESPACE) && existsSync(`/sys/class/net/${LINK}`)) return;
  await removeNetwork();
  const { stdout } = await execa("ip", ["-j", "-4", "route"]);
  checkRoutes(JSON.parse(stdout || "[]") as { dst: string; dev?: string }[], LINE.cidr, LINK);
  await execa`ip netns add ${NAME}`;
  await execa`ip link add ${LINK} type veth peer name eth0 netns ${NAME}`;
  await execa`ip address add ${LINE.machine} dev ${LINK}`;
  await execa`ip link set ${LINK} up`;
  await execa`ip -n ${NAME} address add ${LINE.engine} dev eth0`;
  for (const device of ["eth0", "lo"]) await execa`ip -n ${NAME} link set ${device} up`;
}

async function removeNetwork(): Promise<void> {
  if (!existsSync(NETWORK_NAMESPACE)) return;
  // Deleting one end of the pair also deletes the other.
  await execa("ip", ["link", "delete", LINK], { reject: false });
  await execa`ip netns delete ${NAME}`;
}

function runningPid(): number | undefined {
  if (!existsSync(PID_FILE)) return undefined;
  const pid = readFileSync(PID_FILE, "utf8").trim();
  const command = `/proc/${pid}/cmdline`;
  return existsSync(command) && readFileSync(command, "utf8").includes(PID_FILE) ? Number(pid) : undefined;
}

function dockerdArguments(): string[] {
  const options = {
    host: `unix://${join(ENGINE_DIR, "docker.sock")}`,
    pidfile: PID_FILE,
    "data-root": DATA_ROOT,
    "exec-root": join(ENGINE_DIR, "exec"),
    "cgroup-parent": `/${NAME}`,
    "config-file": join(ENGINE_DIR, "daemon.json"),
    "log-level": "warn",
  };
  return Object.entries(options).map(([name, value]) => `--${name}=${value}`);
}

/** Tells whether this module started the engine. A restart of the machine may have ended it. */
export function isOwnEngine(): boolean {
  return existsSync(ENGINE_DIR);
}

/**
 * Starts an engine unless it runs.
 * @throws Error with the end of its log if it does not start
 */
export async function startEngine(): Promise<void> {
  if (runningPid() !== undefined && (await engineAnswers())) return;
  mkdirSync(ENGINE_DIR, { recursive: true });
  await makeNetwork();
  writeFileSync(join(ENGINE_DIR, "daemon.json"), JSON.stringify(engineSettings()));
  const log = openSync(LOG_FILE, "a");
  // nsenter keeps the mounts; `ip netns exec` changes them.
  const command = [`--net=${NETWORK_NAMESPACE}`, "dockerd", ...dockerdArguments()];
  // The temporary folder of this process may not last as long as the engine.
  const env = { ...process.env, TMPDIR: ENGINE_DIR };
  const child = spawn("nsenter", command, { detached: true, cwd: "/", env, stdio: ["ignore", log, log] });
  child.unref();
  closeSync(log);
  const answered = await within(START_SECONDS, async () =>
    (await engineAnswers()) || child.exitCode !== null ? child.exitCode === null : undefined,
  );
  if (answered === true) return;
  const lines = readFileSync(LOG_FILE, "utf8").trim().split("\n").slice(-5).join("\n");
  throw new Error(`the docker engine does not start; the end of its log ${LOG_FILE}:\n${lines}`);
}

/** Unmounts what an engine leaves: its data folder, and the network that containers shared. */
async function unmountAll(): Promise<void> {
  for (const [, point = ""] of readFileSync("/proc/self/mounts", "utf8").matchAll(/^\S+ (\S+)/gm))
    if (point === DATA_ROOT || point.startsWith(`${ENGINE_DIR}/`))
      await execa("umount", ["--lazy", point], { reject: false });
}

/** Stops the engine that this module started. Removes all of it but its images. */
export async function stopEngine(): Promise<void> {
  const pid = runningPid();
  if (pid !== undefined) {
    process.kill(pid, "SIGTERM");
    await within(STOP_SECONDS, () => Promise.resolve(runningPid() === undefined || undefined));
  }
  await removeNetwork();
  await unmountAll();
  // Version 2 has one group. Version 1 has one for each controller, and some controllers are links.
  const groups = new Set(globSync(`/sys/fs/cgroup/{,*/}${NAME}`).map((group) => realpathSync(group)));
  if (groups.size > 0) await execa("find", [...groups, "-depth", "-type", "d", "-delete"]);
  rmSync(ENGINE_DIR, { recursive: true, force: true });
}
