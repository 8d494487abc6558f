import { messageOf, UserError } from "../../common/errors.ts";
import type { LiveMesh } from "../mesh.ts";

/** The methods of a mesh that verification needs. */
export type MeshReader = Pick<LiveMesh, "namespace" | "pods" | "log" | "exec">;

/** Returns a reader that asks each proxy the same question only once. */
export function askedOnce(mesh: MeshReader): MeshReader {
  const answers = new Map<string, Promise<string>>();
  const once = (key: string, ask: () => Promise<string>): Promise<string> => {
    const answer = answers.get(key) ?? ask();
    answers.set(key, answer);
    return answer;
  };
  return {
    namespace: mesh.namespace,
    pods: (application) => mesh.pods(application),
    log: (...question) => once(`log ${question.join(" ")}`, () => mesh.log(...question)),
    exec: (...question) => once(`exec ${question.flat().join(" ")}`, () => mesh.exec(...question)),
  };
}

/** Name of the sidecar's container. */
export const PROXY_CONTAINER = "istio-proxy";

/**
 * Requests a path from a pod's Envoy.
 * @param path path and query of Envoy's administration interface
 * @throws UserError if Envoy does not answer
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
