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

/** Calls of a service, and their pace. */
export interface Reference extends Calls {
  /** Time from one call's start to the next, milliseconds; undefined for a service with a pace of its own. */
  readonly intervalMs?: number | undefined;
  /** DNS suffix of the cluster's Services. */
  readonly clusterDomain: string;
}

/** A Dubbo application, as its runtime is told of it. */
export interface DubboApplication {
  /** Dubbo application name. */
  readonly application: string;
  /** Version of the application. */
  readonly version: string;
  /** Triple port. */
  readonly port: number;
  /** How long an ending pod stays open for those who have not noticed yet, seconds. */
  readonly drainSeconds: number;
  /** How long its calls in flight may take after that, seconds. */
  readonly finishSeconds: number;
  /** What it calls; undefined where it calls nothing. */
  readonly reference?: Reference | undefined;
  /** Further Dubbo properties. */
  readonly properties: DubboProperties;
}

/** What a runtime needs of a pod. */
export interface RuntimeParts {
  /** Of the application's container. */
  container: Pick<Container, "env" | "securityContext" | "lifecycle" | "volumeMounts">;
  /** Of the pod. */
  pod: Pick<PodSpec, "volumes">;
  /** Annotations of the pod. */
  annotations: Readonly<Record<string, string>>;
}

/** Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted */
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  seccompProfile: { type: "RuntimeDefault" },
};

/** An environment variable; Kubernetes takes text only. */
function env(name: string, value: string | number): EnvVar {
  return { name, value: String(value) };
}

/** Where Dubbo finds a provider in mesh mode. Source: Dubbo's ReferenceConfig.java, meshModeHandleUrl. */
function meshVariables({ reference }: DubboApplication): EnvVar[] {
  if (reference === undefined) return [];
  return [
    env("CLUSTER_DOMAIN", reference.clusterDomain),
    { name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
  ];
}

/** One provider is that of all references; of several, each is that of its gRPC services. */
function nodeReference({ reference }: DubboApplication): Values {
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
 * Where Prometheus finds the metrics. Istio's agent asks there, inside the pod, and puts them out with the sidecar's own on 15020, so that
 * they can be had under STRICT mTLS. Source: https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
 */
const SCRAPED = {
  "prometheus.io/scrape": "true",
  "prometheus.io/port": String(PROBE_PORT),
  "prometheus.io/path": "/metrics",
};

/** What holds where the stack's properties do not say otherwise: Prometheus asks from another pod. Anybody may call the probes. */
const NODE_DEFAULTS: Values = { "dubbo.application.qos-anonymous-allow-commands": "metrics" };

/** What the stack sets of one of this project's own applications. */
export function nodeProperties(application: DubboApplication): Values {
  return {
    ...commonProperties<string | number>(application),
    "dubbo.application.qos-accept-foreign-ip": "true",
    "dubbo.service.shutdown.wait": inMilliseconds(application.drainSeconds),
    "dubbo.service.shutdown.timeout": inMilliseconds(application.finishSeconds),
    ...nodeReference(application),
  };
}

/** What this project's own applications need: their properties as variables. */
function nodeRuntime(application: DubboApplication): RuntimeParts {
  const properties = [NODE_DEFAULTS, nodeProperties(application), application.properties].flatMap(
    Object.entries<string | number>,
  );
  // By variable, so that a default gives way in any spelling.
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
 * A Java application never answers NOT_SERVING, so the kubelet waits before it ends it; that needs no shell in the image. What is in
 * flight after that, Dubbo finishes within its shutdown wait under Spring, as in Apache's images; without Spring 3.3.6 drops it.
 */
function sleepFirst({ drainSeconds }: DubboApplication): Pick<Container, "lifecycle"> {
  if (drainSeconds === 0) return {};
  return { lifecycle: { preStop: { sleep: { seconds: Math.ceil(drainSeconds) } } } };
}

/** What an application on Dubbo's Java SDK needs: its properties as options of the JVM, and a folder to write to. */
function javaRuntime(given: DubboApplication): RuntimeParts {
  const { application, version, port, finishSeconds, reference, properties } = given;
  const finishMs = inMilliseconds(finishSeconds);
  const options = javaToolOptions({ application, version, port, finishMs, reference, properties });
  return {
    container: {
      env: [env("JAVA_TOOL_OPTIONS", options), ...meshVariables(given)],
      // An image that jib has made runs as root unless it is told otherwise.
      securityContext: { ...RESTRICTED, runAsUser: 1000, runAsGroup: 1000 },
      ...sleepFirst(given),
      volumeMounts: [{ name: "tmp", mountPath: "/tmp" }],
    },
    pod: { volumes: [{ name: "tmp", emptyDir: {} }] },
    annotations: {},
  };
}

/** What each runtime needs of a pod. */
export const RUNTIME_PARTS: Readonly<Record<Runtime, (application: DubboApplication) => RuntimeParts>> = {
  node: nodeRuntime,
  java: javaRuntime,
};
