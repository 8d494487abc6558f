import yaml from "js-yaml";
import { z } from "zod";
import * as local from "./cluster/local.ts";
import { duration, positiveDuration } from "./lib/duration.ts";
import { messageOf, UserError } from "./lib/errors.ts";
import { healthCheckSettings } from "./lib/health-check.ts";
import { istioSettings } from "./lib/istio.ts";
import { GREETER, type Runtime, RUNTIMES } from "./lib/names.ts";
import { observabilitySettings } from "./lib/observability.ts";
import { portNumber } from "./lib/port.ts";
import { applicationProperties, type Properties } from "./lib/properties.ts";
import { refuseUnworkable } from "./lib/refusals.ts";
import { resourcesOf, resourcesSettings } from "./lib/resources.ts";
import { oneScale, scaleKeys, withPods } from "./lib/scale.ts";
import { type Security, securityOf, securitySettings } from "./lib/security.ts";
import { trafficSettings } from "./lib/traffic.ts";

/** The Pulumi project, and so the prefix of its configuration keys. */
export const PROJECT = "dubbo-mesh";

/** Image that the applications' images take Node.js from where the stack does not say. */
const PUBLIC_BASE_IMAGE = "node:22-bookworm-slim";

/** The Java images that Apache publishes, of the provider by version. Source: the sample's deploy/. */
const PUBLISHED_PROVIDERS: ReadonlyMap<string, string> = new Map([
  ["v1", "apache/dubbo-demo:dubbo-samples-mesh-provider-v1_0.0.1"],
  ["v2", "apache/dubbo-demo:dubbo-samples-mesh-provider-v2_0.0.1"],
]);
const PUBLISHED_CONSUMER = "apache/dubbo-demo:dubbo-samples-mesh-consumer_0.0.1";

/** Time from one call's start to the next where the stack does not say; Apache's Java consumer has its own. Source: ConsumerBootstrap.java. */
const CALL_INTERVALS: Readonly<Record<Runtime, string>> = { node: "1s", java: "5s" };

const dnsLabel = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
    "must be a DNS label: lower-case letters, digits and dashes, at most 63",
  );
// A Service's name starts with a letter, RFC 1035.
const serviceName = dnsLabel.regex(/^[a-z]/, "must start with a letter");
const imageReference = z
  .string()
  .regex(/^\S+[:@]\S+$/, "must be an image with a tag or a digest, such as registry/name:v1");

const runtimeName = z
  .enum(RUNTIMES)
  .default("node")
  .describe("node: this project's application; java: an image with Dubbo's Java SDK, by default Apache's");

/** The Dubbo properties that the stack sets of an application, and what to do instead. */
function takenProperties(application: "provider" | "consumer", versions: string): Properties {
  return {
    "dubbo.application.name": `use ${application}.name`,
    "dubbo.application.version": versions,
    "dubbo.application.qos-enable": "the probes need it",
    "dubbo.application.qos-accept-foreign-ip":
      "the probes need it; dubbo.application.qos-anonymous-allow-commands says what else may be called",
    "dubbo.application.qos-port": "the probes ask port 22222",
    "dubbo.protocol.port": `use ${application}.port`,
    "dubbo.service.shutdown.wait": "use drain",
    "dubbo.service.shutdown.wait.seconds": "use drain",
    "dubbo.service.shutdown.timeout": "use consumer.timeout",
    "dubbo.tri.builtin.service.init": "the health check needs it",
    "dubbo.consumer.interval": "use consumer.interval",
    "dubbo.consumer.timeout": "use consumer.timeout",
    "dubbo.consumer.retries": "use traffic.attempts",
    "dubbo.consumer.mesh-enable": "the mesh needs it",
    "dubbo.reference.provided-by": "use provider.name",
    "dubbo.reference.provider-port": "use provider.port",
    [`dubbo.reference.${GREETER}.provided-by`]: "use provider.name",
    [`dubbo.reference.${GREETER}.provider-port`]: "use provider.port",
  };
}

const version = z
  .strictObject({
    name: dnsLabel.describe("label `version` of the pods and name of the subset"),
    image: imageReference.optional().describe("an image of this version alone"),
    ...scaleKeys(2),
    weight: z.int().min(0).max(100).default(100).describe("share of the calls, percent"),
  })
  .superRefine(oneScale)
  .transform((given) => withPods(given, 2));

function weightsAddUp(versions: readonly z.infer<typeof version>[]): boolean {
  return versions.reduce((sum, { weight }) => sum + weight, 0) === 100;
}

function namesDiffer(versions: readonly z.infer<typeof version>[]): boolean {
  return new Set(versions.map(({ name }) => name)).size === versions.length;
}

const providerKeys = z.strictObject({
  name: serviceName
    .default("dubbo-samples-mesh-provider")
    .describe("Dubbo application name, Service and label `app`"),
  port: portNumber.default(50052).describe("Triple port"),
  runtime: runtimeName,
  image: imageReference.optional().describe("an image to run instead of building apps/provider"),
  services: z
    .array(z.string().regex(/^\w+(\.\w+)+$/, "must be a gRPC service such as package.Service"))
    .min(1)
    .default([GREETER])
    .describe("gRPC services that the consumer may call"),
  properties: applicationProperties(takenProperties("provider", "use provider.versions"))
    .default({})
    .describe("further Dubbo properties of the application"),
  resources: resourcesSettings
    .prefault({})
    .describe("requests and limits of the application's container (default: by runtime)"),
  versions: z
    .array(version)
    .min(1)
    .refine(weightsAddUp, "the weights must add up to 100")
    .refine(namesDiffer, "two versions have the same name")
    .prefault([{ name: "v1" }])
    .describe("one Deployment and one subset each"),
});

/** The image of a version, if it is not to be built. */
function versionImage(
  { runtime, image }: z.infer<typeof providerKeys>,
  { name, image: own }: z.infer<typeof version>,
): string | undefined {
  return own ?? image ?? (runtime === "java" ? PUBLISHED_PROVIDERS.get(name) : undefined);
}

const provider = providerKeys
  .superRefine((given, context) => {
    if (given.runtime === "node") return;
    for (const [index, each] of given.versions.entries()) {
      if (versionImage(given, each) !== undefined) continue;
      const published = [...PUBLISHED_PROVIDERS.keys()].join(" and ");
      const message = `is not set, and Apache publishes Java images of ${published} only`;
      context.addIssue({ code: "custom", path: ["versions", index, "image"], message });
    }
  })
  .transform((given) => ({
    ...given,
    resources: resourcesOf(given.runtime, given.resources),
    versions: given.versions.map((each) => ({ ...each, image: versionImage(given, each) })),
  }));

const consumer = z
  .strictObject({
    name: serviceName
      .default("dubbo-samples-mesh-consumer")
      .describe("Dubbo application name, Service and label `app`"),
    port: portNumber.default(20880).describe("Triple port, on which the consumer serves its health"),
    runtime: runtimeName,
    image: imageReference.optional().describe("an image to run instead of building apps/consumer"),
    properties: applicationProperties(takenProperties("consumer", "it is v1, the label of the pods"))
      .default({})
      .describe("further Dubbo properties of the application"),
    resources: resourcesSettings
      .prefault({})
      .describe("requests and limits of the application's container (default: by runtime)"),
    ...scaleKeys(1),
    interval: positiveDuration
      .optional()
      .describe(
        "time from one call's start to the next (default: 1s); of Java, which has its own, what verify reckons with",
      ),
    timeout: positiveDuration.default("30s").describe("deadline of a call"),
  })
  .superRefine(oneScale)
  .transform(({ image, interval, ...given }) => ({
    ...withPods(given, 1),
    resources: resourcesOf(given.runtime, given.resources),
    image: image ?? (given.runtime === "java" ? PUBLISHED_CONSUMER : undefined),
    interval: interval ?? CALL_INTERVALS[given.runtime],
  }));

const keys = z.strictObject({
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
  clusterDomain: z.string().min(1).default("cluster.local").describe("DNS suffix of the cluster's Services"),
  registry: z
    .string()
    .regex(/^[\w.-]+(:\d+)?(\/[\w./-]+)?$/, "must be host[:port][/organisation]")
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
    .enum(["linux/amd64", "linux/arm64"])
    .default("linux/amd64")
    .describe("operating system and architecture of the images"),
  provider: provider
    .prefault({})
    .describe("the Dubbo provider: name, port, runtime, image, services, properties, resources, versions"),
  consumer: consumer
    .prefault({})
    .describe(
      "the Dubbo consumer: name, port, runtime, image, properties, resources, replicas, autoscale, interval, timeout",
    ),
  proxy: resourcesSettings
    .prefault({})
    .describe(
      "requests and limits of the sidecars; one of them takes the place of all of the mesh's own (default)",
    ),
  traffic: trafficSettings
    .prefault({})
    .describe(
      "calls to the provider: loadBalancer, warmup, locality, attempts, perTryTimeout, idempotentMethods, timeouts, routes, " +
        "outlierDetection, connectionPool",
    ),
  security: securitySettings
    .prefault({})
    .describe("who may call whom: mtls, authorization, identities, networkPolicy, defaultDeny, podSecurity"),
  healthCheck: healthCheckSettings
    .prefault("seed")
    .describe(
      "the consumer's active check of the provider: seed (its numbers), fast (a hung peer out within 1.6 s), gentle (large meshes), or fields " +
        "in Envoy's words (envoy.config.core.v3.HealthCheck) over those of `profile`",
    ),
  healthCheckBudget: z
    .int()
    .min(1)
    .default(100)
    .describe("checks a second that a provider pod may be asked to answer by all consumers together"),
  drain: duration
    .optional()
    .describe(
      "how long a provider that ends answers NOT_SERVING before it closes (default: what the health check needs to notice, and 1 s)",
    ),
});

/** The configuration after defaults, before it is known to work. */
export type Given = z.infer<typeof keys>;

/**
 * Every configuration key of the project, with its type, default and meaning.
 * The declarations in Pulumi.yaml are generated from it (`npm run declarations`).
 */
export const settingsSchema = keys.superRefine((given, context) => {
  // A key that is wrong by itself has been named.
  if (context.issues.length > 0) return;
  refuseUnworkable(given, (path, message) => {
    context.addIssue({ code: "custom", path, message });
  });
});

/** Where a stack goes: the cluster, the docker engine and the registry. */
interface Placement {
  /** kubectl context. */
  context: string;
  /** Path of the kubeconfig; undefined means kubectl's own default. */
  kubeconfig: string | undefined;
  /** Address of the docker engine; undefined means docker's own default. */
  dockerHost: string | undefined;
  /** Registry and organisation; undefined only where no image is built. */
  registry: string | undefined;
  /** Image that the applications' images take Node.js from. */
  baseImage: string;
}

/** The configuration after defaults: what index.ts composes the components from. */
export type Settings = Omit<z.infer<typeof settingsSchema>, keyof Placement | "security"> &
  Placement & { security: Security };

type Configured = z.infer<typeof settingsSchema>;

type Shape = typeof settingsSchema.shape;

function isText(schema: Shape[keyof Shape]): boolean {
  const { type } = z.toJSONSchema(schema, { io: "input" });
  return type === "string";
}

/** Pulumi hands every value over as text; what is not a string is YAML, of which JSON is a part. */
function decode(key: string, text: string): unknown {
  const schema = settingsSchema.shape[key as keyof Shape] as Shape[keyof Shape] | undefined;
  if (schema === undefined || isText(schema)) return text;
  try {
    return yaml.load(text, { schema: yaml.CORE_SCHEMA });
  } catch (error) {
    throw new UserError(
      `${PROJECT}:${key} is not YAML: ${messageOf(error).split("\n")[0] ?? ""}`,
      `Write ${key} in the stack's file as the README's configuration table shows.`,
      { cause: error },
    );
  }
}

function describeIssue(issue: z.core.$ZodIssue): string {
  const path = issue.path
    .map((part) => {
      if (typeof part === "number") return `[${part}]`;
      const name = String(part);
      return name.includes(".") ? `[${JSON.stringify(name)}]` : `.${name}`;
    })
    .join("");
  const key = `${PROJECT}:${path.replace(/^\./, "")}`;
  if (issue.code !== "unrecognized_keys") return `${key}: ${issue.message}`;
  return issue.keys.map((name) => `${path === "" ? key : `${key}.`}${name}: no such key`).join("; ");
}

function localPlacement(configured: Configured): Placement {
  for (const key of ["context", "kubeconfig"] as const) {
    if (configured[key] === undefined) continue;
    throw new UserError(
      `${PROJECT}:${key} is set, but ${PROJECT}:cluster is local, which has its own`,
      `Remove ${key}, or set cluster to existing.`,
    );
  }
  return {
    context: local.CONTEXT,
    kubeconfig: local.KUBECONFIG,
    dockerHost: local.DOCKER_HOST,
    registry: configured.registry ?? `${local.REGISTRY}/dubbo-mesh`,
    baseImage: configured.baseImage ?? local.BASE_IMAGE,
  };
}

function existingPlacement(configured: Configured): Placement {
  const { context, kubeconfig, registry, baseImage = PUBLIC_BASE_IMAGE } = configured;
  if (context === undefined) {
    throw new UserError(
      `${PROJECT}:context is not set: the stack does not say which cluster it deploys to`,
      `Set it (\`pulumi config set context NAME\`, or \`make up CONTEXT=NAME\`), or set cluster to local.`,
    );
  }
  const { provider: called, consumer: caller } = configured;
  const images = [...called.versions, caller].map(({ image }) => image);
  if (images.includes(undefined) && registry === undefined) {
    throw new UserError(
      `${PROJECT}:registry is not set: the stack does not say where its images are pushed to`,
      `Set it (\`pulumi config set registry HOST/ORGANISATION\`, or \`make up REGISTRY=...\`), or set provider.image and consumer.image.`,
    );
  }
  return { context, kubeconfig, dockerHost: undefined, registry, baseImage };
}

/**
 * Checks the configuration and fills in its defaults.
 * @param raw the stack's values by key, without the project's prefix, as text: strings as they are, all else YAML or JSON
 * @throws UserError that names each wrong or unknown key
 */
export function parseSettings(raw: Readonly<Record<string, string>>): Settings {
  // Pulumi.yaml cannot declare a key without a default: there, empty stands for unset.
  const given = Object.entries(raw).filter(([, text]) => text !== "");
  const decoded = Object.fromEntries(given.map(([key, text]) => [key, decode(key, text)]));
  const parsed = settingsSchema.safeParse(decoded);
  if (!parsed.success) {
    throw new UserError(
      parsed.error.issues.map(describeIssue).join("; "),
      `Mend the stack's configuration; the keys are ${Object.keys(settingsSchema.shape).join(", ")}.`,
    );
  }
  const configured = parsed.data;
  const place = configured.cluster === "local" ? localPlacement : existingPlacement;
  const security = securityOf(configured.security, configured.injection);
  return { ...configured, ...place(configured), security };
}
