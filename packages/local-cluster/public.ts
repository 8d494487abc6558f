/** Public images of a cluster, and the choice between them and images from packages. */
import { BASE_IMAGE } from "../../common/local-cluster.ts";
import { UserError } from "../../common/errors.ts";
import { step } from "../../common/steps.ts";
import { PUBLIC_BASE_IMAGE } from "../../settings/keys.ts";
import { docker, hasImage } from "./docker.ts";
import { KIND_NODE_IMAGE, REGISTRY_IMAGE } from "./versions.ts";

/** Public images by digest, or images built from packages of Debian, Go, Python and npm. */
export const SOURCES = ["public", "packages"] as const;
/** Source of images. */
export type Source = (typeof SOURCES)[number];

const REGISTRY_URL = "https://registry-1.docker.io/v2/";
const TIMEOUT_MS = 5_000;

/** Tells whether the public registry answers. An error page of a proxy does not count. */
async function registryAnswers(): Promise<boolean> {
  return fetch(REGISTRY_URL, { method: "HEAD", signal: AbortSignal.timeout(TIMEOUT_MS) }).then(
    ({ headers }) => headers.get("docker-distribution-api-version") !== null,
    () => false,
  );
}

/**
 * Chooses the source of images: DUBBO_MESH_IMAGES, else public images if Docker Hub answers.
 * @throws UserError for an invalid value of DUBBO_MESH_IMAGES
 */
export async function chooseSource(forced = process.env["DUBBO_MESH_IMAGES"]): Promise<Source> {
  if (forced === undefined || forced === "") return (await registryAnswers()) ? "public" : "packages";
  const found = SOURCES.find((source) => source === forced);
  if (found !== undefined) return found;
  throw new UserError(`DUBBO_MESH_IMAGES is ${forced}`, `Set it to ${SOURCES.join(" or ")}, or unset it.`);
}

/** Images of a cluster, and Istio's charts. A variable replaces each, for example with a mirror. */
interface PublicImages {
  readonly node: string;
  readonly registry: string;
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
    registry: env["DUBBO_MESH_REGISTRY_IMAGE"] ?? REGISTRY_IMAGE,
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
