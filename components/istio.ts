import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { ISTIO_NAMESPACE, type IstioInstallation, releaseName } from "../settings/istio.ts";
import { fieldsOf } from "../settings/services.ts";

type ReleaseArgs = kubernetes.helm.v3.ReleaseArgs;
type Values = Readonly<Record<string, unknown>>;

/** Arguments of {@link IstioControlPlane}. Plain, since each revision has its own Helm release. */
export type IstioControlPlaneArgs = IstioInstallation;

/** Charts, and their folders in manifests/charts of an Istio release. */
const CHART_FOLDERS = { base: "base", istiod: "istio-control/istio-discovery" } as const;

/**
 * Returns a version of a chart, from a Helm repository, an OCI registry or a folder. A folder has
 * one version, so `version` has no effect there.
 * Source: https://www.pulumi.com/registry/packages/kubernetes/api-docs/helm/v3/release/
 */
export function chartOf(
  name: keyof typeof CHART_FOLDERS,
  charts: string,
  version: string,
): Pick<ReleaseArgs, "chart" | "version" | "repositoryOpts"> {
  const place = charts.replace(/\/+$/, "");
  if (place.startsWith("oci://")) return { chart: `${place}/${name}`, version };
  if (/^https?:\/\//.test(place)) return { chart: name, version, repositoryOpts: { repo: place } };
  return { chart: `${place}/${CHART_FOLDERS[name]}` };
}

/**
 * Returns the values of the chart `base`. In mode `crds` it installs only the CRDs. Otherwise,
 * `defaultRevision` names the revision whose webhook validates Istio's objects.
 * Source: https://github.com/istio/istio/blob/master/manifests/charts/base/values.yaml
 */
export function baseValues({ mode, current }: Pick<IstioInstallation, "mode" | "current">): Values {
  if (mode === "crds") return { defaultRevision: "", global: { resourceScope: "cluster" } };
  return { defaultRevision: current === "" ? "default" : current };
}

/** Returns the values of the chart `istiod`. An empty revision is the default one. */
export function istiodValues(
  { hub, tag, values }: Pick<IstioInstallation, "hub" | "tag" | "values">,
  revision: string,
): Values {
  const images = { ...(hub !== undefined && { hub }), ...(tag !== undefined && { tag }) };
  const global = { ...fieldsOf(values["global"]), ...images };
  return { ...values, revision, ...(Object.keys(global).length > 0 && { global }) };
}

/**
 * Istio's CRDs, and one istiod for each revision. A resource that depends on this component is
 * created after istiod is ready, and deleted before it.
 *
 * The namespace and the CRDs stay when this component is deleted. Without its CRDs, the cluster
 * would lose all Istio objects.
 * Source: https://istio.io/latest/docs/setup/install/helm/
 */
export class IstioControlPlane extends pulumi.ComponentResource {
  constructor(name: string, args: IstioControlPlaneArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:istio:IstioControlPlane", name, {}, opts);
    const { charts, version } = args;
    const base = new kubernetes.helm.v3.Release(
      `${name}-base`,
      {
        ...chartOf("base", charts, version),
        name: "istio-base",
        namespace: ISTIO_NAMESPACE,
        createNamespace: true,
        values: baseValues(args),
      },
      { parent: this },
    );
    for (const revision of args.revisions) this.#istiod(name, args, revision, base);
    this.registerOutputs({});
  }

  #istiod(
    name: string,
    args: IstioControlPlaneArgs,
    { name: revision, version }: IstioInstallation["revisions"][number],
    base: pulumi.Resource,
  ): void {
    const release = releaseName(revision);
    new kubernetes.helm.v3.Release(
      `${name}-${release}`,
      {
        ...chartOf("istiod", args.charts, version),
        name: release,
        namespace: ISTIO_NAMESPACE,
        values: istiodValues(args, revision),
      },
      { parent: this, dependsOn: [base] },
    );
  }
}
