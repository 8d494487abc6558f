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

/** Returns the start of the URNs of this stack's resources. */
function urnStart(): string {
  return `urn:pulumi:${pulumi.getStack()}::${pulumi.getProject()}::`;
}

/**
 * Returns the URN of an object in its former component, if it had one. With many resources, a URN
 * takes much less time than an alias by name and parent.
 */
export function formerUrn(type: string, name: string, parent?: pulumi.Resource): pulumi.Input<string>[] {
  const [component, suffix] = FORMER_COMPONENTS[type] ?? [];
  if (component === undefined) return [];
  const isSubset = component.endsWith("ProviderTraffic") && name.includes(".");
  const end = `${component}$${type}::${name}-${isSubset ? "subset" : suffix}`;
  if (parent === undefined) return [`${urnStart()}${end}`];
  return [parent.urn.apply((urn) => `${urn.slice(0, urn.lastIndexOf("::"))}$${end}`)];
}

/**
 * Returns a transformation that keeps the resources of older stacks, where each of these objects
 * had a component around it. Still older stacks had no component around the whole mesh, and no
 * prefix in their names.
 */
export function keepFormerNames(mesh: string): pulumi.ResourceTransformation {
  return ({ type, name, props, opts }) => {
    const part = name.slice(`${mesh}-`.length);
    const urns = [...formerUrn(type, name, opts.parent), ...formerUrn(type, part)];
    if (type.startsWith("dubbo-mesh:") && name !== mesh)
      urns.push(`${urnStart()}${type}::${part === "namespace" ? "mesh" : part}`);
    const aliases = [...(opts.aliases ?? []), ...urns];
    return urns.length === 0 ? undefined : { props, opts: { ...opts, aliases } };
  };
}
