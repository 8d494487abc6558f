import type { KubernetesObject } from "../../../common/kubernetes-object.ts";

// Manifests of Apache's sample and of its guide, reduced. Names, fields and values are the
// originals.

const PROVIDER = "dubbo-samples-mesh-provider";
const CONSUMER = "dubbo-samples-mesh-consumer";
const HOST = `${PROVIDER}.dubbo-demo.svc.cluster.local`;

function inDemo(apiVersion: string, kind: string, name: string, spec: object): KubernetesObject {
  return { apiVersion, kind, metadata: { name, namespace: "dubbo-demo" }, spec };
}

const namespace = {
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name: "dubbo-demo", labels: { "istio-injection": "enabled" } },
};

function service(app: string, name: string): KubernetesObject {
  return inDemo("v1", "Service", app, {
    type: "ClusterIP",
    selector: { app },
    ports: [{ name, port: 50052, targetPort: 50052 }],
  });
}

/** Probes of chapter 4.1 of the sample's guide, on the port by number. */
const SEED_PROBES = {
  livenessProbe: { httpGet: { path: "/live", port: 22222 }, initialDelaySeconds: 5, periodSeconds: 5 },
  readinessProbe: { httpGet: { path: "/ready", port: 22222 }, initialDelaySeconds: 5, periodSeconds: 5 },
  startupProbe: { httpGet: { path: "/startup", port: 22222 }, failureThreshold: 30, periodSeconds: 10 },
};

interface Pods {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly replicas: number;
  readonly tag: string;
  readonly annotations?: object;
  readonly serviceAccountName?: string;
}

function deployment({ name, labels, replicas, tag, annotations = {}, ...pod }: Pods): KubernetesObject {
  const container = {
    name: "server",
    image: `apache/dubbo-demo:${tag}`,
    ports: [
      { name: "grpc-tri", containerPort: 50052 },
      { name: "http-health", containerPort: 22222 },
    ],
    ...SEED_PROBES,
  };
  return inDemo("apps/v1", "Deployment", name, {
    replicas,
    selector: { matchLabels: labels },
    template: { metadata: { labels, annotations }, spec: { ...pod, containers: [container] } },
  });
}

function envoyFilter(healthyThreshold: number): KubernetesObject {
  const check = {
    timeout: "5s",
    interval: "5s",
    initial_jitter: "1s",
    interval_jitter: "1s",
    interval_jitter_percent: 50,
    unhealthy_threshold: 1,
    healthy_threshold: healthyThreshold,
    reuse_connection: true,
    no_traffic_interval: "2s",
    no_traffic_healthy_interval: "4s",
    unhealthy_interval: "5s",
    unhealthy_edge_interval: "10s",
    healthy_edge_interval: "10s",
    tls_options: { alpn_protocols: ["http1.1", "h2"] },
    transport_socket_match_criteria: { useMTLS: true },
    grpc_health_check: { authority: HOST },
  };
  return inDemo("networking.istio.io/v1alpha3", "EnvoyFilter", "cluster", {
    workloadSelector: { labels: { app: CONSUMER } },
    configPatches: [
      {
        applyTo: "CLUSTER",
        match: { cluster: { name: `outbound|50052||${HOST}` } },
        patch: { operation: "MERGE", value: { health_checks: [check] } },
      },
    ],
  });
}

function rules(http: object, subsets: readonly string[]): KubernetesObject[] {
  return [
    inDemo("networking.istio.io/v1alpha3", "VirtualService", PROVIDER, { hosts: [HOST], http: [http] }),
    inDemo("networking.istio.io/v1alpha3", "DestinationRule", PROVIDER, {
      host: HOST,
      trafficPolicy: { loadBalancer: { simple: "ROUND_ROBIN" } },
      subsets: subsets.map((name) => ({ name, labels: { version: name } })),
    }),
  ];
}

/**
 * Manifests of the sample's guide: one version, dubbo-sa for all pods, calls on the cluster without
 * a subset.
 */
export const SEED: readonly KubernetesObject[] = [
  namespace,
  { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "dubbo-sa", namespace: "dubbo-demo" } },
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name: "dubbo-sa", namespace: "dubbo-demo" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "dubbo-sa" },
    subjects: [{ kind: "ServiceAccount", name: "dubbo-sa" }],
  },
  service(PROVIDER, "grpc-tri"),
  service(CONSUMER, "grpc-dubbo"),
  ...rules({ route: [{ destination: { host: HOST } }] }, []),
  deployment({
    name: PROVIDER,
    labels: { app: PROVIDER },
    replicas: 2,
    tag: "dubbo-samples-mesh-provider-v1_0.0.1",
    serviceAccountName: "dubbo-sa",
  }),
  deployment({
    name: CONSUMER,
    labels: { app: CONSUMER },
    replicas: 1,
    tag: "dubbo-samples-mesh-consumer_0.0.1",
    serviceAccountName: "dubbo-sa",
  }),
  envoyFilter(1),
];

/**
 * Manifests of Apache's sample: two versions, probes that are not rewritten, healthy_threshold 20.
 * Source: apache/dubbo-samples, dubbo-samples-mesh-k8s/deploy.
 */
export const SAMPLE: readonly KubernetesObject[] = [
  namespace,
  service(PROVIDER, "grpc-tri"),
  service(CONSUMER, "grpc-dubbo"),
  ...rules(
    {
      route: [
        { destination: { host: HOST, subset: "v1", port: { number: 50052 } }, weight: 80 },
        { destination: { host: HOST, subset: "v2", port: { number: 50052 } }, weight: 20 },
      ],
    },
    ["v1", "v2"],
  ),
  ...[
    { app: PROVIDER, version: "v1", name: `${PROVIDER}-v1`, replicas: 2 },
    { app: PROVIDER, version: "v2", name: `${PROVIDER}-v2`, replicas: 2 },
    { app: CONSUMER, version: "v1", name: CONSUMER, replicas: 1 },
  ].map(({ app, version, name, replicas }) =>
    deployment({
      name,
      labels: { app, version },
      replicas,
      tag: `${name}_0.0.1`,
      annotations: { "sidecar.istio.io/rewriteAppHTTPProbers": "false" },
    }),
  ),
  envoyFilter(20),
];
