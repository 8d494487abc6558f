import { z } from "zod";

const tracing = z
  .strictObject({
    sampling: z.number().min(0).max(100).default(1).describe("share of the calls that are traced, percent"),
    provider: z
      .string()
      .min(1)
      .optional()
      .describe("name of one of the mesh's extensionProviders (default: the mesh's own choice)"),
    service: z
      .string()
      .regex(
        /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$/,
        "must be a host in full, such as collector.observability.svc.cluster.local",
      )
      .optional()
      .describe("host that the provider sends traces to, its `service`; required beside provider"),
  })
  // A sidecar is told of what its scope names, and refuses all listeners of which one has a tracer that it is not told of.
  .refine(({ provider, service }) => provider === undefined || service !== undefined, {
    path: ["service"],
    error:
      "is not set: it is the host that the provider sends traces to, without which no proxy takes its listeners",
  });

/**
 * Namespace of the pods behind a host; undefined for one outside of the cluster.
 * @param domain DNS suffix of the cluster's Services
 */
export function namespaceOfHost(host: string, domain: string): string | undefined {
  const [, namespace, ...suffix] = host.split(".");
  return suffix.join(".") === `svc.${domain}` ? namespace : undefined;
}

/** Traces of calls. */
export type Tracing = z.infer<typeof tracing>;

/** What can be seen of the mesh, beside access logs and metrics. */
export const observabilitySettings = z.strictObject({
  tracing: tracing
    .optional()
    .describe("traces of calls: sampling, provider (default: as the mesh is set up)"),
  dashboard: z
    .boolean()
    .default(false)
    .describe("a Grafana dashboard of the mesh, as a ConfigMap that Grafana's Helm chart finds"),
});
