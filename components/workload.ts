import type * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { APPLICATION_CONTAINER, type Runtime } from "../lib/names.ts";
import { type DubboApplication, PROBE_PORT, RUNTIME_PARTS, type RuntimeParts } from "./runtime.ts";

type DeploymentArgs = kubernetes.apps.v1.DeploymentArgs;
type ServiceArgs = kubernetes.core.v1.ServiceArgs;
type Container = kubernetes.types.input.core.v1.Container;
type Probe = kubernetes.types.input.core.v1.Probe;

/** Name of the Triple port. The prefix `grpc-` tells Istio the protocol. Source: the seed, 7. */
export const TRIPLE_PORT = "grpc-tri";
/** Seconds that a pod may take to end when its drain and its calls are over. */
const END_SECONDS = 5;

/** What a Deployment of a Dubbo application is made of. */
export interface Workload extends DubboApplication {
  /** Name of the Deployment. */
  name: pulumi.Input<string>;
  /** Namespace of the Deployment. */
  namespace: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** The image, by digest. */
  image: pulumi.Input<string>;
  /** What the image runs on. */
  runtime: Runtime;
  /** Pods. */
  replicas: pulumi.Input<number>;
  /** Annotations of the pods. */
  annotations?: Record<string, pulumi.Input<string>>;
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

function applicationContainer({ image, port }: Workload, parts: RuntimeParts["container"]): Container {
  return {
    name: APPLICATION_CONTAINER,
    image,
    imagePullPolicy: "IfNotPresent",
    ports: [
      { name: TRIPLE_PORT, containerPort: port },
      { name: "http-health", containerPort: PROBE_PORT },
    ],
    ...parts,
    ...PROBES,
  };
}

/** Time from SIGTERM, or the sleep before it, to SIGKILL, seconds: no call in flight is cut. */
function gracePeriod({ drainSeconds, finishSeconds }: Workload): pulumi.Output<number> {
  return pulumi
    .all([drainSeconds, finishSeconds])
    .apply(([drain, finish]) => Math.ceil(drain) + Math.ceil(finish) + END_SECONDS);
}

/**
 * The Deployment of a Dubbo application, as Kubernetes takes it.
 * @param component whose arguments the workload is made of
 */
export function deployment(workload: Workload, component: pulumi.ComponentResource): DeploymentArgs {
  const { name, namespace, application, version, annotations } = workload;
  const labels = { app: application, version };
  const { container, pod } = RUNTIME_PARTS[workload.runtime](workload, component);
  return {
    metadata: { name, namespace, labels },
    spec: {
      replicas: workload.replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels, ...(annotations && { annotations }) },
        spec: {
          serviceAccountName: workload.serviceAccount,
          // The applications do not talk to the API server; the sidecar has a token of its own.
          automountServiceAccountToken: false,
          // A Service named dubbo-protocol would set DUBBO_PROTOCOL_PORT.
          enableServiceLinks: false,
          terminationGracePeriodSeconds: gracePeriod(workload),
          // For the sidecar as well, which Istio gives none: Pod Security `restricted` asks for it.
          securityContext: { seccompProfile: { type: "RuntimeDefault" } },
          containers: [applicationContainer(workload, container)],
          ...pod,
        },
      },
    },
  };
}

/**
 * The Service of a Dubbo application: never headless, selected by `app` alone so that every version is behind it.
 * `appProtocol` and the port's name both say gRPC; `appProtocol` wins. Source: the seed, 7.
 */
export function service(
  application: pulumi.Input<string>,
  namespace: pulumi.Input<string>,
  port: pulumi.Input<number>,
): ServiceArgs {
  return {
    metadata: { name: application, namespace, labels: { app: application } },
    spec: {
      type: "ClusterIP",
      selector: { app: application },
      ports: [{ name: TRIPLE_PORT, port, targetPort: TRIPLE_PORT, protocol: "TCP", appProtocol: "grpc" }],
    },
  };
}
