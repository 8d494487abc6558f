import { GREETER, type Runtime, STREAMS } from "./names.ts";

const PROVIDER = "dubbo-samples-mesh-provider";

const STREAMING = STREAMS.map((name) => [`/${GREETER}/${name}`, { kind: "streaming" }] as const);

/** What an application of apps/ brings with it, by its folder. Sources: the seed; the sample's greeter.proto; apps/. */
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

/** Time from one call's start to the next where the stack does not say; Apache's Java consumer has its own. Source: ConsumerBootstrap.java. */
const CALL_INTERVALS: Readonly<Record<Runtime, string>> = { node: "1s", java: "5s" };

/** How often an application calls by itself where the stack does not say; undefined for one that waits to be called. */
export function usualInterval(app: string | undefined, runtime: Runtime): string | undefined {
  return app === "consumer" ? CALL_INTERVALS[runtime] : undefined;
}

/** The Java images that Apache publishes, by application and version. Source: the sample's deploy/. */
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

/** The Java image that Apache publishes of a version of an application. */
export function publishedImage(app: string | undefined, version: string): string | undefined {
  return PUBLISHED.get(app ?? "")?.get(version);
}

const PUBLISHED_IMAGES = new Set([...PUBLISHED.values()].flatMap((images) => [...images.values()]));

/** Whether an image is one that Apache publishes: they run on Java 8. Source: the pom.xml of each, of Java 1.8, by which jib picks its base. */
export function isPublished(image: string): boolean {
  return PUBLISHED_IMAGES.has(image);
}

/** Which Java images of an application there are, for people. */
export function publishedVersions(app: string | undefined): string {
  const versions = [...(PUBLISHED.get(app ?? "")?.keys() ?? [])];
  if (versions.length === 0) return "Apache publishes no Java image of it";
  return `Apache publishes Java images of ${versions.join(" and ")} only`;
}

/** The applications of apps/ that call the sample's greeter, and nothing else. */
export const GREETER_CALLERS: readonly string[] = ["consumer", "relay"];
