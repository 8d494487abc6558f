import * as kubernetes from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { APPLICATION_CONTAINER, PROBE_PORT, type Runtime } from "../settings/names.ts";
import type { Resources } from "../settings/resources.ts";
import { fewest, type Scale } from "../settings/scale.ts";
import { toYaml } from "../common/yaml.ts";
import { type DubboApplication, RUNTIME_PARTS, type RuntimeParts } from "./runtime.ts";

type DeploymentArgs = kubernetes.apps.v1.DeploymentArgs;
type ServiceArgs = kubernetes.core.v1.ServiceArgs;
type Container = kubernetes.types.input.core.v1.Container;
type Probe = kubernetes.types.input.core.v1.Probe;
type TopologySpreadConstraint = kubernetes.types.input.core.v1.TopologySpreadConstraint;

/** Name of the Triple port. The prefix `grpc-` tells Istio the protocol. Source: the seed, 7. */
export const TRIPLE_PORT = "grpc-tri";
/** Seconds that a pod may take to end when its drain and its calls are over. */
const END_SECONDS = 5;
/** Seconds that a proxy waits before it counts open connections, at least: Istio's default. */
const MIN_PROXY_DRAIN_SECONDS = 5;

/**
 * Fields of Istio's ProxyConfig that the annotation `proxy.istio.io/config` sets.
 * Source: https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
 */
export interface ProxyConfig {
  holdApplicationUntilProxyStarts?: boolean;
  /** Environment variables of the proxy. */
  proxyMetadata?: Readonly<Record<string, string>>;
  /** Statistics of Envoy beside Istio's defaults. */
  proxyStatsMatcher?: { inclusionRegexps: readonly string[] };
}

/** What a Deployment of a Dubbo application is made of; its scale is plain, since a budget or an autoscaler is there or is not. */
export interface Workload extends DubboApplication, Scale {
  /** Name of the Deployment. */
  name: string;
  /** Namespace of the Deployment. */
  namespace: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** The image, by digest. */
  image: pulumi.Input<string>;
  /** What the image runs on. */
  runtime: Runtime;
  /** Resources of the application's container. */
  resources: Resources;
  /** Configuration of the proxy, in addition to the fields that every proxy gets. */
  proxyConfig?: ProxyConfig;
  /** Further annotations of the pods. */
  annotations: Readonly<Record<string, string>>;
}

function httpProbe(path: string): Probe {
  return { httpGet: { path, port: "http-health" } };
}

/**
 * The seed's probes (4.1), except that the startup probe looks every second instead of every ten, for the same
 * 300 s: a pod that has missed the first look is not kept waiting. Istio rewrites them, so they pass under STRICT mTLS.
 */
export const PROBES = {
  startupProbe: { ...httpProbe("/startup"), periodSeconds: 1, failureThreshold: 300 },
  livenessProbe: { ...httpProbe("/live"), initialDelaySeconds: 5, periodSeconds: 5 },
  readinessProbe: { ...httpProbe("/ready"), initialDelaySeconds: 5, periodSeconds: 5 },
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

/** Time from SIGTERM, or the sleep before it, to SIGKILL, seconds: no call in flight is cut. */
function gracePeriod({ drainSeconds, finishSeconds }: Workload): number {
  return Math.ceil(drainSeconds) + Math.ceil(finishSeconds) + END_SECONDS;
}

/**
 * What every proxy is told. Native sidecars start before the application and end after it by themselves. Where the kubelet knows none
 * (before 1.33), the application waits for its proxy, and the proxy, which gets SIGTERM with the application and would go after 5 s, stays
 * for the drain and for as long as calls are open.
 * Source: Istio's injection-template.yaml and pkg/envoy/agent.go; https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
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

/** Pods of a version go to different nodes and zones where there is room; those of an older template do not count. */
function spread(labels: Readonly<Record<string, string>>): TopologySpreadConstraint[] {
  return ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map((topologyKey) => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: labels },
    matchLabelKeys: ["pod-template-hash"],
  }));
}

/** A rollout starts a pod before it ends one: as many serve as before. */
const STRATEGY = { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };

/**
 * When Pulumi takes a rollout for done: when every pod is new and available, as `kubectl rollout status` does. By itself it may take the state
 * before the rollout for that after it, and then removes what the old pods still need.
 * Source: pulumi-kubernetes's pkg/await/deployment.go, which does not look at observedGeneration, and condition/jsonpath.go, which does.
 */
function rolledOut(workload: Workload): string {
  const available = ['@.type=="Available"', '@.status=="True"'];
  const counts = ["replicas", "updatedReplicas"].map((count) => `$.status.${count}==$.spec.replicas`);
  // A status does not say that there are none.
  const conditions = fewest(workload) === 0 ? available : [...available, ...counts];
  // No spaces: with them, its parser takes two conditions at most.
  return `jsonpath={.status.conditions[?${conditions.join("&&")}]}`;
}

/** The Deployment of a Dubbo application, as Kubernetes takes it. Where an autoscaler decides on its pods, it starts with the fewest. */
function deployment(workload: Workload): DeploymentArgs {
  const { name, namespace, application, version, annotations } = workload;
  const labels = { app: application, version };
  const { container, pod, annotations: own } = RUNTIME_PARTS[workload.runtime](workload);
  return {
    metadata: { name, namespace, labels, annotations: { "pulumi.com/waitFor": rolledOut(workload) } },
    spec: {
      replicas: fewest(workload),
      strategy: STRATEGY,
      selector: { matchLabels: labels },
      template: {
        metadata: {
          labels,
          annotations: { "proxy.istio.io/config": proxyConfigOf(workload), ...own, ...annotations },
        },
        spec: {
          serviceAccountName: workload.serviceAccount,
          // The applications do not talk to the API server; the sidecar has a token of its own.
          automountServiceAccountToken: false,
          // A Service named dubbo-protocol would set DUBBO_PROTOCOL_PORT.
          enableServiceLinks: false,
          terminationGracePeriodSeconds: gracePeriod(workload),
          // For the sidecar as well, which Istio gives none: Pod Security `restricted` asks for it.
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
 * Keeps Pulumi from waiting 10 s for endpoints that do not change: the Deployments behind the Service are waited
 * for. A delete is waited for all the same.
 * Source: pulumi-kubernetes's pkg/await/service.go and pkg/metadata/overrides.go
 */
const NO_WAIT = { "pulumi.com/skipAwait": "true" };

/**
 * The Service of a Dubbo application: never headless, selected by `app` alone so that every version is behind it.
 * `appProtocol` and the port's name both say gRPC; `appProtocol` wins. Source: the seed, 7.
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
 * One pod at a time may be evicted, and one that is not ready in any case: it serves nobody, and would hold up a node's drain.
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
 * Scales by what the application's container uses, without its sidecar, which may have no request to measure by.
 * Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#container-resource-metrics
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
 * Declares a Deployment, with a budget of evictions where there is more than one pod, and with an autoscaler where it is scaled.
 * @param resource name of the Deployment's resource
 * @param component that they belong to, and whose arguments the workload is made of
 */
export function deploy(resource: string, workload: Workload, component: pulumi.ComponentResource): void {
  const opts = { parent: component };
  new kubernetes.apps.v1.Deployment(resource, deployment(workload), {
    ...opts,
    ...(workload.autoscale !== undefined && { ignoreChanges: ["spec.replicas"] }),
  });
  if (fewest(workload) > 1)
    new kubernetes.policy.v1.PodDisruptionBudget(`${resource}-budget`, budget(workload), opts);
  if (workload.autoscale !== undefined) {
    const args = autoscaler(workload, workload.autoscale);
    new kubernetes.autoscaling.v2.HorizontalPodAutoscaler(`${resource}-autoscaler`, args, opts);
  }
}
