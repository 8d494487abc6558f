import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { dashboard } from "./grafana.ts";

/** Arguments of {@link MeshDashboard}. */
export interface MeshDashboardArgs {
  /** Namespace of the mesh, and of the ConfigMap. */
  namespace: pulumi.Input<string>;
}

/**
 * Label that Grafana's Helm chart finds dashboards by, if its sidecar watches all namespaces.
 * Source: https://github.com/grafana/helm-charts/blob/main/charts/grafana/README.md
 * (sidecar.dashboards)
 */
export const DASHBOARD_LABELS = { grafana_dashboard: "1" };

/** Grafana dashboard of the mesh, in a ConfigMap. */
export class MeshDashboard extends kubernetes.core.v1.ConfigMap {
  constructor(name: string, { namespace }: MeshDashboardArgs, opts?: pulumi.CustomResourceOptions) {
    const metadata = { name: "mesh-dashboard", namespace, labels: DASHBOARD_LABELS };
    // Grafana's sidecar writes all dashboards into one folder, so file names must be unique.
    const data = pulumi.output(namespace).apply((plain) => ({
      [`dubbo-mesh-${plain}.json`]: `${JSON.stringify(dashboard(plain), undefined, 2)}\n`,
    }));
    super(name, { metadata, data }, opts);
  }
}
