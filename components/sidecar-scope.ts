import type * as pulumi from "@pulumi/pulumi";
import type { SidecarSpec } from "./generated/istio.ts";
import { IstioResource } from "./istio-resource.ts";

/** Arguments of {@link SidecarScope}. */
export interface SidecarScopeArgs {
  /** Label `app` of the pods, and name of the Sidecar. */
  application: string;
  /** Namespace of the pods and of their callees. */
  namespace: pulumi.Input<string>;
  /** DNS names of the callees' Services. */
  calls: readonly string[];
  /**
   * DNS names of hosts that the proxies call, in any namespace, such as a trace collector. Default:
   * none.
   */
  proxyCalls?: readonly string[];
}

function sidecarSpec({ application, calls, proxyCalls = [] }: SidecarScopeArgs): SidecarSpec {
  const hosts = [...calls.map((host) => `./${host}`), ...proxyCalls.map((host) => `*/${host}`)];
  return {
    workloadSelector: { labels: { app: application } },
    egress: [{ hosts: [...hosts, "istio-system/*"] }],
  };
}

/**
 * Limits the configuration of an application's proxies to its callees. Its size then does not
 * depend on the number of services in the mesh. Calls to other services still leave the pod, but
 * outside the mesh.
 * Source: https://istio.io/latest/docs/reference/config/networking/sidecar/
 */
export class SidecarScope extends IstioResource<"Sidecar"> {
  constructor(name: string, args: SidecarScopeArgs, opts?: pulumi.CustomResourceOptions) {
    const { application, namespace } = args;
    super(name, "Sidecar", { name: application, namespace, spec: sidecarSpec(args) }, opts);
  }
}
