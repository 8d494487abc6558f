import * as kubernetes from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { ISTIO_API_VERSIONS, type IstioSpecs } from "./generated/istio.ts";

/** Arguments of {@link IstioResource}. */
export interface IstioResourceArgs<Kind extends keyof IstioSpecs> {
  /** Name of the object. */
  name: pulumi.Input<string>;
  /** Namespace of the object. */
  namespace: pulumi.Input<string>;
  /** Spec of the object; its type follows from the kind. */
  spec: pulumi.Input<IstioSpecs[Kind]>;
}

/** Object of Istio. */
export class IstioResource<Kind extends keyof IstioSpecs> extends kubernetes.apiextensions.CustomResource {
  constructor(
    resource: string,
    kind: Kind,
    { name, namespace, spec }: IstioResourceArgs<Kind>,
    opts?: pulumi.CustomResourceOptions,
  ) {
    const metadata = { name, namespace };
    super(resource, { apiVersion: ISTIO_API_VERSIONS[kind], kind, metadata, spec }, opts);
  }
}
