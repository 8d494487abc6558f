/** How images get into a cluster that has no registry: they are loaded into its nodes. */
export interface ImageLoad {
  readonly tool: "kind" | "minikube";
  /** Name of kind's cluster, or minikube's profile. */
  readonly cluster: string;
}

/** Stands for a registry in the names of images that are loaded: nobody has it, so nothing is pulled from it. */
export const LOADED_REGISTRY = "loaded.invalid/dubbo-mesh";

/** How images are loaded into the cluster of a context that kind or minikube has named; undefined for other clusters. */
export function imageLoad(context: string): ImageLoad | undefined {
  if (context === "minikube") return { tool: "minikube", cluster: context };
  const [, cluster] = /^kind-(.+)$/.exec(context) ?? [];
  return cluster === undefined ? undefined : { tool: "kind", cluster };
}

/**
 * The command that loads an image.
 * Source: https://kind.sigs.k8s.io/docs/user/quick-start/, https://minikube.sigs.k8s.io/docs/commands/image/
 */
export function loadCommand(reference: string, { tool, cluster }: ImageLoad): readonly [string, ...string[]] {
  return tool === "kind"
    ? ["kind", "load", "docker-image", reference, "--name", cluster]
    : ["minikube", "--profile", cluster, "image", "load", reference];
}
