/** Tool that loads images into the nodes of a cluster without a registry. */
export interface ImageLoad {
  readonly tool: "kind" | "minikube";
  /** Name of the kind cluster or the minikube profile. */
  readonly cluster: string;
}

/** Registry in the names of loaded images. The host cannot exist, so nodes never pull from it. */
export const LOADED_REGISTRY = "loaded.invalid/dubbo-mesh";

/** Returns the tool for a context that kind or minikube has named; undefined for other clusters. */
export function imageLoad(context: string): ImageLoad | undefined {
  if (context === "minikube") return { tool: "minikube", cluster: context };
  const [, cluster] = /^kind-(.+)$/.exec(context) ?? [];
  return cluster === undefined ? undefined : { tool: "kind", cluster };
}

/**
 * Returns the command that loads an image.
 * Source: https://kind.sigs.k8s.io/docs/user/quick-start/,
 * https://minikube.sigs.k8s.io/docs/commands/image/
 */
export function loadCommand(reference: string, { tool, cluster }: ImageLoad): readonly [string, ...string[]] {
  return tool === "kind"
    ? ["kind", "load", "docker-image", reference, "--name", cluster]
    : ["minikube", "--profile", cluster, "image", "load", reference];
}
