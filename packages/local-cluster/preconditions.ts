/** Checks before the cluster starts: pure functions, each with one error message. */
import { BlockList } from "node:net";
import { UserError } from "../../common/errors.ts";

const INSTEAD =
  "If docker can pull images, for example from a mirror, set DUBBO_MESH_IMAGES=public; or use another cluster: CONTEXT=NAME.";

/**
 * Requires Linux on x86-64, for which Envoy is built, and root.
 * @throws UserError if one is missing
 */
export function checkHost(host: { platform: string; arch: string; uid: number | undefined }): void {
  const needs = "Docker Hub does not answer, and a cluster from packages needs";
  if (host.platform !== "linux" || host.arch !== "x64")
    throw new UserError(`${needs} Linux on x86-64, not ${host.platform} on ${host.arch}`, INSTEAD);
  if (host.uid !== 0)
    throw new UserError(`${needs} root`, `Run the same command as root, for example with sudo. ${INSTEAD}`);
}

/** Memory of a node with Istio and a few applications, GiB. */
const NEEDED_GIB = 2.5;

/**
 * Requires enough memory.
 * @param bytes memory of the docker engine
 * @throws UserError if the engine has less
 */
export function checkMemory(bytes: number): void {
  const gib = bytes / 1024 ** 3;
  if (gib >= NEEDED_GIB) return;
  throw new UserError(
    `the docker engine has ${gib.toFixed(1)} GiB of memory, the local cluster needs ${NEEDED_GIB} GiB`,
    "Give Docker Desktop more memory (Settings, Resources), or use another cluster: CONTEXT=NAME.",
  );
}

/** Tells whether a block contains the first address of another one. */
function contains(cidr: string, other: string): boolean {
  const [address = "", bits = "32"] = cidr.split("/");
  const block = new BlockList();
  block.addSubnet(address, Number(bits));
  return block.check(other.replace(/\/.*/, ""));
}

/**
 * Rejects routes of `ip -j -4 route` that overlap the cluster's addresses.
 * @throws UserError for the first such route
 */
export function checkRoutes(
  routes: readonly { dst: string; dev?: string | undefined }[],
  own: string,
  device: string,
): void {
  for (const route of routes) {
    if (route.dst === "default" || route.dev === device) continue;
    if (!contains(route.dst, own) && !contains(own, route.dst)) continue;
    throw new UserError(
      `the route to ${route.dst} by ${route.dev ?? "?"} overlaps the local cluster's addresses ${own}`,
      "Disconnect that network (a VPN?), or use another cluster: CONTEXT=NAME.",
    );
  }
}
