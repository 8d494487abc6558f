import type * as kubernetes from "@pulumi/kubernetes";
import { variableOf } from "dubbo-node/names";
import { inMilliseconds } from "../settings/duration.ts";
import type { Calls } from "../settings/graph.ts";
import { javaToolOptions } from "../settings/java.ts";
import { PROBE_PORT, type Runtime } from "../settings/names.ts";
import { commonProperties, namedReferences, type DubboProperties } from "../settings/properties.ts";

type Container = kubernetes.types.input.core.v1.Container;
type EnvVar = kubernetes.types.input.core.v1.EnvVar;
type PodSpec = kubernetes.types.input.core.v1.PodSpec;
type Values = Readonly<Record<string, string | number>>;

/** Outgoing calls of a service, and their interval. */
export interface Reference extends Calls {
  /** Time from one call's start to the next, milliseconds; undefined if the application decides. */
  readonly intervalMs?: number | undefined;
  /** DNS suffix of the cluster's Services. */
  readonly clusterDomain: string;
}

/** Dubbo application, as its runtime is configured. */
export interface RuntimeApplication {
  /** Dubbo application name. */
  readonly application: string;
  /** Version of the application. */
  readonly version: string;
  /** Triple port. */
  readonly port: number;
  /** Time in which a terminating pod stays open for callers that have not noticed yet, seconds. */
  readonly drainSeconds: number;
  /** Time for calls in flight after the drain, seconds. */
  readonly finishSeconds: number;
  /** Outgoing calls; undefined if there are none. */
  readonly reference?: Reference | undefined;
  /** Further Dubbo properties. */
  readonly properties: DubboProperties;
}

/** Parts of a pod that depend on the runtime. */
export interface RuntimeParts {
  /** Fields of the application's container. */
  container: Pick<Container, "env" | "securityContext" | "lifecycle" | "volumeMounts">;
  /** Fields of the pod's spec. */
  pod: Pick<PodSpec, "volumes">;
  /** Annotations of the pod. */
  annotations: Readonly<Record<string, string>>;
}

/**
 * Security context that Pod Security `restricted` accepts, with a read-only root file system.
 * Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
 */
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  seccompProfile: { type: "RuntimeDefault" },
};

/** Returns an environment variable. Kubernetes accepts only text. */
function env(name: string, value: string | number): EnvVar {
  return { name, value: String(value) };
}

/**
 * Returns the variables from which Dubbo builds a provider's address in mesh mode.
 * Source: Dubbo's ReferenceConfig.java, meshModeHandleUrl
 */
function meshVariables({ reference }: RuntimeApplication): EnvVar[] {
  if (reference === undefined) return [];
  return [
    env("CLUSTER_DOMAIN", reference.clusterDomain),
    { name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
  ];
}

/**
 * Returns the properties of outgoing calls. A single callee serves all references. Of several
 * callees, each serves the references to its gRPC services.
 */
function nodeReference({ reference }: RuntimeApplication): Values {
  if (reference === undefined) return {};
  const { callees, intervalMs, timeoutMs } = reference;
  const [only, ...others] = callees;
  return {
    ...(intervalMs !== undefined && { "dubbo.consumer.interval": intervalMs }),
    "dubbo.consumer.timeout": timeoutMs,
    ...(only !== undefined && others.length === 0
      ? { "dubbo.reference.provided-by": only.application, "dubbo.reference.provider-port": only.port }
      : namedReferences<string | number>(callees)),
  };
}

/**
 * Annotations that tell Prometheus where to scrape. Istio's agent scrapes the application inside
 * the pod. It serves these metrics together with the sidecar's on 15020, so Prometheus can scrape
 * under STRICT mTLS.
 * Source: https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
 */
const SCRAPED = {
  "prometheus.io/scrape": "true",
  "prometheus.io/port": String(PROBE_PORT),
  "prometheus.io/path": "/metrics",
};

/**
 * Defaults of Dubbo properties. Without a sidecar, Prometheus reads the metrics from another pod,
 * so the command `metrics` must be allowed. The probes are always allowed.
 */
const NODE_DEFAULTS: Values = { "dubbo.application.qos-anonymous-allow-commands": "metrics" };

/** Returns the properties that the stack sets for an application on dubbo-node. */
export function nodeProperties(application: RuntimeApplication): Values {
  return {
    ...commonProperties<string | number>(application),
    "dubbo.application.qos-accept-foreign-ip": "true",
    "dubbo.service.shutdown.wait": inMilliseconds(application.drainSeconds),
    "dubbo.service.shutdown.timeout": inMilliseconds(application.finishSeconds),
    ...nodeReference(application),
  };
}

/** Returns the parts for dubbo-node. The application reads its properties from variables. */
function nodeRuntime(application: RuntimeApplication): RuntimeParts {
  const properties = [NODE_DEFAULTS, nodeProperties(application), application.properties].flatMap(
    Object.entries<string | number>,
  );
  // The key is the variable, so a property replaces its default in any spelling.
  const variables = new Map(properties.map(([name, value]) => [variableOf(name), value]));
  return {
    container: {
      env: [...[...variables].map(([name, value]) => env(name, value)), ...meshVariables(application)],
      securityContext: RESTRICTED,
    },
    pod: {},
    annotations: SCRAPED,
  };
}

/**
 * Returns a sleep before SIGTERM. A Java application never answers NOT_SERVING, so the kubelet
 * delays its end. The sleep needs no shell in the image.
 *
 * Under Spring, as in Apache's images, Dubbo then finishes calls in flight within its shutdown
 * wait. Without Spring, Dubbo 3.3.6 drops them.
 */
function sleepFirst({ drainSeconds }: RuntimeApplication): Pick<Container, "lifecycle"> {
  if (drainSeconds === 0) return {};
  return { lifecycle: { preStop: { sleep: { seconds: Math.ceil(drainSeconds) } } } };
}

/**
 * Returns the parts for Dubbo's Java SDK. The application reads its properties from JVM options,
 * and needs a writable folder.
 */
function javaRuntime(given: RuntimeApplication): RuntimeParts {
  const { application, version, port, finishSeconds, reference, properties } = given;
  const finishMs = inMilliseconds(finishSeconds);
  const options = javaToolOptions({ application, version, port, finishMs, reference, properties });
  return {
    container: {
      env: [env("JAVA_TOOL_OPTIONS", options), ...meshVariables(given)],
      // By default, an image that jib builds runs as root.
      securityContext: { ...RESTRICTED, runAsUser: 1000, runAsGroup: 1000 },
      ...sleepFirst(given),
      volumeMounts: [{ name: "tmp", mountPath: "/tmp" }],
    },
    pod: { volumes: [{ name: "tmp", emptyDir: {} }] },
    annotations: {},
  };
}

/** Functions that return the parts of a pod, by runtime. */
export const RUNTIME_PARTS: Readonly<Record<Runtime, (application: RuntimeApplication) => RuntimeParts>> = {
  node: nodeRuntime,
  java: javaRuntime,
};
