/** Name of the application's container in every pod; the sidecar's is `istio-proxy`. */
export const APPLICATION_CONTAINER = "app";

/** Resource type of an image in Pulumi's Docker plugin. */
export const IMAGE_TYPE = "docker:index/image:Image";

/** Interface that the sample's provider exports. Source: the sample's greeter.proto. */
export const GREETER = "org.apache.dubbo.samples.Greeter";

/**
 * Streaming methods of the greeter. They are never retried and have no timeout.
 * Source: apps/proto/greeter.proto
 */
export const STREAMS: readonly string[] = [
  "greetStream",
  "greetServerStream",
  "cancelBiStream",
  "cancelBiStream2",
  "compressorBiStream",
  "clientCompressorBiStream",
  "serverCompressorBiStream",
  "cancelServerStream",
];

/**
 * Returns the name of the EnvoyFilter with a caller's health checks. The consumer's name is the
 * sample's.
 */
export function envoyFilterName(caller: string): string {
  return caller === "dubbo-samples-mesh-consumer" ? "cluster" : `cluster-${caller}`;
}

/** DNS name: labels with dots between them. Source: RFC 1123. */
export const DNS_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/;

/** Runtimes of Dubbo applications: Node.js, or Java with Dubbo's SDK. */
export const RUNTIMES = ["node", "java"] as const;
export type Runtime = (typeof RUNTIMES)[number];

/** Port of Dubbo's QOS server, which answers the probes. Source: the sample, 4.1. */
export const PROBE_PORT = 22222;
