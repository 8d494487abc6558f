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
export class MeshDashboard extends pulumi.ComponentResource {
  constructor(name: string, { namespace }: MeshDashboardArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:dashboard:MeshDashboard", name, {}, opts);
    new kubernetes.core.v1.ConfigMap(
      `${name}-config-map`,
      {
        metadata: { name: "mesh-dashboard", namespace, labels: DASHBOARD_LABELS },
        // Grafana's sidecar writes all dashboards into one folder, so file names must be unique.
        data: pulumi.output(namespace).apply((plain) => ({
          [`dubbo-mesh-${plain}.json`]: `${JSON.stringify(dashboard(plain), undefined, 2)}\n`,
        })),
      },
      { parent: this },
    );
    this.registerOutputs({});
  }
}
