import * as kubernetes from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { APPLICATION_CONTAINER, PROBE_PORT, type Runtime } from "../settings/names.ts";
import type { Resources } from "../settings/resources.ts";
import { minReplicas, type Scale } from "../settings/scale.ts";
import { toYaml } from "../common/yaml.ts";
import { type RuntimeApplication, RUNTIME_PARTS, type RuntimeParts } from "./runtime.ts";

type DeploymentArgs = kubernetes.apps.v1.DeploymentArgs;
type ServiceArgs = kubernetes.core.v1.ServiceArgs;
type Container = kubernetes.types.input.core.v1.Container;
type Probe = kubernetes.types.input.core.v1.Probe;
type TopologySpreadConstraint = kubernetes.types.input.core.v1.TopologySpreadConstraint;

/** Name of the Triple port. The prefix `grpc-` tells Istio the protocol. Source: the sample, 7. */
export const TRIPLE_PORT = "grpc-tri";
/** Time for a pod to end after its drain and its calls, seconds. */
const END_SECONDS = 5;
/** Shortest time before a proxy counts open connections, seconds. It equals Istio's default. */
const MIN_PROXY_DRAIN_SECONDS = 5;

/**
 * Fields of Istio's ProxyConfig that the annotation `proxy.istio.io/config` sets.
 * Source: https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
 */
export interface ProxyConfig {
  holdApplicationUntilProxyStarts?: boolean;
  /** Environment variables of the proxy. */
  proxyMetadata?: Readonly<Record<string, string>>;
  /** Envoy statistics in addition to Istio's defaults. */
  proxyStatsMatcher?: { inclusionRegexps: readonly string[] };
}

/**
 * Values of a Dubbo application's Deployment. The scale is plain, since it decides whether a budget
 * or an autoscaler exists.
 */
export interface Workload extends RuntimeApplication, Scale {
  /** Name of the Deployment. */
  name: string;
  /** Namespace of the Deployment. */
  namespace: pulumi.Input<string>;
  /** ServiceAccount that the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** Image, with a digest or with a tag other than latest. */
  image: pulumi.Input<string>;
  /** Runtime of the image. */
  runtime: Runtime;
  /** Resources of the application's container. */
  resources: Resources;
  /** Proxy configuration in addition to the fields that every proxy gets. Default: none. */
  proxyConfig?: ProxyConfig;
  /** Further annotations of the pods. */
  annotations: Readonly<Record<string, string>>;
}

function httpProbe(path: string): Probe {
  return { httpGet: { path, port: "http-health" } };
}

/**
 * Probes of the sample (4.1), but a pod is ready 6 to 8 s sooner. The startup probe runs every
 * second instead of every ten, with the same limit of 300 s. The other two probes start after it,
 * so they need no delay of their own. Istio rewrites the probes, so they pass under STRICT mTLS.
 */
export const PROBES = {
  startupProbe: { ...httpProbe("/startup"), periodSeconds: 1, failureThreshold: 300 },
  livenessProbe: { ...httpProbe("/live"), periodSeconds: 5 },
  readinessProbe: { ...httpProbe("/ready"), periodSeconds: 5 },
} satisfies Record<string, Probe>;

function applicationContainer(
  { image, port, resources }: Workload,
  parts: RuntimeParts["container"],
): Container {
  return {
    name: APPLICATION_CONTAINER,
    image,
    imagePullPolicy: "IfNotPresent",
    ports: [
      { name: TRIPLE_PORT, containerPort: port },
      { name: "http-health", containerPort: PROBE_PORT },
    ],
    resources,
    ...parts,
    ...PROBES,
  };
}

/**
 * Returns the time from SIGTERM, or from the sleep before it, to SIGKILL, seconds. It is long
 * enough for all calls in flight.
 */
function gracePeriod({ drainSeconds, finishSeconds }: Workload): number {
  return Math.ceil(drainSeconds) + Math.ceil(finishSeconds) + END_SECONDS;
}

/**
 * Returns the ProxyConfig of a pod, as YAML. A native sidecar starts before the application and
 * ends after it. Without native sidecars (kubelet before 1.33), these fields keep the same order:
 * - The application starts after its proxy.
 * - The proxy gets SIGTERM together with the application, and would exit after 5 s. It now stays
 *   for the drain, and then until no connection is open.
 *
 * Source: Istio's injection-template.yaml and pkg/envoy/agent.go;
 * https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
 */
function proxyConfigOf({ proxyConfig, drainSeconds }: Workload): string {
  const config: ProxyConfig = {
    ...proxyConfig,
    holdApplicationUntilProxyStarts: true,
    proxyMetadata: {
      EXIT_ON_ZERO_ACTIVE_CONNECTIONS: "true",
      MINIMUM_DRAIN_DURATION: `${Math.max(Math.ceil(drainSeconds), MIN_PROXY_DRAIN_SECONDS)}s`,
    },
  };
  return toYaml(config);
}

/**
 * Spreads the pods of a version over nodes and zones if there is room. Pods of an older template do
 * not count.
 */
function spread(labels: Readonly<Record<string, string>>): TopologySpreadConstraint[] {
  return ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map((topologyKey) => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: labels },
    matchLabelKeys: ["pod-template-hash"],
  }));
}

/** Rollout that starts a pod before it ends one. The number of serving pods never drops. */
const STRATEGY = { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };

/**
 * Returns the condition for the end of a rollout: every pod is new and available. `kubectl rollout
 * status` waits for the same.
 *
 * Pulumi's own check ignores observedGeneration. It may read the status from before the rollout,
 * and then delete objects that the old pods still need.
 * Source: pulumi-kubernetes's pkg/await/deployment.go; condition/jsonpath.go, which respects
 * observedGeneration
 */
function rolledOut(workload: Workload): string {
  const available = ['@.type=="Available"', '@.status=="True"'];
  const counts = ["replicas", "updatedReplicas"].map((count) => `$.status.${count}==$.spec.replicas`);
  // With zero pods, the status has no counts.
  const conditions = minReplicas(workload) === 0 ? available : [...available, ...counts];
  // Pulumi's parser accepts more than two conditions only without spaces.
  return `jsonpath={.status.conditions[?${conditions.join("&&")}]}`;
}

/**
 * Returns the Deployment of a Dubbo application. With an autoscaler, it starts with the smallest
 * number of pods.
 */
function deployment(workload: Workload): DeploymentArgs {
  const { name, namespace, application, version, annotations } = workload;
  const labels = { app: application, version };
  const { container, pod, annotations: own } = RUNTIME_PARTS[workload.runtime](workload);
  return {
    metadata: { name, namespace, labels, annotations: { "pulumi.com/waitFor": rolledOut(workload) } },
    spec: {
      replicas: minReplicas(workload),
      strategy: STRATEGY,
      selector: { matchLabels: labels },
      template: {
        metadata: {
          labels,
          annotations: { "proxy.istio.io/config": proxyConfigOf(workload), ...own, ...annotations },
        },
        spec: {
          serviceAccountName: workload.serviceAccount,
          // The applications do not call the API server. The sidecar mounts a separate token.
          automountServiceAccountToken: false,
          // Otherwise, a Service named dubbo-protocol would set DUBBO_PROTOCOL_PORT.
          enableServiceLinks: false,
          terminationGracePeriodSeconds: gracePeriod(workload),
          // Set for the whole pod: Istio gives the sidecar no profile, and Pod Security
          // `restricted` requires one.
          securityContext: { seccompProfile: { type: "RuntimeDefault" } },
          topologySpreadConstraints: spread(labels),
          containers: [applicationContainer(workload, container)],
          ...pod,
        },
      },
    },
  };
}

/**
 * Skips Pulumi's wait of 10 s for stable endpoints, because Pulumi waits for the Deployments behind
 * the Service. Pulumi still waits for a deletion.
 * Source: pulumi-kubernetes's pkg/await/service.go and pkg/metadata/overrides.go
 */
const NO_WAIT = { "pulumi.com/skipAwait": "true" };

/**
 * Returns the Service of a Dubbo application. It is never headless. It selects by `app` alone, so
 * it includes every version. Both `appProtocol` and the port's name say gRPC; `appProtocol` takes
 * precedence.
 * Source: the sample, 7
 */
export function service(application: string, namespace: pulumi.Input<string>, port: number): ServiceArgs {
  return {
    metadata: { name: application, namespace, labels: { app: application }, annotations: NO_WAIT },
    spec: {
      type: "ClusterIP",
      selector: { app: application },
      ports: [{ name: TRIPLE_PORT, port, targetPort: TRIPLE_PORT, protocol: "TCP", appProtocol: "grpc" }],
    },
  };
}

/**
 * Returns a budget that lets one pod at a time be evicted. A pod that is not ready may always be
 * evicted: it serves no calls, and would delay a node's drain.
 * Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/
 */
function budget({
  name,
  namespace,
  application,
  version,
}: Workload): kubernetes.policy.v1.PodDisruptionBudgetArgs {
  return {
    metadata: { name, namespace },
    spec: {
      maxUnavailable: 1,
      unhealthyPodEvictionPolicy: "AlwaysAllow",
      selector: { matchLabels: { app: application, version } },
    },
  };
}

/**
 * Returns an autoscaler by the CPU of the application's container. It ignores the sidecar, which
 * may have no CPU request to compare with.
 * Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ (container
 * resource metrics)
 */
function autoscaler(
  { name, namespace }: Workload,
  { min, max, cpu }: NonNullable<Scale["autoscale"]>,
): kubernetes.autoscaling.v2.HorizontalPodAutoscalerArgs {
  const target = { type: "Utilization", averageUtilization: cpu };
  return {
    metadata: { name, namespace },
    spec: {
      scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name },
      minReplicas: min,
      maxReplicas: max,
      metrics: [
        {
          type: "ContainerResource",
          containerResource: { name: "cpu", container: APPLICATION_CONTAINER, target },
        },
      ],
    },
  };
}

/**
 * Declares a Deployment. More than one pod adds a PodDisruptionBudget. `autoscale` adds an
 * autoscaler.
 * @param resource name of the Deployment's resource
 * @param component parent of all these resources
 */
export function deploy(resource: string, workload: Workload, component: pulumi.ComponentResource): void {
  const opts = { parent: component };
  new kubernetes.apps.v1.Deployment(resource, deployment(workload), {
    ...opts,
    ...(workload.autoscale !== undefined && { ignoreChanges: ["spec.replicas"] }),
  });
  if (minReplicas(workload) > 1)
    new kubernetes.policy.v1.PodDisruptionBudget(`${resource}-budget`, budget(workload), opts);
  if (workload.autoscale !== undefined) {
    const args = autoscaler(workload, workload.autoscale);
    new kubernetes.autoscaling.v2.HorizontalPodAutoscaler(`${resource}-autoscaler`, args, opts);
  }
}
