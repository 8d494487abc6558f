/** Public images of a cluster. */
import { BASE_IMAGE } from "../../common/local-cluster.ts";
import { step } from "../../common/steps.ts";
import { PUBLIC_BASE_IMAGE } from "../../settings/keys.ts";
import { docker, hasImage } from "./docker.ts";
import type { RegistryImage } from "./registry.ts";
import { KIND_NODE_IMAGE, REGISTRY_IMAGE } from "./versions.ts";

/**
 * Images of a cluster, and Istio's charts. A variable overrides each of them, for example with a
 * mirror.
 */
interface PublicImages {
  readonly node: string;
  readonly registry: RegistryImage;
  /** Base of the applications' images. */
  readonly base: string;
  /** Charts and hub of Istio (default: those of its release). */
  readonly istio: { readonly charts?: string; readonly hub?: string };
}

/** Returns the images from the environment, or the defaults. */
export function publicImages(env: NodeJS.ProcessEnv = process.env): PublicImages {
  const { DUBBO_MESH_ISTIO_CHARTS: charts, DUBBO_MESH_ISTIO_HUB: hub } = env;
  return {
    node: env["DUBBO_MESH_NODE_IMAGE"] ?? KIND_NODE_IMAGE,
    registry: { image: env["DUBBO_MESH_REGISTRY_IMAGE"] ?? REGISTRY_IMAGE, options: [], args: [] },
    base: env["DUBBO_MESH_BASE_IMAGE"] ?? PUBLIC_BASE_IMAGE,
    istio: { ...(charts && { charts }), ...(hub && { hub }) },
  };
}

/** Pulls the base of the applications' images, and tags it with its name in the local cluster. */
export async function pullBaseImage(): Promise<void> {
  const { base } = publicImages();
  if (!(await hasImage(base))) await step(`pull ${base}`, () => docker(["pull", "--quiet", base]));
  await docker(["tag", base, BASE_IMAGE]);
}
