/** The public images that a cluster is made of where a container registry can be reached. */
import { step } from "../../common/steps.ts";
import { docker, hasImage } from "./docker.ts";
import { BASE_IMAGE } from "../../common/local-cluster.ts";
import type { RegistryImage } from "./registry.ts";
import { PUBLIC_BASE_IMAGE } from "../../settings/keys.ts";
import { KIND_NODE_IMAGE, REGISTRY_IMAGE } from "./versions.ts";

/** Images of a cluster. Each can be taken from elsewhere, such as a mirror, by a variable. */
interface PublicImages {
  /** The nodes' (DUBBO_MESH_NODE_IMAGE). */
  readonly node: string;
  /** The registry's (DUBBO_MESH_REGISTRY_IMAGE). */
  readonly registry: RegistryImage;
  /** What applications are built on (DUBBO_MESH_BASE_IMAGE). */
  readonly base: string;
}

/** The images, as the environment has them. */
export function publicImages(env: NodeJS.ProcessEnv = process.env): PublicImages {
  return {
    node: env["DUBBO_MESH_NODE_IMAGE"] ?? KIND_NODE_IMAGE,
    registry: { image: env["DUBBO_MESH_REGISTRY_IMAGE"] ?? REGISTRY_IMAGE, options: [], args: [] },
    base: env["DUBBO_MESH_BASE_IMAGE"] ?? PUBLIC_BASE_IMAGE,
  };
}

/** Gives the engine the image that applications are built on, under the name that the local cluster has for it. */
export async function pullBaseImage(): Promise<void> {
  const { base } = publicImages();
  if (!(await hasImage(base))) await step(`pull ${base}`, () => docker(["pull", "--quiet", base]));
  await docker(["tag", base, BASE_IMAGE]);
}
