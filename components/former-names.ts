import * as pulumi from "@pulumi/pulumi";
import { IMAGE_TYPE } from "../settings/names.ts";

/** Component that contained an object of the type, and suffix of the object's name. */
const FORMER_COMPONENTS: Readonly<Record<string, readonly [type: string, suffix: string]>> = {
  [IMAGE_TYPE]: ["dubbo-mesh:image:ApplicationImage", "image"],
  "kubernetes:core/v1:ConfigMap": ["dubbo-mesh:dashboard:MeshDashboard", "config-map"],
  "kubernetes:networking.istio.io/v1:DestinationRule": [
    "dubbo-mesh:traffic:ProviderTraffic",
    "destination-rule",
  ],
  "kubernetes:networking.istio.io/v1:Sidecar": ["dubbo-mesh:sidecar-scope:SidecarScope", "sidecar"],
  "kubernetes:networking.istio.io/v1:VirtualService": [
    "dubbo-mesh:traffic:ProviderRoutes",
    "virtual-service",
  ],
  "kubernetes:networking.istio.io/v1alpha3:EnvoyFilter": [
    "dubbo-mesh:health-check:ActiveHealthCheck",
    "envoy-filter",
  ],
};

/**
 * Returns the URN of a resource without a parent.
 * @param types the resource's type, after those of its parents and `$`
 */
export function rootUrn(types: string, name: string): string {
  return `urn:pulumi:${pulumi.getStack()}::${pulumi.getProject()}::${types}::${name}`;
}

/**
 * Returns the URN of an object in its former component, if it had one. With many resources, a URN
 * takes much less time than an alias by name and parent.
 */
export function formerUrn(type: string, name: string, parent?: pulumi.Resource): pulumi.Input<string>[] {
  const [component, suffix] = FORMER_COMPONENTS[type] ?? [];
  if (component === undefined) return [];
  const child = `${name}-${name.includes("-traffic.") ? "subset" : suffix}`;
  const types = `${component}$${type}`;
  if (parent === undefined) return [rootUrn(types, child)];
  return [parent.urn.apply((urn) => `${urn.slice(0, urn.lastIndexOf("::"))}$${types}::${child}`)];
}

/** Returns the options of a resource with further former URNs. */
export function withAliases(
  opts: pulumi.ResourceOptions,
  urns: readonly pulumi.Input<string>[],
): pulumi.ResourceOptions {
  return { ...opts, aliases: [...(opts.aliases ?? []), ...urns] };
}

/** Keeps the objects of older stacks, where each of them had a component around it. */
export const keepFormerChildren: pulumi.ResourceTransformation = ({ type, name, props, opts }) => {
  const urns = formerUrn(type, name, opts.parent);
  return urns.length === 0 ? undefined : { props, opts: withAliases(opts, urns) };
};
