import type * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { APPLICATION_CONTAINER } from "../lib/names.ts";

type DeploymentArgs = kubernetes.apps.v1.DeploymentArgs;
type ServiceArgs = kubernetes.core.v1.ServiceArgs;
type Container = kubernetes.types.input.core.v1.Container;
type Probe = kubernetes.types.input.core.v1.Probe;

/** Name of the Triple port. The prefix `grpc-` tells Istio the protocol. Source: the seed, 7. */
export const TRIPLE_PORT = "grpc-tri";
/** The port of Dubbo's QOS server, which answers the probes. Source: the seed, 4.1. */
export const PROBE_PORT = 22222;
/** Seconds that a pod may take to finish its calls after the drain: the consumer's default deadline. */
export const FINISH_SECONDS = 30;

/** What a Deployment of a Dubbo application is made of. */
export interface Workload {
  /** Name of the Deployment. */
  name: pulumi.Input<string>;
  /** Namespace of the Deployment. */
  namespace: pulumi.Input<string>;
  /** Dubbo application name and label `app`. */
  application: pulumi.Input<string>;
  /** Label `version`. */
  version: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** The image, by digest. */
  image: pulumi.Input<string>;
  /** Pods. */
  replicas: pulumi.Input<number>;
  /** Triple port. */
  port: pulumi.Input<number>;
  /** Environment of the application, beside its name, version and ports. */
  env: kubernetes.types.input.core.v1.EnvVar[];
  /** Time from SIGTERM to SIGKILL, seconds. */
  gracePeriod: pulumi.Input<number>;
  /** Annotations of the pods. */
  annotations?: Record<string, pulumi.Input<string>>;
}

/** An environment variable; Kubernetes takes text only. */
export function env(
  name: string,
  value: pulumi.Input<string | number>,
): kubernetes.types.input.core.v1.EnvVar {
  return { name, value: typeof value === "string" ? value : pulumi.output(value).apply(String) };
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

/** Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted */
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  seccompProfile: { type: "RuntimeDefault" },
};

function applicationContainer(workload: Workload): Container {
  const { application, version, port } = workload;
  return {
    name: APPLICATION_CONTAINER,
    image: workload.image,
    imagePullPolicy: "IfNotPresent",
    ports: [
      { name: TRIPLE_PORT, containerPort: port },
      { name: "http-health", containerPort: PROBE_PORT },
    ],
    env: [
      { name: "DUBBO_APPLICATION_NAME", value: application },
      { name: "DUBBO_APPLICATION_VERSION", value: version },
      { name: "DUBBO_APPLICATION_QOS_PORT", value: String(PROBE_PORT) },
      ...workload.env,
    ],
    resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
    securityContext: RESTRICTED,
    ...PROBES,
  };
}

/** The Deployment of a Dubbo application, as Kubernetes takes it. */
export function deployment(workload: Workload): DeploymentArgs {
  const { name, namespace, application, version, annotations } = workload;
  const labels = { app: application, version };
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
          terminationGracePeriodSeconds: workload.gracePeriod,
          containers: [applicationContainer(workload)],
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
