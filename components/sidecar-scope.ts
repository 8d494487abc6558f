import * as pulumi from "@pulumi/pulumi";
import type { SidecarSpec } from "./generated/istio.ts";
import { istioResource } from "./istio-resource.ts";

/** Arguments of {@link SidecarScope}. */
export interface SidecarScopeArgs {
  /** Label `app` of the pods, and name of the Sidecar. */
  application: string;
  /** Namespace of the pods and of what they call. */
  namespace: pulumi.Input<string>;
  /** DNS names of the Services that they call. */
  calls: readonly string[];
  /** DNS names of what the proxies themselves call, in any namespace, such as a collector of traces. Default: none. */
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
 * Keeps the configuration of an application's proxies as small as what it calls, however many services the mesh has. Calls to others still
 * go out, but without the mesh. Source: https://istio.io/latest/docs/reference/config/networking/sidecar/
 */
export class SidecarScope extends pulumi.ComponentResource {
  constructor(name: string, args: SidecarScopeArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:sidecar-scope:SidecarScope", name, {}, opts);
    const { application, namespace } = args;
    const spec = sidecarSpec(args);
    istioResource(`${name}-sidecar`, "Sidecar", { name: application, namespace, spec }, { parent: this });
    this.registerOutputs({});
  }
}
