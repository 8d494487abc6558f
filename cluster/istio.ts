/** Istio's manifest: rendered once by istioctl, made quick to start, applied whenever the cluster starts. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { loadAll } from "js-yaml";
import { api } from "./api.ts";
import { type Artifact, artifactKey, binaryPath, keyOf, makeArtifact } from "./artifacts.ts";
import { CACHE_DIR, KUBECONFIG, KUBECTL, REGISTRY } from "./local.ts";
import { ISTIO_TAG } from "./versions.ts";

/** The settings of the installation, as istioctl takes them. */
const OPERATOR = {
  apiVersion: "install.istio.io/v1alpha1",
  kind: "IstioOperator",
  spec: {
    profile: "minimal",
    hub: `${REGISTRY}/istio`,
    tag: ISTIO_TAG,
    meshConfig: {
      // Else each agent asks three clouds' metadata servers where it runs.
      defaultConfig: { proxyMetadata: { CLOUD_PLATFORM: "none" } },
      // A Telemetry resource turns access logs on by this provider's name.
      extensionProviders: [{ name: "envoy", envoyFileAccessLog: { path: "/dev/stdout" } }],
    },
    values: {
      // Stock Envoy lacks the filters that Istio's own build has.
      telemetry: { enabled: false },
      pilot: {
        autoscaleEnabled: false,
        env: {
          PILOT_ENABLE_METADATA_EXCHANGE: "false",
          PILOT_ENABLE_ALPN_FILTER: "false",
          CLOUD_PLATFORM: "none",
        },
        resources: { requests: { cpu: "10m", memory: "128Mi" } },
      },
      global: {
        imagePullPolicy: "IfNotPresent",
        proxy: { resources: { requests: { cpu: "10m", memory: "64Mi" } } },
      },
    },
  },
};

/** What the cluster needs beside Istio: a namespace for it, and leave for DNS to read services. */
const NAMESPACE = { apiVersion: "v1", kind: "Namespace", metadata: { name: "istio-system" } };
const RBAC = "rbac.authorization.k8s.io";
const DNS_ROLE = {
  apiVersion: `${RBAC}/v1`,
  kind: "ClusterRole",
  metadata: { name: "dubbo-mesh-dns" },
  rules: [
    { apiGroups: [""], resources: ["services", "namespaces"], verbs: ["list", "watch"] },
    { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
  ],
};
const DNS_BINDING = {
  apiVersion: `${RBAC}/v1`,
  kind: "ClusterRoleBinding",
  metadata: { name: "dubbo-mesh-dns" },
  roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: "dubbo-mesh-dns" },
  subjects: [{ apiGroup: RBAC, kind: "User", name: "dubbo-mesh-dns" }],
};

interface KubernetesObject {
  kind: string;
  spec?: { template?: { spec?: { containers?: { readinessProbe?: Record<string, unknown> }[] } } };
}

/** The objects to apply, in order. istiod is asked each second whether it is ready, from its start. */
export function tuned(rendered: readonly unknown[]): unknown[] {
  const objects = structuredClone(
    rendered.filter((one) => one !== null && one !== undefined),
  ) as KubernetesObject[];
  for (const { spec } of objects.filter(({ kind }) => kind === "Deployment")) {
    for (const { readinessProbe } of spec?.template?.spec?.containers ?? []) {
      if (readinessProbe) Object.assign(readinessProbe, { initialDelaySeconds: 0, periodSeconds: 1 });
    }
  }
  // istiod starts while the definitions, which cost the API server most, are still coming in.
  const definitions = objects.filter(({ kind }) => kind === "CustomResourceDefinition");
  const others = objects.filter((object) => !definitions.includes(object));
  return [NAMESPACE, DNS_ROLE, DNS_BINDING, ...others, ...definitions];
}

function manifest(): Artifact {
  const operator = JSON.stringify(OPERATOR);
  return {
    file: join(CACHE_DIR, "istio.json"),
    key: keyOf(artifactKey("istioctl"), operator, readFileSync(import.meta.filename, "utf8")),
    title: "render Istio's manifest",
    make: async (to, scratch) => {
      const settings = join(scratch, "operator.json");
      writeFileSync(settings, operator);
      const { stdout } = await execa(binaryPath("istioctl"), ["manifest", "generate", "-f", settings]);
      const items = tuned(loadAll(stdout));
      writeFileSync(to, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
    },
  };
}

/** Renders the manifest unless it is in the cache. */
export async function makeManifest(): Promise<void> {
  await makeArtifact(manifest());
}

/** Applies the manifest. */
export async function applyManifest(): Promise<void> {
  const [program, ...args] = KUBECTL;
  const options = [
    "--kubeconfig",
    KUBECONFIG,
    "apply",
    "--server-side",
    "--force-conflicts",
    "-f",
    manifest().file,
  ];
  await execa(program, [...args, ...options]);
}

const PROBE_POD = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "injection-probe", labels: { "sidecar.istio.io/inject": "true" } },
  spec: { containers: [{ name: "app", image: "none" }] },
};

/**
 * Whether a pod would get its sidecar now: the API server is asked to go through a pod's creation without creating it. That takes the API server,
 * the controller manager (a service account), kube-proxy (the way to istiod) and istiod itself, and no stale status can pretend it.
 */
export async function injects(): Promise<boolean> {
  const { status, body } = await api("POST", "/api/v1/namespaces/default/pods?dryRun=All", PROBE_POD);
  return status === 201 && body.includes('"istio-proxy"');
}
