/** Name of the application's container in every pod; the sidecar's is `istio-proxy`. */
export const APPLICATION_CONTAINER = "app";

/** The interface that the sample's provider exports and its consumer calls. Source: the sample's greeter.proto. */
export const GREETER = "org.apache.dubbo.samples.Greeter";

/** Its methods that stream: they are neither repeated nor cut by a timeout. Source: apps/proto/greeter.proto. */
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

/** Name of the EnvoyFilter with a caller's health checks: that of the seed's consumer is the seed's. */
export function envoyFilterName(caller: string): string {
  return caller === "dubbo-samples-mesh-consumer" ? "cluster" : `cluster-${caller}`;
}

/** A name as DNS has it, of labels with dots between them. Source: RFC 1123. */
export const DNS_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/;

/** What runs a Dubbo application: Node.js, or Java with Dubbo's own SDK. */
export const RUNTIMES = ["node", "java"] as const;
export type Runtime = (typeof RUNTIMES)[number];

/** The port of Dubbo's QOS server, which answers the probes. Source: the seed, 4.1. */
export const PROBE_PORT = 22222;
