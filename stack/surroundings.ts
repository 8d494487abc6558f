import * as pulumi from "@pulumi/pulumi";
import type { MeshNamespace } from "../components/namespace.ts";
import type { Service } from "../settings/graph.ts";
import type { Settings } from "../settings/settings.ts";

/** Place and options of every component of a service. */
export interface Surroundings {
  readonly settings: Settings;
  readonly mesh: MeshNamespace;
  readonly opts: pulumi.ComponentResourceOptions;
}

/** DNS name of the service's Service. */
export function hostOf({ name }: Service, { settings, mesh }: Surroundings): pulumi.Output<string> {
  return pulumi.interpolate`${name}.${mesh.namespace}.svc.${settings.clusterDomain}`;
}

/** Name of the shared ServiceAccount and of its rights. Source: the seed, 3.2. */
export const SHARED_ACCOUNT = "dubbo-sa";

/** Name of the ServiceAccount that an application's pods run as. */
export function accountName(application: string, { security }: Settings): string {
  return security.identities === "shared" ? SHARED_ACCOUNT : application;
}
