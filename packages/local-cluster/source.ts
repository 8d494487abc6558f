/** Sources of the local cluster's images. */
import { UserError } from "../../common/errors.ts";

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
