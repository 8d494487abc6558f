import { z } from "zod";
import { DNS_NAME } from "./names.ts";

const IN_FULL = "must be a full host name, such as collector.observability.svc.cluster.local";

const tracing = z
  .strictObject({
    sampling: z.number().min(0).max(100).default(1).describe("share of traced calls, percent"),
    provider: z
      .string()
      .min(1)
      .optional()
      .describe("name of one of Istio's extensionProviders (default: that of the mesh configuration)"),
    service: z
      .string()
      .regex(DNS_NAME, IN_FULL)
      .max(253, "must have at most 253 characters")
      .refine((host) => host.includes(".") && !host.endsWith(".svc"), IN_FULL)
      .optional()
      .describe(
        "host to which the provider sends traces: its `service` without a namespace; required with provider",
      ),
  })
  // A sidecar only knows the hosts of its scope. If a tracer's host is unknown, it rejects all
  // listeners.
  .refine(({ provider, service }) => provider === undefined || service !== undefined, {
    path: ["service"],
    error:
      "is required with provider: proxies reject their listeners if they do not know the host of the traces",
  });

/**
 * Returns the namespace of the pods behind a host; undefined for a host outside the cluster.
 * @param domain DNS suffix of the cluster's Services
 */
export function namespaceOfHost(host: string, domain: string): string | undefined {
  const [, namespace, ...suffix] = host.split(".");
  return suffix.join(".") === `svc.${domain}` ? namespace : undefined;
}

/** Settings of traces. */
export type Tracing = z.infer<typeof tracing>;

/** Observability settings besides access logs and metrics. */
export const observabilitySettings = z.strictObject({
  tracing: tracing
    .optional()
    .describe("traces of calls: sampling, provider, service (default: those of the mesh configuration)"),
  dashboard: z
    .boolean()
    .default(false)
    .describe("create a Grafana dashboard of the mesh, as a ConfigMap for Grafana's Helm chart"),
});
