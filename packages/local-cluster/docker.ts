/** The docker engine that the cluster's nodes run in: the user's own or, where none runs, one that is started for it. */
import { spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { CACHE_DIR } from "../../common/artifacts/cache.ts";
import { UserError } from "../../common/errors.ts";
import { dockerHost, ENGINE_DIR, NAME } from "../../common/local-cluster.ts";
import { program } from "./packages.ts";
import { checkRoutes } from "./preconditions.ts";
import { within } from "./wait.ts";

/** Addresses of this machine and of the engine, at the two ends of a line of their own. */
const LINE = { cidr: "198.18.7.0/30", machine: "198.18.7.1/30", engine: "198.18.7.2/30" } as const;
/** Address of the API server where the engine is the one that is started here. */
export const ENGINE_ADDRESS = LINE.engine.replace(/\/.*/, "");

const LINK = `${NAME}0`;
const NETWORK_NAMESPACE = `/run/netns/${NAME}`;
const PID_FILE = join(ENGINE_DIR, "dockerd.pid");
const DATA_ROOT = join(CACHE_DIR, "engine");
const LOG_FILE = join(ENGINE_DIR, "dockerd.log");
const START_SECONDS = 30;
const STOP_SECONDS = 60;

/** The environment of docker's and kind's commands. */
export function dockerEnvironment(): Record<string, string> {
  const host = dockerHost();
  // A network of the cluster's own: kind's is shared with the user's other clusters.
  const common = { KIND_EXPERIMENTAL_DOCKER_NETWORK: NAME };
  if (host === undefined) return common;
  // The classic builder: BuildKit's plugin may be missing. A folder of its own: the user's settings may name another engine.
  return { ...common, DOCKER_HOST: host, DOCKER_BUILDKIT: "0", DOCKER_CONFIG: join(ENGINE_DIR, "cli") };
}

/** Options of a run of docker. */
interface Run {
  /** Text for its standard input. */
  readonly input?: string;
  /** Whether a failure is an answer rather than an error. */
  readonly mayFail?: boolean;
  /** Time after which it is ended, ms. */
  readonly timeout?: number;
}

/** Result of a command of docker's. */
interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly failed: boolean;
}

/** Runs docker against the cluster's engine. */
export async function docker(args: readonly string[], { input, mayFail, timeout }: Run = {}): Promise<Ran> {
  const options = {
    env: dockerEnvironment(),
    reject: mayFail !== true,
    ...(timeout !== undefined && { timeout }),
  };
  return execa(program("docker"), args, {
    ...options,
    ...(input === undefined ? { stdin: "ignore" } : { input }),
  });
}

async function answers(): Promise<Ran> {
  return docker(["version", "--format", "{{.Server.Version}}"], { mayFail: true, timeout: 10_000 });
}

/** Tells whether a docker engine answers. */
export async function engineAnswers(): Promise<boolean> {
  return !(await answers()).failed;
}

/** @throws UserError where no docker engine answers */
export async function requireEngine(): Promise<void> {
  const { failed, stderr } = await answers();
  if (!failed) return;
  const reason = stderr.trim().split("\n").at(-1) ?? "";
  throw new UserError(
    `docker does not answer: ${reason === "" ? "it is not installed, or takes more than 10 s" : reason}`,
    "Start Docker Desktop or the docker engine, let this user reach it (group docker), and run the command again.",
  );
}

/** Tells whether the engine has an image. */
export async function hasImage(reference: string): Promise<boolean> {
  return !(await docker(["image", "inspect", reference], { mayFail: true })).failed;
}

const CAP_SYS_RESOURCE = 24n;

/** Tells whether this process, and so an engine that it starts, may grant every capability that `--privileged` asks for. */
function isFullyPrivileged(): boolean {
  const [, bounding = "0"] = /^CapBnd:\s*(\w+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return (BigInt(`0x${bounding}`) & (1n << CAP_SYS_RESOURCE)) !== 0n;
}

// runc fails when it is asked for a capability that root itself lacks: the wrapper takes it from what docker asks for.
const RUNC_WRAPPER = `#!/bin/sh
previous= file=
for argument in "$@"; do
  case $previous in --bundle) file=$argument/config.json ;; --process) file=$argument ;; esac
  previous=$argument
done
[ -z "$file" ] || sed -i -e 's/"CAP_SYS_RESOURCE",//g' -e 's/,"CAP_SYS_RESOURCE"//g' "$file"
exec RUNC "$@"
`;

function engineSettings(): object {
  if (isFullyPrivileged()) return {};
  const path = join(ENGINE_DIR, "runc");
  writeFileSync(path, RUNC_WRAPPER.replace("RUNC", program("runc")));
  chmodSync(path, 0o755);
  return { runtimes: { limited: { path } }, "default-runtime": "limited" };
}

async function ip(...args: string[]): Promise<void> {
  await execa("ip", args);
}

/**
 * Makes the engine's network namespace, and a line to it from this machine. It has no other way out: nothing that runs in the engine leaves the
 * machine, and the machine's own rules, routes and settings stay as they are.
 */
async function makeNetwork(): Promise<void> {
  if (existsSync(NETWORK_NAMESPACE) && existsSync(`/sys/class/net/${LINK}`)) return;
  await removeNetwork();
  const { stdout } = await execa("ip", ["-j", "-4", "route"]);
  checkRoutes(JSON.parse(stdout || "[]") as { dst: string; dev?: string }[], LINE.cidr, LINK);
  await ip("netns", "add", NAME);
  await ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAME);
  await ip("address", "add", LINE.machine, "dev", LINK);
  await ip("link", "set", LINK, "up");
  await ip("-n", NAME, "address", "add", LINE.engine, "dev", "eth0");
  for (const device of ["eth0", "lo"]) await ip("-n", NAME, "link", "set", device, "up");
}

async function removeNetwork(): Promise<void> {
  if (!existsSync(NETWORK_NAMESPACE)) return;
  // The line goes with its end.
  await execa("ip", ["link", "delete", LINK], { reject: false });
  await ip("netns", "delete", NAME);
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

/** Tells whether the engine is the one that is started here, now or before this machine was started again. */
export function isOwnEngine(): boolean {
  return existsSync(ENGINE_DIR);
}

/** Starts an engine unless it runs. @throws Error with the end of its log where it does not start */
export async function startEngine(): Promise<void> {
  if (runningPid() !== undefined && (await engineAnswers())) return;
  mkdirSync(ENGINE_DIR, { recursive: true });
  await makeNetwork();
  writeFileSync(join(ENGINE_DIR, "daemon.json"), JSON.stringify(engineSettings()));
  const log = openSync(LOG_FILE, "a");
  // nsenter keeps the mounts as they are, which `ip netns exec` does not.
  const command = [`--net=${NETWORK_NAMESPACE}`, program("dockerd"), ...dockerdArguments()];
  const child = spawn("nsenter", command, { detached: true, cwd: "/", stdio: ["ignore", log, log] });
  child.unref();
  closeSync(log);
  const answered = await within(START_SECONDS, async () =>
    (await engineAnswers()) || child.exitCode !== null ? child.exitCode === null : undefined,
  );
  if (answered === true) return;
  const lines = readFileSync(LOG_FILE, "utf8").trim().split("\n").slice(-5).join("\n");
  throw new Error(`the docker engine does not start; the end of its log ${LOG_FILE}:\n${lines}`);
}

/** Ends the engine that was started here, with its network and control groups; its images stay in the cache. */
export async function stopEngine(): Promise<void> {
  const pid = runningPid();
  if (pid !== undefined) {
    process.kill(pid, "SIGTERM");
    await within(STOP_SECONDS, () => Promise.resolve(runningPid() === undefined || undefined));
  }
  await removeNetwork();
  // An engine that was killed leaves its folder mounted on itself.
  await execa("umount", ["--lazy", DATA_ROOT], { reject: false });
  for (const root of ["/sys/fs/cgroup", ...subfolders("/sys/fs/cgroup")]) removeGroup(join(root, NAME));
  rmSync(ENGINE_DIR, { recursive: true, force: true });
}

function subfolders(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
}

/** Removes a control group whose processes have ended, with those below. */
function removeGroup(group: string): void {
  if (!existsSync(group)) return;
  subfolders(group).forEach(removeGroup);
  rmdirSync(group);
}
