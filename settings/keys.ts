import { z } from "zod";
import { duration } from "./duration.ts";
import { healthCheckSettings } from "./health-check.ts";
import { DEFAULT_DOMAIN, istioSettings } from "./istio.ts";
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
    .describe("local: the cluster that `make up` starts on this machine; existing: the cluster of `context`"),
  context: z
    .string()
    .min(1)
    .optional()
    .describe("kubectl context to deploy to; required unless cluster is local"),
  kubeconfig: z
    .string()
    .min(1)
    .optional()
    .describe("path of the kubeconfig with the context (default: $KUBECONFIG, else ~/.kube/config)"),
  namespace: dnsLabel
    .default("dubbo-demo")
    .describe("namespace of the mesh; created and removed with the stack"),
  production: z
    .boolean()
    .default(false)
    .describe(
      "require STRICT mTLS, authorization, identities per workload, networkPolicy, defaultDeny, two pods of each called version, and images by " +
        "digest; protect the namespace and the Services from deletion and replacement",
    ),
  injection: z.boolean().default(true).describe("inject the Istio sidecar into new pods of the namespace"),
  revision: dnsLabel
    .optional()
    .describe("Istio revision that injects the sidecars (label istio.io/rev instead of istio-injection)"),
  istio: istioSettings
    .prefault({})
    .describe("source of Istio: mode, version, charts, hub, tag, values, revisions"),
  accessLogs: z.boolean().default(true).describe("log each call in the proxies (Istio's Telemetry)"),
  observability: observabilitySettings
    .prefault({})
    .describe("observability besides access logs and metrics: tracing, dashboard"),
  clusterDomain: z
    .string()
    .regex(DNS_NAME, "must be a DNS domain such as cluster.local")
    // With 63 characters each for service and namespace, a name reaches DNS's limit of 253.
    .max(121, "must have at most 121 characters")
    .default(DEFAULT_DOMAIN)
    .describe("DNS suffix of the cluster's Services"),
  registry: z
    .string()
    // Docker accepts no image name with an upper-case letter after the host.
    .regex(/^[\w.-]+(:\d+)?(\/[a-z0-9._-]+)*$/, "must be host[:port][/organisation], in lower case")
    .optional()
    .describe(
      "registry and organisation to push images to; required to build an image, except for the local cluster, kind and minikube",
    ),
  baseImage: imageReference
    .optional()
    .describe(
      `image from which the applications' images take Node.js (default: ${PUBLIC_BASE_IMAGE}; the local cluster has its own)`,
    ),
  platform: z
    .enum(PLATFORMS)
    .optional()
    .describe(
      "operating system and architecture of the images (default: linux/amd64; for a cluster on this machine, that of the machine)",
    ),
  services: z
    .array(serviceSettings)
    .min(1)
    .prefault(SAMPLE_PAIR)
    .describe(
      "Dubbo applications of the mesh: app, build or image, name, port, runtime, offers, methods, calls, versions (or replicas, autoscale), " +
        "interval, timeout, routes, promotion, traffic, healthCheck, drain, properties, resources",
    ),
  proxy: resourcesSettings
    .prefault({})
    .describe("requests and limits of the sidecars; setting any of them replaces all mesh defaults"),
  traffic: trafficSettings
    .default({})
    .describe(
      "traffic policy of the calls to all services: loadBalancer, warmup, locality, attempts, perTryTimeout, outlierDetection, connectionPool",
    ),
  security: securitySettings
    .prefault({})
    .describe(
      "mTLS, identities and permitted calls: mtls, authorization, identities, networkPolicy, defaultDeny, podSecurity",
    ),
  healthCheck: healthCheckSettings
    .prefault("seed")
    .describe(
      "active health check by the callers: seed (the sample's values), fast (removes a hung endpoint within 1.6 s), gentle (for large meshes), " +
        "or fields of envoy.config.core.v3.HealthCheck, which override those of `profile`",
    ),
  healthCheckBudget: z
    .int()
    .min(1)
    .default(100)
    .describe("maximum health checks of one pod by all of its callers, checks a second"),
  drain: duration
    .optional()
    .describe(
      "time in which a terminating pod answers NOT_SERVING before it closes (default: detection time of the health check plus 1 s)",
    ),
});

/** Configuration after defaults, before combinations of keys are checked. */
export type Given = z.infer<typeof keys>;
