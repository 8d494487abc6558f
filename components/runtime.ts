import type * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { variableOf } from "../apps/sdk/names.ts";
import { PROBE_PORT, type Runtime } from "../lib/names.ts";
import { type Properties, systemProperty } from "../lib/properties.ts";
import { checked } from "./check.ts";

type Container = kubernetes.types.input.core.v1.Container;
type EnvVar = kubernetes.types.input.core.v1.EnvVar;
type PodSpec = kubernetes.types.input.core.v1.PodSpec;
type Values = Readonly<Record<string, pulumi.Input<string | number>>>;

/** A provider, as its callers are told of it. */
export interface Callee {
  /** Dubbo application name: the `providedBy` of a Dubbo reference. */
  application: pulumi.Input<string>;
  /** Triple port: the `providerPort` of a Dubbo reference, which has no usable default in mesh mode. */
  port: pulumi.Input<number>;
  /** The gRPC services that are called, by which Dubbo names its references; plain, since properties are named after them. */
  services: readonly string[];
}

/** What an application calls. */
export interface Reference {
  /** Whom it calls, at least one. */
  callees: readonly Callee[];
  /** Time from one call's start to the next, milliseconds; undefined where it is not told. */
  intervalMs?: pulumi.Input<number> | undefined;
  /** Deadline of a call, milliseconds. */
  timeoutMs: pulumi.Input<number>;
  /** DNS suffix of the cluster's Services. */
  clusterDomain: pulumi.Input<string>;
}

/** A Dubbo application, as its runtime is told of it. */
export interface DubboApplication {
  /** Dubbo application name. */
  application: pulumi.Input<string>;
  /** Version of the application. */
  version: pulumi.Input<string>;
  /** Triple port. */
  port: pulumi.Input<number>;
  /** How long an ending pod stays open for those who have not noticed yet, seconds. */
  drainSeconds: pulumi.Input<number>;
  /** How long its calls in flight may take after that, seconds. */
  finishSeconds: pulumi.Input<number>;
  /** What it calls; undefined where it calls nothing. */
  reference?: Reference | undefined;
  /** Further Dubbo properties. */
  properties: Properties;
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
function env(name: string, value: pulumi.Input<string | number>): EnvVar {
  return { name, value: typeof value === "string" ? value : pulumi.output(value).apply(String) };
}

function milliseconds(seconds: pulumi.Input<number>): pulumi.Output<number> {
  return pulumi.output(seconds).apply((plain) => Math.round(plain * 1000));
}

/** The properties that both runtimes have. */
function commonProperties({ application, version, port }: DubboApplication): Values {
  return {
    "dubbo.application.name": application,
    "dubbo.application.version": version,
    "dubbo.application.qos-port": PROBE_PORT,
    "dubbo.protocol.port": port,
  };
}

/** Where Dubbo finds a provider in mesh mode. Source: Dubbo's ReferenceConfig.java, meshModeHandleUrl. */
function meshVariables({ reference }: DubboApplication): EnvVar[] {
  if (reference === undefined) return [];
  return [
    env("CLUSTER_DOMAIN", reference.clusterDomain),
    { name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
  ];
}

/** Where the gRPC services of each provider are, by their names. */
function namedReferences({ callees }: Reference): Values {
  const values: Record<string, pulumi.Input<string | number>> = {};
  for (const { application, port, services } of callees) {
    for (const service of services) {
      values[`dubbo.reference.${service}.provided-by`] = application;
      values[`dubbo.reference.${service}.provider-port`] = port;
    }
  }
  return values;
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
      : namedReferences(reference)),
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
    ...commonProperties(application),
    "dubbo.application.qos-accept-foreign-ip": "true",
    "dubbo.service.shutdown.wait": milliseconds(application.drainSeconds),
    "dubbo.service.shutdown.timeout": milliseconds(application.finishSeconds),
    ...nodeReference(application),
  };
}

/** What this project's own applications need: their properties as variables. */
function nodeRuntime(application: DubboApplication): RuntimeParts {
  const properties = [NODE_DEFAULTS, nodeProperties(application), application.properties].flatMap(
    Object.entries<pulumi.Input<string | number>>,
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

/** Half of the memory for the heap; what is written goes to the one folder that can be written to. */
const JVM_OPTIONS = ["-XX:MaxRAMPercentage=50", "-Duser.home=/tmp"];

/** Java 8, on which the published images run, ignores a longer JAVA_TOOL_OPTIONS without a word. Source: JDK-8288483. */
const javaOptions = z
  .string()
  .refine(
    (text) => Buffer.byteLength(text) < 1024,
    "make a JAVA_TOOL_OPTIONS of 1024 bytes or more, which Java 8 ignores",
  );

/** What the JVM is told by JAVA_TOOL_OPTIONS: an image that jib has made takes no arguments. */
export function javaToolOptions(properties: Readonly<Record<string, string | number>>): string {
  const options = Object.entries(properties).map(([name, value]) => systemProperty(name, String(value)));
  return [...JVM_OPTIONS, ...options].join(" ");
}

/**
 * A reference as Java reads it. The mesh retries, so Dubbo does not; and the interface is named, since what is set for all references
 * does not win over an annotation. Source: Dubbo's ReferenceConfigBase.java, preProcessRefresh and getPrefixes.
 */
function javaReference({ reference }: DubboApplication): Values {
  if (reference === undefined) return {};
  return {
    "dubbo.consumer.timeout": reference.timeoutMs,
    "dubbo.consumer.retries": 0,
    "dubbo.consumer.mesh-enable": "true",
    ...namedReferences(reference),
  };
}

/**
 * A Java application never answers NOT_SERVING, so the kubelet waits before it ends it; that needs no shell in the image. What is in
 * flight after that, Dubbo finishes within its shutdown wait under Spring, as in Apache's images; without Spring 3.3.6 drops it.
 */
function sleepFirst({ drainSeconds }: DubboApplication): Pick<Container, "lifecycle"> {
  if (drainSeconds === 0) return {};
  return { lifecycle: { preStop: { sleep: { seconds: pulumi.output(drainSeconds).apply(Math.ceil) } } } };
}

/**
 * What the stack sets of an application on Dubbo's Java SDK: its QOS server is closed to the kubelet (QosProtocolWrapper.java) and its
 * health service off (TriBuiltinService.java) unless they are asked for, and its shutdown wait is what ours calls timeout
 * (DubboShutdownHook.java).
 */
export function javaProperties(application: DubboApplication): Values {
  return {
    ...commonProperties(application),
    "dubbo.application.qos-enable": "true",
    "dubbo.application.qos-accept-foreign-ip": "true",
    "dubbo.tri.builtin.service.init": "true",
    "dubbo.service.shutdown.wait": milliseconds(application.finishSeconds),
    ...javaReference(application),
  };
}

/** What an application on Dubbo's Java SDK needs: its properties as options of the JVM, and a folder to write to. */
function javaRuntime(application: DubboApplication, component: pulumi.ComponentResource): RuntimeParts {
  const properties = { ...javaProperties(application), ...application.properties };
  const options = pulumi.output(properties).apply(javaToolOptions);
  return {
    container: {
      env: [
        env("JAVA_TOOL_OPTIONS", checked(component, "properties", options, javaOptions)),
        ...meshVariables(application),
      ],
      // An image that jib has made runs as root unless it is told otherwise.
      securityContext: { ...RESTRICTED, runAsUser: 1000, runAsGroup: 1000 },
      ...sleepFirst(application),
      volumeMounts: [{ name: "tmp", mountPath: "/tmp" }],
    },
    pod: { volumes: [{ name: "tmp", emptyDir: {} }] },
    annotations: {},
  };
}

/** What each runtime needs of a pod; an error is one of the component. */
export const RUNTIME_PARTS: Readonly<
  Record<Runtime, (application: DubboApplication, component: pulumi.ComponentResource) => RuntimeParts>
> = { node: nodeRuntime, java: javaRuntime };
