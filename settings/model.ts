import type { Given } from "./keys.ts";
import { type Service, servicesOf } from "./graph.ts";
import { type Security, securityOf } from "./security.ts";

/** Configuration keys that the model copies. */
type Unchanged = "namespace" | "production" | "injection" | "revision" | "istio" | "accessLogs";

/** Complete mesh that the components deploy: all defaults filled in, all values checked. */
export interface MeshModel extends Pick<Given, Unchanged | "observability" | "clusterDomain" | "proxy"> {
  /** Security settings. */
  readonly security: Security;
  /** Applications of the mesh. */
  readonly services: readonly Service[];
}

/** Returns the mesh of a configuration. */
export function modelOf(given: Given): MeshModel {
  const { namespace, production, injection, revision, istio, accessLogs, observability } = given;
  const { clusterDomain, proxy } = given;
  return {
    namespace,
    production,
    injection,
    revision,
    istio,
    accessLogs,
    observability,
    clusterDomain,
    proxy,
    security: securityOf(given.security, injection),
    services: servicesOf(given),
  };
}

/** Name of the shared ServiceAccount and of its Role. Source: the sample, 3.2. */
export const SHARED_ACCOUNT = "dubbo-sa";

/** Returns the DNS name of a service's Service. */
export function hostOf(
  { name }: Pick<Service, "name">,
  { namespace, clusterDomain }: Pick<MeshModel, "namespace" | "clusterDomain">,
): string {
  return `${name}.${namespace}.svc.${clusterDomain}`;
}

/** Returns the name of the ServiceAccount that a service's pods run as. */
export function accountName(service: string, { security }: Pick<MeshModel, "security">): string {
  return security.identities === "shared" ? SHARED_ACCOUNT : service;
}
