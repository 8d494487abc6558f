/** What must hold before the cluster can start: pure checks of plain values, each with one clear error. */
import { UserError } from "../../common/errors.ts";

const INSTEAD =
  "Where docker pulls images by another way, set DUBBO_MESH_IMAGES=public; or use a cluster of your own: CONTEXT=NAME.";

/** Root on Linux on x86-64 (what Envoy's and Node's packages are made for), or an error. */
export function checkHost(host: { platform: string; arch: string; uid: number | undefined }): void {
  if (host.platform !== "linux" || host.arch !== "x64") {
    throw new UserError(
      `Docker Hub does not answer, and a cluster from packages needs Linux on x86-64, not ${host.platform} on ${host.arch}`,
      INSTEAD,
    );
  }
  if (host.uid !== 0) {
    throw new UserError(
      "Docker Hub does not answer, and a cluster from packages needs root",
      `Run the same command as root, for example with sudo. ${INSTEAD}`,
    );
  }
}

/** Memory that a node with Istio and a few applications takes, beside what else runs. */
const NEEDED_GIB = 2.5;

/** Refuses an engine with too little memory. @param bytes memory of the docker engine */
export function checkMemory(bytes: number): void {
  const gib = bytes / 1024 ** 3;
  if (gib >= NEEDED_GIB) return;
  throw new UserError(
    `the docker engine has ${gib.toFixed(1)} GiB of memory, the local cluster needs ${NEEDED_GIB} GiB`,
    "Give Docker Desktop more memory (Settings, Resources), or use a cluster of your own: CONTEXT=NAME.",
  );
}

function range(cidr: string): [first: number, last: number] {
  const [address = "", bits = "32"] = cidr.split("/");
  const value = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(bits));
  return [Math.floor(value / size) * size, Math.floor(value / size) * size + size - 1];
}

/** Refuses a machine whose routes (of `ip -j -4 route`) overlap addresses of the cluster; the default route does not count. */
export function checkRoutes(
  routes: readonly { dst: string; dev?: string | undefined }[],
  own: string,
  device: string,
): void {
  for (const route of routes) {
    if (route.dst === "default" || route.dev === device) continue;
    const [[first, last], [ownFirst, ownLast]] = [range(route.dst), range(own)];
    if (ownFirst > last || first > ownLast) continue;
    throw new UserError(
      `the route to ${route.dst} by ${route.dev ?? "?"} overlaps the local cluster's addresses ${own}`,
      "disconnect that network (a VPN?), or use another cluster",
    );
  }
}
