import type { KubernetesObject } from "../../common/kubernetes-object.ts";

// Rules that no schema states, and that Kubernetes, Istio or Envoy enforce.

interface Amounts {
  readonly cpu?: string;
  readonly memory?: string;
}

interface Template {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly spec: {
    readonly containers: readonly {
      readonly name: string;
      readonly resources: { readonly requests: Amounts; readonly limits: Amounts };
    }[];
  };
}

interface Patch {
  readonly patch: {
    readonly value: {
      readonly health_checks: readonly {
        readonly http_health_check?: { readonly codec_client_type?: string };
      }[];
    };
  };
}

const UNITS: Readonly<Record<string, number>> = {
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

function amountOf(quantity: string): number {
  return Number.parseFloat(quantity) * (UNITS[quantity.replace(/^[\d.]+/, "")] ?? 1);
}

function excess(of: string, requests: Amounts, limits: Amounts): string[] {
  return (["cpu", "memory"] as const).flatMap((kind) => {
    const { [kind]: request } = requests;
    const { [kind]: limit } = limits;
    if (request === undefined || limit === undefined) return [];
    const over = amountOf(request) > amountOf(limit);
    return over ? [`${of} asks for ${request} of ${kind}, more than ${limit}`] : [];
  });
}

/** Amounts of the annotations of sidecars that end with this. */
function annotated({ metadata: { annotations } }: Template, end: string): Amounts {
  const entries = [
    ["cpu", annotations[`sidecar.istio.io/proxyCPU${end}`]],
    ["memory", annotations[`sidecar.istio.io/proxyMemory${end}`]],
  ].filter(([, amount]) => amount !== undefined);
  return Object.fromEntries(entries) as Amounts;
}

function faultsOf({ kind, metadata: { name }, spec }: KubernetesObject): string[] {
  if (kind === "Namespace")
    return /^(default|istio-system|kube-.*)$/.test(name) ? [`the namespace is ${name}`] : [];
  if (kind === "Deployment") {
    const { template } = spec as { readonly template: Template };
    return [
      ...template.spec.containers.flatMap(({ name: container, resources }) =>
        excess(`${container} of ${name}`, resources.requests, resources.limits),
      ),
      ...excess(`the sidecar of ${name}`, annotated(template, ""), annotated(template, "Limit")),
    ];
  }
  if (kind !== "EnvoyFilter") return [];
  const { configPatches } = spec as { readonly configPatches: readonly Patch[] };
  return configPatches.flatMap(({ patch }) =>
    patch.value.health_checks.flatMap(({ http_health_check: http }) =>
      http === undefined || http.codec_client_type === "HTTP2" ? [] : [`${name} checks over HTTP/1`],
    ),
  );
}

/** Faults of objects that pass every schema, and yet could not run. */
export function admissionFaults(objects: readonly KubernetesObject[]): string[] {
  return objects.flatMap(faultsOf);
}
