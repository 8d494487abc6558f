import { GREETER, type Runtime, STREAMS } from "./names.ts";

const PROVIDER = "dubbo-samples-mesh-provider";

const STREAMING = STREAMS.map((name) => [`/${GREETER}/${name}`, { kind: "streaming" }] as const);

/**
 * Default values of the applications of apps/, by folder.
 * Sources: the sample; its greeter.proto; apps/
 */
export const PRESETS: ReadonlyMap<string, Readonly<Record<string, unknown>>> = new Map([
  [
    "provider",
    {
      name: PROVIDER,
      port: 50052,
      offers: [GREETER],
      methods: { [`/${GREETER}/greet`]: { idempotent: true }, ...Object.fromEntries(STREAMING) },
    },
  ],
  ["consumer", { name: "dubbo-samples-mesh-consumer", port: 20880, calls: [PROVIDER] }],
  [
    "relay",
    {
      name: "dubbo-samples-mesh-relay",
      port: 50053,
      offers: ["org.apache.dubbo.samples.Relay"],
      calls: [PROVIDER],
    },
  ],
]);

/**
 * Default time from the start of one call to the next.
 * Source: ConsumerBootstrap.java for Apache's Java consumer
 */
const CALL_INTERVALS: Readonly<Record<Runtime, string>> = { node: "1s", java: "5s" };

/** Returns the default call interval of an application; undefined for one that starts no calls. */
export function defaultInterval(app: string | undefined, runtime: Runtime): string | undefined {
  return app === "consumer" ? CALL_INTERVALS[runtime] : undefined;
}

/** Java images that Apache publishes, by application and version. Source: the sample's deploy/. */
const PUBLISHED: ReadonlyMap<string, ReadonlyMap<string, string>> = new Map([
  [
    "provider",
    new Map([
      ["v1", "apache/dubbo-demo:dubbo-samples-mesh-provider-v1_0.0.1"],
      ["v2", "apache/dubbo-demo:dubbo-samples-mesh-provider-v2_0.0.1"],
    ]),
  ],
  ["consumer", new Map([["v1", "apache/dubbo-demo:dubbo-samples-mesh-consumer_0.0.1"]])],
]);

/** Returns Apache's Java image of a version of an application; undefined if there is none. */
export function publishedImage(app: string | undefined, version: string): string | undefined {
  return PUBLISHED.get(app ?? "")?.get(version);
}

const PUBLISHED_IMAGES = new Set([...PUBLISHED.values()].flatMap((images) => [...images.values()]));

/**
 * Tells whether Apache publishes an image. These images run Java 8.
 * Source: their pom.xml files set Java 1.8, from which jib chooses its base image
 */
export function isPublished(image: string): boolean {
  return PUBLISHED_IMAGES.has(image);
}

/** Describes the published Java images of an application, for an error message. */
export function publishedVersions(app: string | undefined): string {
  const versions = [...(PUBLISHED.get(app ?? "")?.keys() ?? [])];
  if (versions.length === 0) return "Apache publishes no Java image of this application";
  return `Apache publishes Java images of ${versions.join(" and ")} only`;
}

/** Applications of apps/ that call only the sample's greeter. */
export const GREETER_CALLERS: readonly string[] = ["consumer", "relay"];
