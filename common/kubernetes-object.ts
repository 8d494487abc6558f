import { z } from "zod";

export const kubernetesObject = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
});

/** A Kubernetes object, as the program declares it or as a file contains it. */
export type KubernetesObject = z.infer<typeof kubernetesObject>;

/** Returns the kind and the name of an object, such as `Service/provider`. */
export function objectName({ kind, metadata: { name } }: KubernetesObject): string {
  return `${kind}/${name}`;
}
