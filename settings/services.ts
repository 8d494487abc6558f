import { z } from "zod";
import { duration, positiveDuration } from "./duration.ts";
import { healthCheckSettings } from "./health-check.ts";
import { PROBE_PORT, RUNTIMES } from "./names.ts";
import { portNumber } from "./port.ts";
import { promotionSettings } from "./promotion.ts";
import { PRESETS, publishedImage, publishedVersions, defaultInterval } from "./presets.ts";
import { applicationProperties, type DubboProperties } from "./properties.ts";
import {
  billionths,
  DEFAULT_RESOURCES,
  rejectRequestsOverLimits,
  resourcesOf,
  resourcesSettings,
} from "./resources.ts";
import { rejectTwoScales, type Scale, scaleKeys, withDefaultReplicas } from "./scale.ts";
import { trafficSettings } from "./traffic.ts";
import { missingKeyError } from "./missing-key.ts";
import { omit } from "./omit.ts";

/** DNS label, at most 63 characters. */
export const dnsLabel = z
  .string({ error: missingKeyError })
  .regex(
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
    "must be a DNS label: lower-case letters, digits and dashes, at most 63",
  );

/**
 * Image reference: host, path, tag and digest.
 * Source: the grammar of github.com/distribution/reference
 */
const IMAGE =
  /^([A-Za-z0-9.-]+(:\d+)?\/)?[a-z0-9._-]+(\/[a-z0-9._-]+)*(?<tag>:\w[\w.-]{0,127})?(?<digest>@sha256:[0-9a-f]{64})?$/;

/** Tells whether a reference has a digest, or a tag other than latest. */
function isExact(image: string): boolean {
  const { tag, digest } = IMAGE.exec(image)?.groups ?? {};
  return digest !== undefined || (tag !== undefined && tag !== ":latest");
}

/** Image reference that does not follow the latest image. */
export const imageReference = z
  .string()
  .refine(
    isExact,
    "must be an image with a digest, or with a tag other than latest, such as registry/name:v1",
  );

// A Service's name starts with a letter. Source: RFC 1035.
const serviceName = dnsLabel.regex(/^[a-z]/, "must start with a letter");
// The path goes to docker and into the image's tag, so it must be the same on every machine.
const projectPath = z.string().regex(/^[^/\s]\S*$/, "must be a path relative to the project, without spaces");
const grpcService = z.string().regex(/^\w+(\.\w+)+$/, "must be a gRPC service such as package.Service");
// HTTP/2 has only lower-case names. Istio accepts no pseudo-headers here.
const headerName = /^[a-z0-9][a-z0-9_.-]*$/;

/** Dubbo properties that the stack sets itself, each with advice for the user. */
const RESERVED_PROPERTIES: DubboProperties = {
  "dubbo.application.name": "use name",
  "dubbo.application.version": "use versions",
  "dubbo.application.qos-enable": "the probes need it",
  "dubbo.application.qos-accept-foreign-ip":
    "the probes need it; use dubbo.application.qos-anonymous-allow-commands to allow commands",
  "dubbo.application.qos-port": "the probes use port 22222",
  "dubbo.protocol.port": "use port",
  "dubbo.service.shutdown.wait": "use drain",
  "dubbo.service.shutdown.wait.seconds": "use drain",
  "dubbo.service.shutdown.timeout": "it is the longest timeout of the service and its callers",
  "dubbo.tri.builtin.service.init": "the health check needs it",
  "dubbo.consumer.interval": "use interval",
  "dubbo.consumer.timeout": "use timeout",
  "dubbo.consumer.retries": "use traffic.attempts",
  "dubbo.consumer.mesh-enable": "the mesh needs it",
  "dubbo.reference.provided-by": "use calls",
  "dubbo.reference.provider-port": "use calls",
};

const method = z
  .strictObject({
    kind: z
      .enum(["unary", "streaming"])
      .default("unary")
      .describe("streaming if the requests or the replies are a stream"),
    idempotent: z
      .boolean()
      .default(false)
      .describe("true if the method may run twice, so that the mesh may retry it"),
    timeout: positiveDuration.optional().describe("timeout of a call, all tries included"),
  })
  .describe("properties of one method");

/** Properties of one method. */
export type Method = z.infer<typeof method>;

const version = z
  .strictObject({
    name: dnsLabel.describe("label `version` of the pods and name of the subset"),
    image: imageReference.optional().describe("image of this version"),
    ...scaleKeys(2),
    weight: z.int().min(0).max(100).default(100).describe("share of the calls, percent"),
  })
  .superRefine(rejectTwoScales)
  .transform((given) => withDefaultReplicas(given, 2));

function weightsAddUp(versions: readonly z.infer<typeof version>[]): boolean {
  return versions.reduce((sum, { weight }) => sum + weight, 0) === 100;
}

function namesDiffer(versions: readonly z.infer<typeof version>[]): boolean {
  return new Set(versions.map(({ name }) => name)).size === versions.length;
}

const route = z.strictObject({
  headers: z
    .record(z.string(), z.string().min(1).describe("value of one header"))
    .refine((headers) => Object.keys(headers).length > 0, "must have at least one header")
    .refine((headers) => Object.keys(headers).every((name) => headerName.test(name)), {
      error: "must be header names in lower case",
    })
    .describe("header values by name; the route takes the calls that have all of them"),
  version: z.string().min(1).describe("version that gets these calls"),
});

/** Keys of a service in a stack, before the preset of its `app` applies. */
export const serviceKeys = z.strictObject({
  app: z
    .string()
    .regex(/^[a-z][-a-z0-9]*$/, "must be a folder of apps/")
    .optional()
    .describe(
      "folder of apps/ to build the image from; provider, consumer and relay set the sample's values",
    ),
  build: z
    .strictObject({
      context: projectPath.describe("folder to build the image from"),
      dockerfile: projectPath.optional().describe("path of the Dockerfile (default: the one in the context)"),
    })
    .optional()
    .describe("build of your own image: context, dockerfile"),
  image: imageReference.optional().describe("existing image to run instead of building one"),
  name: serviceName.describe("name of the Dubbo application and its Service, and label `app`"),
  port: portNumber.describe("Triple port"),
  runtime: z
    .enum(RUNTIMES)
    .default("node")
    .describe(
      "node: an application on dubbo-node; java: an image with Dubbo's Java SDK, by default Apache's",
    ),
  offers: z.array(grpcService).default([]).describe("gRPC services that others may call"),
  methods: z
    .record(
      z.string().regex(/^\/[\w.]+\/\w+$/, "must be a gRPC path such as /package.Service/method"),
      method,
    )
    .default({})
    .describe(
      "properties of methods by gRPC path; a method without an entry has no timeout, and is not retried once the service may have seen the call",
    ),
  calls: z.array(serviceName).default([]).describe("names of the services that the service calls"),
  versions: z
    .array(version)
    .min(1)
    .refine(weightsAddUp, "the weights must add up to 100")
    .refine(namesDiffer, "two versions have the same name")
    .optional()
    .describe("versions of the service, each with a Deployment and a subset (default: only v1)"),
  ...scaleKeys("2; 1 for a service that offers nothing"),
  interval: positiveDuration
    .optional()
    .describe(
      "time from the start of one call to the next, for an application that starts calls (default: 1s for app consumer, 5s for its Java image)",
    ),
  timeout: positiveDuration.default("30s").describe("deadline of the calls that the service makes"),
  routes: z.array(route).default([]).describe("routes for calls with certain headers: headers, version"),
  promotion: promotionSettings
    .optional()
    .describe("steps and bounds of `make promote`: steps, calls, minSuccess, maxAddedLatency"),
  traffic: trafficSettings
    .default({})
    .describe("traffic policy of the calls to the service; overrides that of the stack"),
  healthCheck: healthCheckSettings
    .optional()
    .describe("active health check of the service's pods; replaces that of the stack"),
  drain: duration
    .optional()
    .describe("time in which a terminating pod answers NOT_SERVING; replaces that of the stack"),
  properties: applicationProperties(RESERVED_PROPERTIES)
    .default({})
    .describe("additional Dubbo properties of the application"),
  resources: resourcesSettings
    .prefault({})
    .describe("requests and limits of the application's container (default: by runtime)"),
});

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Returns the fields of a value; none if the value is not a map. */
export function fieldsOf(value: unknown): Fields {
  return isFields(value) ? value : {};
}

/** Merges methods. For each method, the stack's fields take precedence over the preset's. */
function mergeMethods(preset: unknown, given: unknown): unknown {
  if (!isFields(preset) || !isFields(given)) return given ?? preset;
  const own = Object.entries(given).map(([path, fields]) => {
    const under = preset[path];
    return [path, isFields(under) && isFields(fields) ? { ...under, ...fields } : fields] as const;
  });
  return { ...preset, ...Object.fromEntries(own) };
}

/** Returns the preset's methods of the gRPC services that the stack still offers. */
function presetMethods(methods: unknown, offers: unknown): unknown {
  if (!isFields(methods) || !Array.isArray(offers)) return methods;
  const kept = Object.entries(methods).filter(([path]) => offers.includes(path.split("/")[1]));
  return Object.fromEntries(kept);
}

/** Merges the stack's keys over the preset of `app`. */
function withPreset(given: unknown): unknown {
  if (!isFields(given)) return given;
  const { app } = given;
  const preset: Fields = (typeof app === "string" ? PRESETS.get(app) : undefined) ?? {};
  const methods = presetMethods(preset["methods"], given["offers"]);
  return { ...preset, ...given, methods: mergeMethods(methods, given["methods"]) };
}

type Entry = z.infer<typeof serviceKeys>;
type Report = (path: (string | number)[], message: string) => void;

/** Version of a service: one Deployment and one subset. */
export interface Version extends Scale {
  /** Label `version` of the pods, and name of the subset. */
  readonly name: string;
  /** Image; undefined if the stack builds it. */
  readonly image?: string | undefined;
  /** Share of the calls, percent. */
  readonly weight: number;
}

/** Returns the versions with their images (default: v1 alone). */
function versionsOf({ app, runtime, build, image, offers, replicas, autoscale, versions }: Entry): Version[] {
  const usual = offers.length === 0 ? 1 : 2;
  const one = { name: "v1", weight: 100, ...withDefaultReplicas({ replicas, autoscale }, usual) };
  return (versions ?? [one]).map((each: Version) => {
    const published = runtime === "java" && build === undefined ? publishedImage(app, each.name) : undefined;
    return { ...each, image: each.image ?? image ?? published };
  });
}

/** Keys about calls to a service. They have no effect on a service that offers nothing. */
const CALL_KEYS = ["methods", "versions", "routes", "promotion", "traffic", "healthCheck", "drain"] as const;

function rejectUnusedCallKeys(entry: Entry, report: Report): void {
  if (entry.offers.length > 0) return;
  for (const key of CALL_KEYS) {
    const value = entry[key];
    if (value === undefined || Object.keys(value).length === 0) continue;
    report([key], "configures calls to the service, which offers nothing: list its gRPC services in offers");
  }
}

function rejectStreamOptions({ methods }: Entry, report: Report): void {
  for (const [path, { kind, idempotent, timeout }] of Object.entries(methods)) {
    if (kind === "unary") continue;
    if (idempotent)
      report(
        ["methods", path, "idempotent"],
        "cannot be true for a streaming method: a stream cannot be retried",
      );
    if (timeout !== undefined)
      report(["methods", path, "timeout"], "cannot be set for a streaming method: it would cut the stream");
  }
}

/** Rejects methods of gRPC services that the service does not offer. */
function rejectUnofferedMethods({ offers, methods }: Entry, report: Report): void {
  if (offers.length === 0) return;
  for (const path of Object.keys(methods)) {
    if (offers.includes(path.split("/")[1] ?? "")) continue;
    report(["methods", path], `belongs to a gRPC service that is not in offers (${offers.join(", ")})`);
  }
}

/** Requires exactly one source of each image. */
function rejectImageSources(entry: Entry, report: Report): void {
  const { app, build, image, runtime, versions } = entry;
  if (build !== undefined && image !== undefined)
    report(["build"], "cannot be set together with image, which is not built");
  if (build !== undefined && app !== undefined && !PRESETS.has(app))
    report(["build"], "cannot be set together with app, which the project builds");
  for (const [index, each] of versionsOf(entry).entries()) {
    if (each.image !== undefined || build !== undefined) continue;
    const path = versions === undefined ? ["image"] : ["versions", index, "image"];
    if (runtime === "java") report(path, `is required: ${publishedVersions(app)}`);
    else if (app === undefined) report(path, "is required unless app or build is set");
  }
}

/**
 * Rejects ports that the pod uses already.
 * Source: https://istio.io/latest/docs/ops/deployment/application-requirements/
 */
function rejectReservedPorts({ port }: Entry, report: Report): void {
  if (port === PROBE_PORT) report(["port"], `is ${port}, the port of the probes: choose another one`);
  if (port >= 15_000 && port <= 15_090)
    report(["port"], `is ${port}, a port of Istio's sidecar: choose another one`);
}

function rejectDuplicateScales(entry: Entry, report: Report): void {
  if (entry.versions === undefined) return;
  for (const key of ["replicas", "autoscale"] as const) {
    if (entry[key] !== undefined)
      report([key], "cannot be set together with versions: set it for each version");
  }
}

function rejectExcessRequests({ runtime, resources }: Entry, report: Report): void {
  rejectRequestsOverLimits(resources, DEFAULT_RESOURCES[runtime], (path, message) => {
    report(["resources", ...path], message);
  });
}

/** Rejects autoscalers whose pods cannot use as much CPU as would add a pod. */
function rejectIdleAutoscalers(entry: Entry, report: Report): void {
  const { requests, limits } = resourcesOf(entry.runtime, entry.resources);
  const { cpu: request = "0" } = requests;
  const versions = (entry.versions ?? []).map((version, index) => ({
    path: ["versions", index],
    ...version,
  }));
  for (const { path, autoscale } of [{ path: [], autoscale: entry.autoscale }, ...versions]) {
    if (autoscale === undefined) continue;
    const target = billionths(request) * BigInt(autoscale.cpu);
    const key = [...path, "autoscale", "cpu"];
    if (target === 0n)
      report(key, `is in percent of resources.requests.cpu, which is ${request}: set the request`);
    else if (limits.cpu !== undefined && billionths(limits.cpu) * 100n <= target)
      report(
        key,
        `is ${autoscale.cpu} percent of ${request}, and limits.cpu, ${limits.cpu}, is no more: no pod would be added`,
      );
  }
}

const CHECKS = [
  rejectUnusedCallKeys,
  rejectStreamOptions,
  rejectUnofferedMethods,
  rejectImageSources,
  rejectDuplicateScales,
  rejectReservedPorts,
  rejectExcessRequests,
  rejectIdleAutoscalers,
];

/** Dubbo application of a stack: provider, consumer or both. */
export const serviceSettings = z
  .unknown()
  .transform(withPreset)
  .pipe(serviceKeys)
  .superRefine((entry, context) => {
    if (context.issues.length > 0) return;
    rejectTwoScales(entry, context);
    for (const check of CHECKS) {
      check(entry, (path, message) => {
        context.addIssue({ code: "custom", path, message });
      });
    }
  })
  .transform((entry) => {
    const { app, runtime, interval, resources } = entry;
    return {
      ...omit(entry, "image", "replicas", "autoscale"),
      versions: versionsOf(entry),
      interval: interval ?? defaultInterval(app, runtime),
      resources: resourcesOf(runtime, resources),
    };
  });

/** Dubbo application after its defaults, without the stack-wide settings. */
export type ServiceSettings = z.infer<typeof serviceSettings>;
