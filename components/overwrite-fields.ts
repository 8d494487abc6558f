import type * as pulumi from "@pulumi/pulumi";

interface Annotated {
  readonly metadata?: { readonly annotations?: pulumi.Inputs };
}

/**
 * Makes a Kubernetes object overwrite fields that other managers set. An example is the number of
 * pods, set by an autoscaler that the stack has removed. Otherwise, server-side apply fails on such
 * fields.
 *
 * The provider's option `enablePatchForce` does the same, but the plugin of January 2026 ignores
 * it. The plugin supports the annotation.
 * Source: pulumi-kubernetes's pkg/await/await.go, patchForce, for creates and updates of any object
 */
export const overwriteFields: pulumi.ResourceTransformation = ({ type, props, opts }) => {
  const { metadata } = props as Annotated;
  if (!type.startsWith("kubernetes:") || metadata === undefined) return undefined;
  const annotations = { ...metadata.annotations, "pulumi.com/patchForce": "true" };
  return { props: { ...props, metadata: { ...metadata, annotations } }, opts };
};
