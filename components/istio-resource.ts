import * as kubernetes from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { ISTIO_API_VERSIONS, type IstioSpecs } from "./generated/istio.ts";

/** Arguments of {@link istioResource}. */
export interface IstioResourceArgs<Kind extends keyof IstioSpecs> {
  /** Name of the object. */
  name: pulumi.Input<string>;
  /** Namespace of the object. */
  namespace: pulumi.Input<string>;
  /** Spec of the object; its type follows from the kind. */
  spec: pulumi.Input<IstioSpecs[Kind]>;
}

/** Declares an object of Istio. */
export function istioResource<Kind extends keyof IstioSpecs>(
  resource: string,
  kind: Kind,
  { name, namespace, spec }: IstioResourceArgs<Kind>,
  opts: pulumi.CustomResourceOptions,
): kubernetes.apiextensions.CustomResource {
  const args = { apiVersion: ISTIO_API_VERSIONS[kind], kind, metadata: { name, namespace }, spec };
  return new kubernetes.apiextensions.CustomResource(resource, args, opts);
}
