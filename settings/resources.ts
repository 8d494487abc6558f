import { z } from "zod";
import type { Runtime } from "./names.ts";

/** Quantity of Kubernetes. Source: its apimachinery/pkg/api/resource/quantity.go */
const QUANTITY = /^(\d+)(?:\.(\d+))?(m|[kMGT]|[KMGT]i)?$/;

/** Billionths in a unit, by suffix. A billionth is the least that Kubernetes tells apart. */
const BILLIONTHS: ReadonlyMap<string, bigint> = new Map([
  ["", 10n ** 9n],
  ["m", 10n ** 6n],
  ...["k", "M", "G", "T"].map((suffix, power) => [suffix, 10n ** BigInt(12 + 3 * power)] as const),
  ...["Ki", "Mi", "Gi", "Ti"].map(
    (suffix, power) => [suffix, 10n ** 9n * 1024n ** BigInt(power + 1)] as const,
  ),
]);

/** Returns a quantity in billionths. */
export function billionths(quantity: string): bigint {
  const [, whole = "", fraction = "", suffix = ""] = QUANTITY.exec(quantity) ?? [];
  return (BigInt(whole + fraction) * (BILLIONTHS.get(suffix) ?? 0n)) / 10n ** BigInt(fraction.length);
}

const quantity = z
  .union([z.string(), z.number()])
  .transform(String)
  .pipe(z.string().regex(QUANTITY, { error: "must be a quantity such as 100m, 0.5 or 256Mi", abort: true }))
  .describe("a quantity such as 100m, 0.5 or 256Mi");

const KINDS = ["cpu", "memory"] as const;

// Kubernetes accepts these two, and no pod could run with them.
const amounts = z
  .partialRecord(z.enum(KINDS), quantity)
  .refine(({ cpu = "" }) => !/[^\dm]$/.test(cpu), {
    path: ["cpu"],
    error: "must be a number of CPUs such as 100m or 0.5",
  })
  .refine(({ memory = "" }) => !memory.endsWith("m"), {
    path: ["memory"],
    error: "must be bytes such as 256Mi: m stands for thousandths",
  })
  .default({});

/** Resources of a container, in Kubernetes' form. */
export const resourcesSettings = z.strictObject({
  requests: amounts.describe("reserved resources: cpu, memory"),
  limits: amounts.describe("maximum resources: cpu, memory"),
});

/** Resources of a container. */
export type Resources = z.infer<typeof resourcesSettings>;

/** Reports a fault of the key at `path`, relative to the resources. */
type Report = (path: string[], message: string) => void;

/**
 * Default resources of an application. There is no CPU limit: it would only throttle the
 * application.
 */
export const DEFAULT_RESOURCES: Readonly<Record<Runtime, Resources>> = {
  node: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
  java: { requests: { cpu: "100m", memory: "256Mi" }, limits: { memory: "512Mi" } },
};

/** Returns the resources of an application. The runtime's defaults fill in missing values. */
export function resourcesOf(runtime: Runtime, given: Resources): Resources {
  const { requests, limits } = DEFAULT_RESOURCES[runtime];
  return { requests: { ...requests, ...given.requests }, limits: { ...limits, ...given.limits } };
}

/**
 * Rejects a request over its limit. Kubernetes accepts no such pod.
 * @param defaults resources where `given` has none
 */
export function rejectRequestsOverLimits(given: Resources, defaults: Resources, report: Report): void {
  for (const kind of KINDS) {
    const { [kind]: request = defaults.requests[kind] } = given.requests;
    const { [kind]: limit = defaults.limits[kind] } = given.limits;
    if (request === undefined || limit === undefined || billionths(request) <= billionths(limit)) continue;
    if (given.requests[kind] === undefined)
      report(
        ["limits", kind],
        `is ${limit}, less than the default request, ${request}: set requests.${kind}, too`,
      );
    else if (given.limits[kind] === undefined)
      report(
        ["requests", kind],
        `is ${request}, more than the default limit, ${limit}: set limits.${kind}, too`,
      );
    else
      report(
        ["requests", kind],
        `is ${request}, more than limits.${kind}, ${limit}: lower it, or raise the limit`,
      );
  }
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
