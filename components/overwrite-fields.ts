import type * as pulumi from "@pulumi/pulumi";

interface Annotated {
  readonly metadata?: { readonly annotations?: pulumi.Inputs };
}

/**
 * Lets a Kubernetes object overwrite fields that other managers have set, such as the number of pods by an
 * autoscaler that the stack has no longer. Server-side apply fails on them otherwise. The provider's
 * `enablePatchForce` does the same, but the plugin of January 2026 ignores it; it knows the annotation.
 * Source: pulumi-kubernetes's pkg/await/await.go, patchForce, for creates and updates of any object
 */
export const overwriteFields: pulumi.ResourceTransformation = ({ type, props, opts }) => {
  const { metadata } = props as Annotated;
  if (!type.startsWith("kubernetes:") || metadata === undefined) return undefined;
  const annotations = { ...metadata.annotations, "pulumi.com/patchForce": "true" };
  return { props: { ...props, metadata: { ...metadata, annotations } }, opts };
};
