import type * as pulumi from "@pulumi/pulumi";
import { IstioControlPlane } from "../components/istio.ts";
import { installationOf } from "../settings/istio.ts";
import type { Settings } from "../settings/settings.ts";

/** Istio, where the stack installs it. */
export function controlPlane(
  { istio, revision }: Settings,
  opts: pulumi.ComponentResourceOptions,
): IstioControlPlane[] {
  const installation = installationOf(istio, revision);
  return installation === undefined ? [] : [new IstioControlPlane("istio", installation, opts)];
}
