import type { Given } from "./keys.ts";
import { type Service, servicesOf } from "./graph.ts";
import { type Security, securityOf } from "./security.ts";

/** Keys of the configuration that the mesh takes as they are. */
type Unchanged = "namespace" | "production" | "injection" | "revision" | "istio" | "accessLogs";

/** A mesh in full: every default filled in, every value checked. The components deploy it. */
export interface MeshModel extends Pick<Given, Unchanged | "observability" | "clusterDomain" | "proxy"> {
  /** Who may call whom. */
  readonly security: Security;
  /** The applications. */
  readonly services: readonly Service[];
}

/** Makes the mesh of a configuration. */
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

/** Name of the shared ServiceAccount and of its rights. Source: the sample, 3.2. */
export const SHARED_ACCOUNT = "dubbo-sa";

/** Returns the name of the ServiceAccount that a service's pods run as. */
export function accountName(service: string, { security }: Pick<MeshModel, "security">): string {
  return security.identities === "shared" ? SHARED_ACCOUNT : service;
}
