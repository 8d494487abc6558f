/** The image registry on this machine's loopback device, by kind's recipe: https://kind.sigs.k8s.io/docs/user/local-registry/ */
import { docker } from "./docker.ts";
import { nodeNames } from "./kind.ts";
import { NAME, REGISTRY } from "../../common/local-cluster.ts";
import { REGISTRY_FILE, REGISTRY_FOLDER } from "./node-files.ts";

const CONTAINER = `${NAME}-registry`;
const PORT = REGISTRY.replace(/.*:/, "");

/** Command that runs a registry. */
export interface RegistryImage {
  readonly image: string;
  /** Options of `docker run`. */
  readonly options: readonly string[];
  /** Arguments of the image's program. */
  readonly args: readonly string[];
}

/** Debian's registry, which lies in the node's image with a configuration that asks nobody for a password. */
export function packagedRegistry(nodeImage: string): RegistryImage {
  return { image: nodeImage, options: ["--entrypoint", "docker-registry"], args: ["serve", REGISTRY_FILE] };
}

/** Tells whether the registry runs. */
export async function registryRuns(): Promise<boolean> {
  const { stdout } = await docker(["ps", "--filter", `name=^${CONTAINER}$`, "--format", "{{.Names}}"]);
  return stdout === CONTAINER;
}

/** Starts the registry unless it runs, on the nodes' network. What was pushed is kept in a volume. */
export async function startRegistry({ image, options, args }: RegistryImage): Promise<void> {
  if (await registryRuns()) return;
  await removeRegistry();
  const where = ["--name", CONTAINER, "--network", NAME, "--publish", `127.0.0.1:${PORT}:5000`];
  const volume = ["--volume", `${CONTAINER}:${REGISTRY_FOLDER}`, "--restart", "always"];
  await docker(["run", "--detach", ...where, ...volume, ...options, image, ...args]);
}

/** Tells each node's containerd that the registry's name on this machine means the registry's container. */
export async function announceRegistry(): Promise<void> {
  const folder = `/etc/containerd/certs.d/${REGISTRY}`;
  const script = `mkdir -p ${folder} && cat > ${folder}/hosts.toml`;
  const input = `[host."http://${CONTAINER}:5000"]\n`;
  for (const node of await nodeNames())
    await docker(["exec", "--interactive", node, "sh", "-c", script], { input });
}

/** Removes the registry; what was pushed stays in its volume. */
export async function removeRegistry(): Promise<void> {
  await docker(["rm", "--force", "--volumes", CONTAINER], { mayFail: true });
}

/** Removes what was pushed. */
export async function removePushed(): Promise<void> {
  await docker(["volume", "rm", "--force", CONTAINER]);
}
