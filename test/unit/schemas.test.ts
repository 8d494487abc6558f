import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { strict } from "../schemas/strict.ts";
import { schemaFile, validateObject } from "../schemas/validate.ts";

/** Copies `object` with `value` at `path`; `undefined` removes the field. */
function put<T>(object: T, path: readonly (string | number)[], value: unknown): T {
  const copy = structuredClone(object);
  const parent = path
    .slice(0, -1)
    .reduce((at: unknown, key) => (at as Record<string | number, unknown>)[key], copy);
  const last = path.at(-1) ?? "";
  if (value === undefined) {
    Reflect.deleteProperty(parent as object, last);
  } else {
    Reflect.set(parent as object, last, value);
  }
  return copy;
}

const metadata = { name: "provider", namespace: "dubbo-demo", labels: { "app.kubernetes.io/name": "mesh" } };

const deployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata,
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "provider" } },
    strategy: { rollingUpdate: { maxSurge: "25%", maxUnavailable: 0 } },
    template: {
      metadata: { labels: { app: "provider" } },
      spec: {
        containers: [
          {
            name: "app",
            image: "localhost:5000/provider",
            env: [{ name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } }],
            ports: [{ name: "grpc-tri", containerPort: 50052, protocol: "TCP" }],
            livenessProbe: { httpGet: { path: "/live", port: "http-health" }, periodSeconds: 5 },
            resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { cpu: 1.5 } },
          },
        ],
      },
    },
  },
};
const container = ["spec", "template", "spec", "containers", 0];

const virtualService = {
  apiVersion: "networking.istio.io/v1",
  kind: "VirtualService",
  metadata,
  spec: {
    hosts: ["provider"],
    http: [
      {
        match: [{ uri: { prefix: "/org.apache.dubbo.samples.Greeter/" } }],
        route: [
          { destination: { host: "provider", subset: "v1", port: { number: 50052 } }, weight: 80 },
          { destination: { host: "provider", subset: "v2" }, weight: 20 },
        ],
        timeout: "30s",
        retries: { attempts: 2, perTryTimeout: "1.5s", retryOn: "connect-failure,reset" },
      },
    ],
  },
};
const route = ["spec", "http", 0];

const envoyFilter = {
  apiVersion: "networking.istio.io/v1alpha3",
  kind: "EnvoyFilter",
  metadata,
  spec: {
    workloadSelector: { labels: { app: "consumer" } },
    configPatches: [
      {
        applyTo: "CLUSTER",
        match: { context: "SIDECAR_OUTBOUND", cluster: { service: "provider", portNumber: 50052 } },
        patch: { operation: "MERGE", value: { health_checks: [{ anything: "Envoy's own" }] } },
      },
    ],
  },
};
const patch = ["spec", "configPatches", 0];

const valid: Record<string, object> = {
  deployment,
  virtualService,
  envoyFilter,
  namespace: { apiVersion: "v1", kind: "Namespace", metadata: { name: "dubbo-demo" } },
  serviceAccount: { apiVersion: "v1", kind: "ServiceAccount", metadata, automountServiceAccountToken: false },
  configMap: { apiVersion: "v1", kind: "ConfigMap", metadata, data: { key: "value" } },
  secret: { apiVersion: "v1", kind: "Secret", metadata, data: { key: "dmFsdWU=" }, type: "Opaque" },
  service: {
    apiVersion: "v1",
    kind: "Service",
    metadata,
    spec: {
      ports: [{ name: "grpc-tri", port: 50052, targetPort: "grpc-tri", appProtocol: "grpc" }],
      selector: { app: "provider" },
    },
  },
  pod: { apiVersion: "v1", kind: "Pod", metadata, spec: deployment.spec.template.spec },
  horizontalPodAutoscaler: {
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata,
    spec: { maxReplicas: 2, scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "provider" } },
  },
  networkPolicy: {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata,
    spec: {
      podSelector: { matchLabels: { app: "provider" } },
      policyTypes: ["Ingress"],
      ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ protocol: "TCP", port: 50052 }] }],
    },
  },
  podDisruptionBudget: {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata,
    spec: { maxUnavailable: 1, selector: { matchLabels: { app: "provider" } } },
  },
  role: {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "Role",
    metadata,
    rules: [{ apiGroups: [""], resources: ["services"], verbs: ["get"] }],
  },
  roleBinding: {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata,
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "dubbo" },
    subjects: [{ kind: "ServiceAccount", name: "dubbo-sa", namespace: "dubbo-demo" }],
  },
  destinationRule: {
    apiVersion: "networking.istio.io/v1",
    kind: "DestinationRule",
    metadata,
    spec: {
      host: "provider",
      subsets: [{ name: "v1", labels: { version: "v1" } }],
      trafficPolicy: {
        loadBalancer: { simple: "ROUND_ROBIN" },
        outlierDetection: { consecutive5xxErrors: null },
      },
    },
  },
  sidecar: {
    apiVersion: "networking.istio.io/v1",
    kind: "Sidecar",
    metadata,
    spec: { egress: [{ hosts: ["./provider", "istio-system/*"] }] },
  },
  telemetry: {
    apiVersion: "telemetry.istio.io/v1",
    kind: "Telemetry",
    metadata,
    spec: { accessLogging: [{ providers: [{ name: "envoy" }] }] },
  },
  peerAuthentication: {
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata,
    spec: { mtls: { mode: "STRICT" } },
  },
  authorizationPolicy: {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata,
    spec: { action: "ALLOW", rules: [{ from: [{ source: { principals: ["cluster.local/ns/a/sa/b"] } }] }] },
  },
};

describe("a valid object has no fault", () => {
  test.each(Object.entries(valid))("%s", (_name, object) => {
    expect(validateObject(object)).toEqual([]);
  });

  test("covers every kind with a schema", () => {
    const kinds = [...Object.keys(schemaFile("kubernetes").kinds), ...Object.keys(schemaFile("istio").kinds)];
    const tried = Object.values(valid).map((object) => {
      const { apiVersion, kind } = object as { apiVersion: string; kind: string };
      return `${apiVersion} ${kind}`;
    });
    expect(tried.sort()).toEqual(kinds.sort());
  });
});

describe("one fault is one line, with its kind, name and path", () => {
  test.each([
    [
      "a misspelt field",
      put(deployment, [...container, "imagee"], "x"),
      "spec.template.spec.containers[0].imagee is not a known field",
    ],
    ["a field of the status", put(deployment, ["status"], {}), "status is not a known field"],
    [
      "a misspelt probe",
      put(deployment, [...container, "livenessProbe", "periodSecond"], 5),
      "spec.template.spec.containers[0].livenessProbe.periodSecond is not a known field",
    ],
    ["a number as text", put(deployment, ["spec", "replicas"], "2"), 'spec.replicas must be integer, is "2"'],
    [
      "a number beyond int32",
      put(deployment, ["spec", "replicas"], 2 ** 31),
      "spec.replicas must be <= 2147483647, is 2147483648",
    ],
    [
      "a number where a label's text belongs",
      put(deployment, ["metadata", "labels", "app.kubernetes.io/name"], 1),
      'metadata.labels["app.kubernetes.io/name"] must be string, is 1',
    ],
    [
      "null",
      put(deployment, [...container, "env"], null),
      "spec.template.spec.containers[0].env must be array, is null",
    ],
    [
      "a quantity with an unknown unit",
      put(deployment, [...container, "resources", "requests", "memory"], "128MB"),
      `spec.template.spec.containers[0].resources.requests.memory must match pattern "${quantityPattern()}", is "128MB"`,
    ],
    [
      "an integer-or-text that is neither",
      put(deployment, ["spec", "strategy", "rollingUpdate", "maxSurge"], true),
      "spec.strategy.rollingUpdate.maxSurge must be integer,string, is true",
    ],
    ["a missing field", put(deployment, ["spec", "selector"], undefined), "spec.selector is missing"],
    [
      "a missing name of a container",
      put(deployment, [...container, "name"], undefined),
      "spec.template.spec.containers[0].name is missing",
    ],
  ])("Deployment: %s", (_title, object, fault) => {
    expect(validateObject(object)).toEqual([`Deployment provider: ${fault}`]);
  });

  test.each([
    [
      "a weight as text",
      put(virtualService, [...route, "route", 0, "weight"], "80"),
      'spec.http[0].route[0].weight must be integer, is "80"',
    ],
    [
      "a misspelt weight",
      put(virtualService, [...route, "route", 0, "wieght"], 80),
      "spec.http[0].route[0].wieght is not a known field",
    ],
    [
      "no destination",
      put(virtualService, [...route, "route", 1, "destination"], undefined),
      "spec.http[0].route[1].destination is missing",
    ],
    [
      "two ways to match",
      put(virtualService, [...route, "match", 0, "uri", "exact"], "/"),
      "spec.http[0].match[0].uri must have no more than one of exact, prefix, regex",
    ],
    [
      "a time without a unit",
      put(virtualService, [...route, "timeout"], "30"),
      `spec.http[0].timeout must match pattern "${durationPattern()}", is "30"`,
    ],
    [
      "a time of 0",
      put(virtualService, [...route, "timeout"], "0s"),
      `spec.http[0].timeout must match pattern "${durationPattern()}", is "0s"`,
    ],
  ])("VirtualService: %s", (_title, object, fault) => {
    expect(validateObject(object)).toEqual([`VirtualService provider: ${fault}`]);
  });

  test.each([
    [
      "an unknown applyTo",
      put(envoyFilter, [...patch, "applyTo"], "CLUSTERS"),
      "spec.configPatches[0].applyTo must be one of INVALID, LISTENER, FILTER_CHAIN, NETWORK_FILTER, HTTP_FILTER, " +
        "ROUTE_CONFIGURATION, VIRTUAL_HOST, HTTP_ROUTE, CLUSTER, EXTENSION_CONFIG, BOOTSTRAP, LISTENER_FILTER, " +
        'is "CLUSTERS"',
    ],
    [
      "two kinds of match",
      put(envoyFilter, [...patch, "match", "listener"], { portNumber: 1 }),
      "spec.configPatches[0].match must have no more than one of listener, routeConfiguration, cluster, waypoint",
    ],
    [
      "a misspelt field of the match",
      put(envoyFilter, [...patch, "match", "cluster", "port"], 1),
      "spec.configPatches[0].match.cluster.port is not a known field",
    ],
    [
      "a patch that is no object",
      put(envoyFilter, [...patch, "patch", "value"], "health_checks: []"),
      'spec.configPatches[0].patch.value must be object, is "health_checks: []"',
    ],
  ])("EnvoyFilter: %s", (_title, object, fault) => {
    expect(validateObject(object)).toEqual([`EnvoyFilter provider: ${fault}`]);
  });

  test("two faults are two lines", () => {
    const object = put(put(deployment, ["spec", "replica"], 2), ["metadata", "names"], "x");
    expect(validateObject(object)).toEqual([
      "Deployment provider: metadata.names is not a known field",
      "Deployment provider: spec.replica is not a known field",
    ]);
  });

  test("metadata is required", () => {
    expect(validateObject({ apiVersion: "v1", kind: "Namespace" })).toEqual([
      "Namespace (none): metadata is missing",
    ]);
  });

  test.each([
    [
      "an unknown kind",
      put(deployment, ["kind"], "Deploymant"),
      "Deploymant provider: no schema for apps/v1 Deploymant; there are apps/v1 Deployment, ",
    ],
    [
      "another version",
      put(envoyFilter, ["apiVersion"], "networking.istio.io/v1"),
      "EnvoyFilter provider: no schema for networking.istio.io/v1 EnvoyFilter; ",
    ],
    ["no kind", put(deployment, ["kind"], undefined), "(none) provider: no schema for apps/v1 (none); "],
    ["no object", [], "(no object): must be an object with apiVersion, kind and metadata"],
  ])("%s", (_title, object, start) => {
    const faults = validateObject(object);
    expect(faults).toHaveLength(1);
    expect(faults[0]?.slice(0, start.length)).toBe(start);
  });
});

describe("a published schema, made strict", () => {
  test("lists the allowed fields, and keeps free-form objects", () => {
    const published = {
      type: "object",
      description: "dropped",
      required: ["port"],
      properties: {
        port: { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }] },
        labels: {
          type: "object",
          additionalProperties: { type: "string", default: "", description: "dropped" },
        },
        free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
        open: {
          type: "object",
          properties: { a: { type: "boolean" } },
          "x-kubernetes-preserve-unknown-fields": true,
        },
        count: { type: "integer", format: "int32", minimum: 0, nullable: true },
        meta: { allOf: [{ $ref: "#/components/schemas/io.Meta" }], default: {} },
        list: { type: "array", items: { type: "object", properties: { description: { type: "string" } } } },
      },
    };
    expect(strict(published)).toEqual({
      type: "object",
      required: ["port"],
      properties: {
        port: { type: ["integer", "string"] },
        labels: { type: "object", additionalProperties: { type: "string" } },
        free: { type: "object" },
        open: { type: "object", properties: { a: { type: "boolean" } } },
        count: { type: ["integer", "null"], minimum: 0, maximum: 2 ** 31 - 1 },
        meta: { $ref: "#/definitions/io.Meta" },
        list: {
          type: "array",
          items: {
            type: "object",
            properties: { description: { type: "string" } },
            additionalProperties: false,
          },
        },
      },
      additionalProperties: false,
    });
  });
});

describe("the committed schemas", () => {
  test.each([
    ["kubernetes", "kube", "k8s.io/kubernetes"],
    ["istio", "istio", "istio.io/istio"],
  ] as const)("%s has the version in packages/local-cluster/build/%s", (name, build, module) => {
    const pins = readFileSync(
      new URL(`../../packages/local-cluster/build/${build}/go.mod`, import.meta.url),
      "utf8",
    );
    const pin = pins
      .split("\n")
      .find((line) => line.trim().replace("require ", "").startsWith(`${module} v`));
    const version = pin?.trim().replace("require ", "").split(" ")[1] ?? "(no pin)";
    const { header } = schemaFile(name);
    expect(header.source).toBe(`${module}@${version}`);
    expect(header.licence).toBe("Apache-2.0");
    expect(header.command).toBe("node test/schemas/reduce.ts");
  });
});

function quantityPattern(): string {
  return patternOf(schemaFile("kubernetes").definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]);
}

function durationPattern(): string {
  const keys = ["properties", "spec", "properties", "http", "items", "properties", "timeout"];
  return patternOf(
    keys.reduce(
      (at: unknown, key) => (at as Record<string, unknown>)[key],
      schemaFile("istio").definitions["VirtualService"],
    ),
  );
}

function patternOf(schema: unknown): string {
  return (schema as { pattern: string }).pattern;
}
