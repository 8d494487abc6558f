/** Istio on the local cluster: a Pulumi stack of the component for other clusters. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import * as kubernetes from "@pulumi/kubernetes";
import { LocalWorkspace, type PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import { IstioControlPlane, type IstioControlPlaneArgs } from "../../components/istio.ts";
import { CONTEXT, KUBECONFIG, STATE_DIR } from "../../common/local-cluster.ts";
import { installationOf } from "../../settings/istio.ts";
import { CHARTS } from "./artifacts.ts";
import { ISTIO_HUB } from "./images.ts";
import { clusterKubectl } from "./kind.ts";
import { publicImages, type Source } from "./public.ts";
import { ISTIO_TAG } from "./versions.ts";

/** Pulumi's CLI, with the environment in which it finds its plugins. */
export interface Pulumi {
  readonly command: PulumiCommand;
  readonly env: Readonly<Record<string, string>>;
}

/** Chart values for a small machine without internet access. */
const VALUES = {
  autoscaleEnabled: false,
  resources: { requests: { cpu: "10m", memory: "128Mi" } },
  env: { CLOUD_PLATFORM: "none" },
  global: { proxy: { resources: { requests: { cpu: "10m", memory: "64Mi" } } } },
  meshConfig: {
    // Otherwise each agent asks the metadata servers of three clouds.
    defaultConfig: { proxyMetadata: { CLOUD_PLATFORM: "none" } },
    // A Telemetry resource names this provider to turn access logs on.
    extensionProviders: [{ name: "envoy", envoyFileAccessLog: { path: "/dev/stdout" } }],
  },
};

/** Stock Envoy lacks the filters that Istio's own build has. */
const STOCK_ENVOY = {
  telemetry: { enabled: false },
  env: { ...VALUES.env, PILOT_ENABLE_METADATA_EXCHANGE: "false", PILOT_ENABLE_ALPN_FILTER: "false" },
};

/**
 * Returns the arguments of Istio: a build from packages, or the default release of `istio.mode:
 * install`.
 */
export function istioArgs(source: Source, env: NodeJS.ProcessEnv = process.env): IstioControlPlaneArgs {
  const own = { charts: CHARTS, hub: ISTIO_HUB, tag: ISTIO_TAG, values: { ...VALUES, ...STOCK_ENVOY } };
  const chosen = source === "packages" ? own : { ...publicImages(env).istio, values: VALUES };
  const installed = installationOf({ mode: "install", ...chosen });
  if (installed === undefined) throw new Error("nothing is installed");
  return installed;
}

/** Installs or updates Istio, and waits until istiod is ready. */
export async function installIstio({ command, env }: Pulumi, source: Source): Promise<void> {
  const backend = join(STATE_DIR, "pulumi");
  mkdirSync(backend, { recursive: true });
  const program = (): Promise<void> => {
    const provider = new kubernetes.Provider("kubernetes", { context: CONTEXT, kubeconfig: KUBECONFIG });
    new IstioControlPlane("istio", istioArgs(source), { providers: { kubernetes: provider } });
    return Promise.resolve();
  };
  const envVars = { ...env, PULUMI_BACKEND_URL: `file://${backend}`, PULUMI_CONFIG_PASSPHRASE: "" };
  const projectSettings = { name: "local-cluster", runtime: "nodejs" } as const;
  const stack = await LocalWorkspace.createOrSelectStack(
    { stackName: "istio", projectName: projectSettings.name, program },
    // The default settings name this checkout's folder, which may be gone at the next start.
    { pulumiCommand: command, envVars, workDir: backend, projectSettings },
  );
  await stack.up();
}

const PROBE_POD = JSON.stringify({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "injection-probe", labels: { "sidecar.istio.io/inject": "true" } },
  spec: { containers: [{ name: "app", image: "none" }] },
});

/**
 * Tells whether a new pod gets its sidecar. The API server tries to create a pod without storing
 * it. That needs the controllers (a service account), kube-proxy (the way to istiod) and istiod.
 */
export async function injects(): Promise<boolean> {
  const args = ["create", "--dry-run=server", "--output", "json", "--filename", "-"];
  return clusterKubectl(args, PROBE_POD).then(
    (answer) => answer.includes('"istio-proxy"'),
    () => false,
  );
}
