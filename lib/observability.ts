import { z } from "zod";

const tracing = z.strictObject({
  sampling: z.number().min(0).max(100).default(1).describe("share of the calls that are traced, percent"),
  provider: z
    .string()
    .min(1)
    .optional()
    .describe("name of one of the mesh's extensionProviders (default: the mesh's own choice)"),
});

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
