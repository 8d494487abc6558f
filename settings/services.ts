import { z } from "zod";
import { duration, positiveDuration } from "./duration.ts";
import { healthCheckSettings } from "./health-check.ts";
import { PROBE_PORT, RUNTIMES } from "./names.ts";
import { portNumber } from "./port.ts";
import { PRESETS, publishedImage, publishedVersions, defaultInterval } from "./presets.ts";
import { applicationProperties, type DubboProperties } from "./properties.ts";
import {
  billionths,
  DEFAULT_RESOURCES,
  rejectRequestsOverLimits,
  resourcesOf,
  resourcesSettings,
} from "./resources.ts";
import { rejectTwoScales, type Scale, scaleKeys, withPods } from "./scale.ts";
import { trafficSettings } from "./traffic.ts";
import { unset } from "./unset.ts";
import { without } from "./without.ts";

/** DNS label, at most 63 characters. */
export const dnsLabel = z
  .string({ error: unset })
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
    "the probes need it; dubbo.application.qos-anonymous-allow-commands says what else may be called",
  "dubbo.application.qos-port": "the probes ask port 22222",
  "dubbo.protocol.port": "use port",
  "dubbo.service.shutdown.wait": "use drain",
  "dubbo.service.shutdown.wait.seconds": "use drain",
  "dubbo.service.shutdown.timeout": "it is the longest timeout of its callers, and its own",
  "dubbo.tri.builtin.service.init": "the health check needs it",
  "dubbo.consumer.interval": "use interval",
  "dubbo.consumer.timeout": "use timeout",
  "dubbo.consumer.retries": "use traffic.attempts",
  "dubbo.consumer.mesh-enable": "the mesh needs it",
  "dubbo.reference.provided-by": "use calls",
  "dubbo.reference.provider-port": "it is the port of what calls names",
};

const method = z
  .strictObject({
    kind: z.enum(["unary", "streaming"]).default("unary").describe("whether it streams, in either direction"),
    idempotent: z.boolean().default(false).describe("whether it may run twice, so that it may be retried"),
    timeout: positiveDuration.optional().describe("time that a call may take, all tries together"),
  })
  .describe("what is to know of one of them");

/** Properties of one method. */
export type Method = z.infer<typeof method>;

const version = z
  .strictObject({
    name: dnsLabel.describe("label `version` of the pods and name of the subset"),
    image: imageReference.optional().describe("an image of this version alone"),
    ...scaleKeys(2),
    weight: z.int().min(0).max(100).default(100).describe("share of the calls, percent"),
  })
  .superRefine(rejectTwoScales)
  .transform((given) => withPods(given, 2));

function weightsAddUp(versions: readonly z.infer<typeof version>[]): boolean {
  return versions.reduce((sum, { weight }) => sum + weight, 0) === 100;
}

function namesDiffer(versions: readonly z.infer<typeof version>[]): boolean {
  return new Set(versions.map(({ name }) => name)).size === versions.length;
}

const route = z.strictObject({
  headers: z
    .record(z.string(), z.string().min(1).describe("the value of one of them"))
    .refine((headers) => Object.keys(headers).length > 0, "must name a header")
    .refine((headers) => Object.keys(headers).every((name) => headerName.test(name)), {
      error: "must be names of headers in lower case",
    })
    .describe("values by name; a call that has all of them takes this route"),
  version: z.string().min(1).describe("the version that answers it"),
});

/** Keys of a service in a stack, before the preset of its `app` applies. */
export const serviceKeys = z.strictObject({
  app: z
    .string()
    .regex(/^[a-z][-a-z0-9]*$/, "must be a folder of apps/")
    .optional()
    .describe(
      "folder of apps/ that the image is built from; provider, consumer and relay bring the sample's values",
    ),
  build: z
    .strictObject({
      context: projectPath.describe("folder that the image is built from"),
      dockerfile: projectPath.optional().describe("the Dockerfile (default: the one in the context)"),
    })
    .optional()
    .describe("how an image of your own is built"),
  image: imageReference.optional().describe("an image to run instead of building one"),
  name: serviceName.describe("Dubbo application name, Service and label `app`"),
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
    .describe("what is to know of methods, by gRPC path; one that is not named is never repeated nor cut"),
  calls: z.array(serviceName).default([]).describe("names of the services that it calls"),
  versions: z
    .array(version)
    .min(1)
    .refine(weightsAddUp, "the weights must add up to 100")
    .refine(namesDiffer, "two versions have the same name")
    .optional()
    .describe("one Deployment and one subset each (default: v1 alone)"),
  ...scaleKeys("2; 1 of a service that offers nothing"),
  interval: positiveDuration
    .optional()
    .describe(
      "time from one call's start to the next, of an application that calls by itself (default: 1s of app consumer, 5s of its Java image)",
    ),
  timeout: positiveDuration.default("30s").describe("deadline of its calls"),
  routes: z
    .array(route)
    .default([])
    .describe("calls with certain headers, and the version that answers them"),
  traffic: trafficSettings.default({}).describe("calls to it, over what the stack's traffic says of all"),
  healthCheck: healthCheckSettings
    .optional()
    .describe("the active check of its pods, in place of the stack's healthCheck"),
  drain: duration
    .optional()
    .describe("time that an ending pod answers NOT_SERVING, in place of the stack's drain"),
  properties: applicationProperties(RESERVED_PROPERTIES)
    .default({})
    .describe("further Dubbo properties of the application"),
  resources: resourcesSettings
    .prefault({})
    .describe("requests and limits of the application's container (default: by runtime)"),
});

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
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
  const one = { name: "v1", weight: 100, ...withPods({ replicas, autoscale }, usual) };
  return (versions ?? [one]).map((each: Version) => {
    const published = runtime === "java" && build === undefined ? publishedImage(app, each.name) : undefined;
    return { ...each, image: each.image ?? image ?? published };
  });
}

/** Keys about calls to a service. They have no effect on a service that offers nothing. */
const CALL_KEYS = ["methods", "versions", "routes", "traffic", "healthCheck", "drain"] as const;

function rejectUnusedCallKeys(entry: Entry, report: Report): void {
  if (entry.offers.length > 0) return;
  for (const key of CALL_KEYS) {
    const value = entry[key];
    if (value === undefined || Object.keys(value).length === 0) continue;
    report([key], "is about calls to the service, which offers nothing: say in offers what it does");
  }
}

function rejectStreamOptions({ methods }: Entry, report: Report): void {
  for (const [path, { kind, idempotent, timeout }] of Object.entries(methods)) {
    if (kind === "unary") continue;
    if (idempotent)
      report(["methods", path, "idempotent"], "is of a stream, which cannot be repeated once it has begun");
    if (timeout !== undefined)
      report(["methods", path, "timeout"], "is of a stream, which a timeout would cut");
  }
}

/** Rejects methods of gRPC services that the service does not offer. */
function rejectUnofferedMethods({ offers, methods }: Entry, report: Report): void {
  if (offers.length === 0) return;
  for (const path of Object.keys(methods)) {
    if (offers.includes(path.split("/")[1] ?? "")) continue;
    report(["methods", path], `is of a gRPC service that offers does not have (${offers.join(", ")})`);
  }
}

/** Requires exactly one source of each image. */
function rejectImageSources(entry: Entry, report: Report): void {
  const { app, build, image, runtime, versions } = entry;
  if (build !== undefined && image !== undefined)
    report(["build"], "is set beside image, which runs as it is");
  if (build !== undefined && app !== undefined && !PRESETS.has(app))
    report(["build"], "is set beside app, which the project builds by itself");
  for (const [index, each] of versionsOf(entry).entries()) {
    if (each.image !== undefined || build !== undefined) continue;
    const path = versions === undefined ? ["image"] : ["versions", index, "image"];
    if (runtime === "java") report(path, `is not set, and ${publishedVersions(app)}`);
    else if (app === undefined) report(path, "is not set, nor is app or build: nothing says what to run");
  }
}

/**
 * Rejects ports that the pod uses already.
 * Source: https://istio.io/latest/docs/ops/deployment/application-requirements/
 */
function rejectReservedPorts({ port }: Entry, report: Report): void {
  if (port === PROBE_PORT) report(["port"], `is ${port}, at which the probes are answered`);
  if (port >= 15_000 && port <= 15_090) report(["port"], `is ${port}, one of Istio's sidecar`);
}

function rejectDuplicateScales(entry: Entry, report: Report): void {
  if (entry.versions === undefined) return;
  for (const key of ["replicas", "autoscale"] as const) {
    if (entry[key] !== undefined) report([key], "is set beside versions, which have their own");
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
      ...without(entry, "image", "replicas", "autoscale"),
      versions: versionsOf(entry),
      interval: interval ?? defaultInterval(app, runtime),
      resources: resourcesOf(runtime, resources),
    };
  });

/** Dubbo application after its defaults, without the stack-wide settings. */
export type ServiceSettings = z.infer<typeof serviceSettings>;
