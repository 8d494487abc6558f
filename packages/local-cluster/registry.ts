/** Registry on the loopback device. Source: https://kind.sigs.k8s.io/docs/user/local-registry/ */
import { NAME, REGISTRY } from "../../common/local-cluster.ts";
import { docker } from "./docker.ts";
import { nodeNames } from "./kind.ts";

const CONTAINER = `${NAME}-registry`;
/** Configuration in the node image: images/kind/registry.yml. */
const CONFIGURATION = "/etc/docker/registry/config.yml";
/** Folder of pushed images, in CONFIGURATION and in the public registry image. */
const FOLDER = "/var/lib/registry";

/** Returns the arguments of `docker run` for Debian's registry, which the node image contains. */
export function packagedRegistry(nodeImage: string): string[] {
  return ["--entrypoint", "docker-registry", nodeImage, "serve", CONFIGURATION];
}

/** Tells whether the registry runs. */
export async function registryRuns(): Promise<boolean> {
  const { stdout } = await docker(["ps", "--filter", `name=^${CONTAINER}$`, "--format", "{{.Names}}"]);
  return stdout === CONTAINER;
}

/** Starts the registry, its image with options of `docker run`. A volume keeps pushed images. */
export async function startRegistry(image: readonly string[]): Promise<void> {
  if (await registryRuns()) return;
  await removeRegistry();
  const port = REGISTRY.replace(/.*:/, "");
  const where = ["--name", CONTAINER, "--network", NAME, "--publish", `127.0.0.1:${port}:5000`];
  const volume = ["--volume", `${CONTAINER}:${FOLDER}`, "--restart", "always"];
  await docker(["run", "--detach", ...where, ...volume, ...image]);
}

/** Configures each node's containerd to use the registry's container for REGISTRY. */
export async function announceRegistry(): Promise<void> {
  const folder = `/etc/containerd/certs.d/${REGISTRY}`;
  const script = `mkdir -p ${folder} && cat > ${folder}/hosts.toml`;
  const input = `[host."http://${CONTAINER}:5000"]\n`;
  for (const node of await nodeNames())
    await docker(["exec", "--interactive", node, "sh", "-c", script], { input });
}

/**
 * Tells whether the registry runs without an image, such as one pushed before `cluster clean`. It
 * looks into the registry's folder: this process may have no route to the engine's registry.
 * Source: https://distribution.github.io/distribution/ (registry/storage/paths.go)
 * @param image repository and digest, REGISTRY/REPOSITORY@sha256:DIGEST
 */
export async function hasLost(image: string): Promise<boolean> {
  const [repository = "", digest = ""] = image.slice(`${REGISTRY}/`.length).split("@");
  const revisions = `${FOLDER}/docker/registry/v2/repositories/${repository}/_manifests/revisions`;
  const test = ["exec", CONTAINER, "test", "-e", `${revisions}/${digest.replace(":", "/")}/link`];
  const { exitCode, stderr } = await docker(test, { reject: false });
  // Docker's own errors have a message.
  return exitCode === 1 && stderr === "";
}

/** Removes the registry. Its volume keeps pushed images. */
export async function removeRegistry(): Promise<void> {
  await docker(["rm", "--force", "--volumes", CONTAINER], { reject: false });
}

/** Removes pushed images. */
export async function removePushed(): Promise<void> {
  await docker(["volume", "rm", "--force", CONTAINER]);
}
