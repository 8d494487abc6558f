import { z } from "zod";
import { duration } from "./duration.ts";
import { healthCheckSettings } from "./health-check.ts";
import { istioSettings } from "./istio.ts";
import { DNS_NAME } from "./names.ts";
import { observabilitySettings } from "./observability.ts";
import { resourcesSettings } from "./resources.ts";
import { securitySettings } from "./security.ts";
import { dnsLabel, imageReference, serviceSettings } from "./services.ts";
import { trafficSettings } from "./traffic.ts";

/** Platforms of images: operating system and architecture. */
export const PLATFORMS = ["linux/amd64", "linux/arm64"] as const;

/** Name of the Pulumi project, and prefix of its configuration keys. */
export const PROJECT = "dubbo-mesh";

/** Default base image, where public images are available. */
export const PUBLIC_BASE_IMAGE = "node:22-trixie-slim";

/** Services of a stack by default: the sample's provider and consumer. */
const SAMPLE_PAIR = [{ app: "provider" }, { app: "consumer" }];

/** Configuration keys with type, default and description. Each key is checked alone. */
export const keys = z.strictObject({
  cluster: z
    .enum(["local", "existing"])
    .default("existing")
    .describe(
      "local: the cluster that `make up` starts on this machine; existing: the one that `context` names",
    ),
  context: z
    .string()
    .min(1)
    .optional()
    .describe("kubectl context to deploy to; required unless cluster is local"),
  kubeconfig: z
    .string()
    .min(1)
    .optional()
    .describe("path of the kubeconfig that holds the context (default: $KUBECONFIG, else ~/.kube/config)"),
  namespace: dnsLabel
    .default("dubbo-demo")
    .describe("namespace of the mesh; created and removed with the stack"),
  production: z
    .boolean()
    .default(false)
    .describe(
      "refuse what is too weak for production: anything but STRICT mTLS, authorization, identities per workload, networkPolicy and defaultDeny; a " +
        "single pod; an image by tag; and let Pulumi refuse to delete or replace the namespace and the Services",
    ),
  injection: z.boolean().default(true).describe("inject the Istio sidecar into the namespace's new pods"),
  revision: dnsLabel
    .optional()
    .describe("Istio revision that injects (label istio.io/rev instead of istio-injection)"),
  istio: istioSettings
    .prefault({})
    .describe("where Istio comes from: mode, version, charts, hub, tag, values, revisions"),
  accessLogs: z.boolean().default(true).describe("let the proxies log each call (Istio's Telemetry)"),
  observability: observabilitySettings
    .prefault({})
    .describe("what can be seen of the mesh beside access logs and metrics: tracing, dashboard"),
  clusterDomain: z
    .string()
    .regex(DNS_NAME, "must be a DNS domain such as cluster.local")
    // With 63 characters each for service and namespace, a name reaches DNS's limit of 253.
    .max(121, "must have at most 121 characters")
    .default("cluster.local")
    .describe("DNS suffix of the cluster's Services"),
  registry: z
    .string()
    // Docker accepts no image name with an upper-case letter after the host.
    .regex(/^[\w.-]+(:\d+)?(\/[a-z0-9._-]+)*$/, "must be host[:port][/organisation], in lower case")
    .optional()
    .describe(
      "registry and organisation that the images are pushed to; required where an image is built, unless cluster is local",
    ),
  baseImage: imageReference
    .optional()
    .describe(
      `image that the applications' images take Node.js from (default: ${PUBLIC_BASE_IMAGE}; the local cluster has its own)`,
    ),
  platform: z
    .enum(PLATFORMS)
    .optional()
    .describe(
      "operating system and architecture of the images (default: linux/amd64; where the cluster runs on this machine, this machine's)",
    ),
  services: z
    .array(serviceSettings)
    .min(1)
    .prefault(SAMPLE_PAIR)
    .describe(
      "the Dubbo applications of the mesh: app, build or image, name, port, runtime, offers, methods, calls, versions (or replicas, autoscale), " +
        "interval, timeout, routes, traffic, healthCheck, drain, properties, resources",
    ),
  proxy: resourcesSettings
    .prefault({})
    .describe(
      "requests and limits of the sidecars; one of them takes the place of all of the mesh's own (default)",
    ),
  traffic: trafficSettings
    .default({})
    .describe(
      "calls to every service: loadBalancer, warmup, locality, attempts, perTryTimeout, outlierDetection, connectionPool",
    ),
  security: securitySettings
    .prefault({})
    .describe("who may call whom: mtls, authorization, identities, networkPolicy, defaultDeny, podSecurity"),
  healthCheck: healthCheckSettings
    .prefault("seed")
    .describe(
      "the callers' active check of what they call: seed (its numbers), fast (a hung peer out within 1.6 s), gentle (large meshes), or fields " +
        "in Envoy's words (envoy.config.core.v3.HealthCheck) over those of `profile`",
    ),
  healthCheckBudget: z
    .int()
    .min(1)
    .default(100)
    .describe("checks a second that a pod may be asked to answer by all callers together"),
  drain: duration
    .optional()
    .describe(
      "how long a pod that ends answers NOT_SERVING before it closes (default: what the health check needs to notice, and 1 s)",
    ),
});

/** Configuration after defaults, before combinations of keys are checked. */
export type Given = z.infer<typeof keys>;
