/** What must hold before the cluster can start: pure checks of plain values, each with one clear error. */
import { UserError } from "../lib/errors.ts";

/** Root on Linux on x86-64 (what Envoy's and Node's packages are made for), or an error. */
export function checkHost(host: { platform: string; arch: string; uid: number | undefined }): void {
  if (host.platform !== "linux" || host.arch !== "x64") {
    throw new UserError(
      `the local cluster needs Linux on x86-64, this is ${host.platform} on ${host.arch}`,
      "use another cluster: set the configuration keys cluster and context of the stack",
    );
  }
  if (host.uid !== 0) {
    throw new UserError(
      "the local cluster needs root",
      "run the same command as root, for example with sudo",
    );
  }
}

/**
 * Refuses a Go that is missing (`undefined`) or too old.
 * @param output text that `go version` prints
 * @param purpose reason why it is needed, for the error
 */
export function checkGo(output: string | undefined, minimum: string, purpose: string): void {
  const fix = `install Go ${minimum} or newer, put it on PATH, and run the same command again`;
  if (output === undefined) throw new UserError(`Go is not installed, and ${purpose}`, fix);
  const [, major, minor] = /go(\d+)\.(\d+)/.exec(output) ?? [];
  const [minMajor, minMinor] = minimum.split(".").map(Number);
  if (major === undefined || minor === undefined)
    throw new UserError(`cannot read the version of Go from "${output.trim()}"`, fix);
  const missing = Number(major) - (minMajor ?? 0) || Number(minor) - (minMinor ?? 0);
  if (missing < 0) throw new UserError(`Go ${major}.${minor} is too old, and ${purpose}`, fix);
}

/**
 * Refuses a disk with too little room.
 * @param neededGib room that is needed, GiB
 * @param purpose work that needs it, for the error
 */
export function checkDisk(
  disk: { readonly path: string; readonly freeBytes: number },
  neededGib: number,
  purpose: string,
): void {
  const freeGib = disk.freeBytes / 1024 ** 3;
  if (freeGib >= neededGib) return;
  throw new UserError(
    `${disk.path} has ${freeGib.toFixed(1)} GiB free, ${purpose} needs ${neededGib.toFixed(1)} GiB`,
    "free some room there, or set DUBBO_MESH_CACHE to a folder on a larger disk",
  );
}

/** A port that a component of the cluster listens on. */
export interface Port {
  readonly component: string;
  readonly address: string;
  readonly port: number;
}

/**
 * Refuses ports that somebody else listens on. `listeners` is the output of `ss -Hltnup`; `own` are the pids of the cluster.
 */
export function checkPorts(listeners: string, wanted: readonly Port[], own: ReadonlySet<number>): void {
  for (const line of listeners.split("\n").filter(Boolean)) {
    const local = line.trim().split(/\s+/)[4] ?? "";
    const address = local.slice(0, local.lastIndexOf(":")).replace(/%.*$/, "");
    const port = Number(local.slice(local.lastIndexOf(":") + 1));
    const [, name, pid] = /\("([^"]*)",pid=(\d+)/.exec(line) ?? [];
    const clash = wanted.find(
      (one) => one.port === port && ["*", "0.0.0.0", "[::]", one.address].includes(address),
    );
    if (clash === undefined || own.has(Number(pid))) continue;
    const holder = name === undefined ? "another process" : `${name} (pid ${String(pid)})`;
    throw new UserError(
      `port ${String(port)} on ${clash.address}, for ${clash.component} of the local cluster, is taken by ${holder}`,
      `stop ${name ?? "that process"} and run the same command again`,
    );
  }
}

function range(cidr: string): [first: number, last: number] {
  const [address = "", bits = "32"] = cidr.split("/");
  const value = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(bits));
  return [Math.floor(value / size) * size, Math.floor(value / size) * size + size - 1];
}

/** Refuses a machine whose routes (of `ip -j -4 route`) overlap the cluster's addresses; the default route does not count. */
export function checkRoutes(
  routes: readonly { dst: string; dev?: string | undefined }[],
  own: { cidrs: readonly string[]; device: string },
): void {
  for (const route of routes) {
    if (route.dst === "default" || route.dev === own.device) continue;
    const [first, last] = range(route.dst);
    const clash = own.cidrs.find((cidr) => range(cidr)[0] <= last && first <= range(cidr)[1]);
    if (clash === undefined) continue;
    throw new UserError(
      `the route to ${route.dst} by ${route.dev ?? "?"} overlaps the local cluster's addresses ${clash}`,
      "disconnect that network (a VPN?), or use another cluster",
    );
  }
}

const NETWORK_FAILURE =
  /dial tcp|no such host|i\/o timeout|connection (refused|reset)|ECONNREFUSED|ENOTFOUND|ETIMEDOUT|EAI_AGAIN|ECONNRESET|TLS handshake|proxyconnect|unexpected EOF|\b50[0-4] [A-Z]|Unable to locate package|Temporary failure|Could not (resolve|connect)|Unable to connect|Failed to (fetch|establish)|Couldn't download|NewConnectionError|ReadTimeout|Max retries/i;

/** Whether a command's output says that a registry did not answer (rather than, say, a compiler error). */
export function isNetworkFailure(output: string): boolean {
  return NETWORK_FAILURE.test(output);
}
