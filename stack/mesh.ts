import type * as pulumi from "@pulumi/pulumi";
import { MeshDashboard } from "../components/dashboard.ts";
import { MeshNamespace } from "../components/namespace.ts";
import type { Settings } from "../settings/settings.ts";
import { SHARED_ACCOUNT, type Surroundings } from "./surroundings.ts";

/** The namespace, with its accounts. */
export function meshNamespace(settings: Settings, opts: pulumi.ComponentResourceOptions): MeshNamespace {
  const { namespace: name, injection, revision, accessLogs, security, services } = settings;
  const { identities, podSecurity } = security;
  const { tracing } = settings.observability;
  const args = { name, injection, revision, accessLogs, tracing, podSecurity };
  const own = identities === "shared" ? [] : services.map((service) => service.name);
  const accounts = { serviceAccount: SHARED_ACCOUNT, identities: own };
  return new MeshNamespace("mesh", { ...args, ...accounts, protect: settings.production }, opts);
}

/** The dashboard, where one is asked for. */
export function meshDashboard({ settings, mesh, opts }: Surroundings): MeshDashboard[] {
  if (!settings.observability.dashboard) return [];
  return [new MeshDashboard("dashboard", { namespace: mesh.namespace }, opts)];
}
