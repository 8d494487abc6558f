import { z } from "zod";
import type { Runtime } from "./names.ts";

const quantity = z
  .union([z.string(), z.number()])
  .transform(String)
  .pipe(z.string().regex(/^\d+(\.\d+)?(m|[kMGT]i?)?$/, "must be a quantity such as 100m, 0.5 or 256Mi"))
  .describe("a quantity such as 100m, 0.5 or 256Mi");

const amounts = z.partialRecord(z.enum(["cpu", "memory"]), quantity).default({});

/** Resources of a container, in Kubernetes' words. */
export const resourcesSettings = z.strictObject({
  requests: amounts.describe("what is set aside: cpu, memory"),
  limits: amounts.describe("what may be used: cpu, memory"),
});

/** Resources of a container. */
export type Resources = z.infer<typeof resourcesSettings>;

/** What an application gets where the stack does not say. No limit of the CPU, which would only slow it down. */
const DEFAULTS: Readonly<Record<Runtime, Resources>> = {
  node: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
  java: { requests: { cpu: "100m", memory: "256Mi" }, limits: { memory: "512Mi" } },
};

/** The resources of an application, each that is not given by its runtime's default. */
export function resourcesOf(runtime: Runtime, given: Resources): Resources {
  const { requests, limits } = DEFAULTS[runtime];
  return { requests: { ...requests, ...given.requests }, limits: { ...limits, ...given.limits } };
}

/**
 * Annotations that give a sidecar its resources. One of them is enough to have all of the mesh's own dropped.
 * Source: Istio's injection-template.yaml, `resources`.
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
