import { z } from "zod";
import type { Runtime } from "./names.ts";

const quantity = z
  .union([z.string(), z.number()])
  .transform(String)
  .pipe(z.string().regex(/^\d+(\.\d+)?(m|[kMGT]i?)?$/, "must be a quantity such as 100m, 0.5 or 256Mi"))
  .describe("a quantity such as 100m, 0.5 or 256Mi");

const amounts = z.partialRecord(z.enum(["cpu", "memory"]), quantity).default({});

/** Resources of a container, in Kubernetes' form. */
export const resourcesSettings = z.strictObject({
  requests: amounts.describe("reserved resources: cpu, memory"),
  limits: amounts.describe("maximum resources: cpu, memory"),
});

/** Resources of a container. */
export type Resources = z.infer<typeof resourcesSettings>;

/**
 * Default resources of an application. There is no CPU limit: it would only throttle the
 * application.
 */
const DEFAULTS: Readonly<Record<Runtime, Resources>> = {
  node: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
  java: { requests: { cpu: "100m", memory: "256Mi" }, limits: { memory: "512Mi" } },
};

/** Returns the resources of an application. The runtime's defaults fill in missing values. */
export function resourcesOf(runtime: Runtime, given: Resources): Resources {
  const { requests, limits } = DEFAULTS[runtime];
  return { requests: { ...requests, ...given.requests }, limits: { ...limits, ...given.limits } };
}

/**
 * Returns annotations that set a sidecar's resources. Setting any of them replaces all mesh
 * defaults.
 * Source: Istio's injection-template.yaml, `resources`
 */
export function proxyAnnotations({ requests, limits }: Resources): Record<string, string> {
  const values = {
    proxyCPU: requests.cpu,
    proxyMemory: requests.memory,
    proxyCPULimit: limits.cpu,
    proxyMemoryLimit: limits.memory,
  };
  const given = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [[`sidecar.istio.io/${name}`, value] as const],
  );
  return Object.fromEntries(given);
}
