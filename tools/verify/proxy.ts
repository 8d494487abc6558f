import { messageOf, UserError } from "../../common/errors.ts";
import type { Mesh } from "../mesh.ts";

/** What is read of a mesh. */
export type MeshReader = Pick<Mesh, "namespace" | "pods" | "log" | "exec">;

/** Name of the sidecar's container. */
export const PROXY_CONTAINER = "istio-proxy";

/**
 * Asks a pod's Envoy.
 * @param path path and query of Envoy's administration interface
 * @throws UserError where it does not answer
 */
export async function askProxy(mesh: MeshReader, pod: string, path: string): Promise<string> {
  try {
    return await mesh.exec(pod, PROXY_CONTAINER, ["pilot-agent", "request", "GET", path]);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `the proxy of pod ${pod} does not answer: ${messageOf(error)}`,
      `Look at \`kubectl logs ${pod} -n ${mesh.namespace} -c ${PROXY_CONTAINER}\`; if the pod was just replaced, run the command again.`,
      { cause: error },
    );
  }
}
