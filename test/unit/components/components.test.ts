import * as pulumi from "@pulumi/pulumi";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ActiveHealthCheck, envoyFilterSpec } from "../../../components/health-check.ts";
import { ApplicationImage } from "../../../components/image.ts";
import { injectionLabels, MeshNamespace, telemetrySpec } from "../../../components/namespace.ts";
import { MeshNetworkPolicy } from "../../../components/network-policy.ts";
import { SidecarScope } from "../../../components/sidecar-scope.ts";
import { authorizationPolicySpec, MeshSecurity } from "../../../components/security.ts";
import { DubboService } from "../../../components/service.ts";
import {
  destinationRuleSpec,
  ProviderRoutes,
  ProviderSubset,
  ProviderTraffic,
  virtualServiceSpec,
  type TrafficRules,
} from "../../../components/traffic.ts";
import { healthCheckSettings } from "../../../settings/health-check.ts";
import { trafficOf } from "../../../settings/traffic.ts";
import { validateObject } from "../../schemas/validate.ts";
import { type Registered, register, type Registration, unhandled, valueOf } from "./mocks.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

/** Shape of a component: type, name, parent and dependencies. */
function shape({ resources }: Registration<unknown>): string[] {
  return resources.map(
    ({ type, name, parent, dependsOn }) => `${type} ${name} < ${parent} after [${dependsOn.join(", ")}]`,
  );
}

function find({ resources }: Registration<unknown>, name: string): Registered["inputs"] {
  const found = resources.filter((resource) => resource.name === name);
  expect(found).toHaveLength(1);
  return found[0]?.inputs ?? {};
}

const providerArgs = {
  application: "mesh-provider",
  namespace: "demo",
  serviceAccount: "sa",
  runtime: "node" as const,
  port: 50052,
  clusterDomain: "cluster.test",
  called: true,
  drainSeconds: 9.5,
  finishSeconds: 2.5,
  properties: { "dubbo.application.log-format": "json" },
  resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
  annotations: { "sidecar.istio.io/proxyCPU": "30m" },
  versions: [
    { name: "v1", replicas: 2, image: "r/p@sha256:1" },
    { name: "v2", replicas: 0, image: "r/p@sha256:2" },
  ],
};
const consumerArgs = {
  application: "mesh-consumer",
  namespace: "demo",
  serviceAccount: "sa",
  runtime: "node" as const,
  port: 20880,
  clusterDomain: "cluster.test",
  called: false,
  calls: {
    callees: [{ application: "mesh-provider", port: 50052, services: ["org.apache.dubbo.samples.Greeter"] }],
    intervalMs: 1000,
    timeoutMs: 30_500,
  },
  drainSeconds: 0,
  finishSeconds: 30.5,
  properties: {},
  resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
  annotations: {},
  versions: [{ name: "v1", replicas: 1, image: "r/c@sha256:1" }],
};
/** A service with a caller and two callees. */
const relayArgs = {
  ...consumerArgs,
  application: "mesh-relay",
  port: 50053,
  called: true,
  calls: {
    callees: [
      { application: "mesh-provider", port: 50052, services: ["a.B", "a.C"] },
      { application: "mesh-other", port: 50054, services: ["d.E"] },
    ],
    timeoutMs: 30_500,
  },
  drainSeconds: 9.5,
};
const trafficRules = {
  ...trafficOf(),
  host: "mesh-provider.demo.svc.cluster.test",
  subsets: [
    { name: "v1", weight: 80 },
    { name: "v2", weight: 20 },
  ],
  methods: { "/a.B/c": { kind: "unary" as const, idempotent: true } },
  routes: [],
};
const checkedProvider = {
  host: "mesh-provider.demo.svc.cluster.test",
  port: 50052,
  subsets: ["v1", "v2"],
  service: "a.B",
  healthCheck: healthCheckSettings.parse({}),
  outlierDetection: true,
};
const namespaceArgs = { name: "demo", injection: true, accessLogs: true, serviceAccount: "sa" };

const COMPONENT = "dubbo-mesh";
const DEPLOYMENT = "kubernetes:apps/v1:Deployment";
const BUDGET = "kubernetes:policy/v1:PodDisruptionBudget";
const AUTOSCALER = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler";
const SERVICE = "kubernetes:core/v1:Service";
const RBAC = "kubernetes:rbac.authorization.k8s.io/v1";
const ISTIO = "kubernetes:networking.istio.io";

describe("the namespace", async () => {
  const declared = await register(() => new MeshNamespace("mesh", namespaceArgs));

  it("creates a Namespace with the account, its rights and the access logs", () => {
    expect(shape(declared)).toEqual([
      `${COMPONENT}:namespace:MeshNamespace mesh <  after []`,
      "kubernetes:core/v1:Namespace mesh-namespace < mesh after []",
      "kubernetes:core/v1:ServiceAccount mesh-account < mesh after [mesh-namespace]",
      "kubernetes:telemetry.istio.io/v1:Telemetry mesh-access-logs < mesh after [mesh-namespace]",
      `${RBAC}:Role mesh-role < mesh after [mesh-namespace]`,
      `${RBAC}:RoleBinding mesh-role-binding < mesh after [mesh-account, mesh-namespace, mesh-role]`,
    ]);
    expect(declared.outputs).toEqual({ mesh: { namespace: "demo", serviceAccounts: ["sa"] } });
  });

  it("returns its name and the shared account for every application", async () => {
    const { namespace } = declared.result;
    const accounts = ["a", "b"].map((application) => declared.result.accountOf(application));
    expect(await Promise.all([namespace, ...accounts].map(valueOf))).toEqual(["demo", "sa", "sa"]);
  });

  it("creates an account for each listed application, and one role for all", async () => {
    const own = await register(() => new MeshNamespace("mesh", { ...namespaceArgs, identities: ["a", "b"] }));
    expect(shape(own).filter((line) => /ServiceAccount|Role/.test(line))).toEqual([
      "kubernetes:core/v1:ServiceAccount mesh-a-account < mesh after [mesh-namespace]",
      "kubernetes:core/v1:ServiceAccount mesh-b-account < mesh after [mesh-namespace]",
      `${RBAC}:Role mesh-role < mesh after [mesh-namespace]`,
      `${RBAC}:RoleBinding mesh-role-binding < mesh after [mesh-a-account, mesh-b-account, mesh-namespace, mesh-role]`,
    ]);
    expect(find(own, "mesh-a-account")).toMatchObject({ metadata: { name: "a", namespace: "demo" } });
    expect(find(own, "mesh-role-binding")).toMatchObject({
      metadata: { name: "sa" },
      subjects: ["a", "b"].map((name) => ({ kind: "ServiceAccount", name, namespace: "demo" })),
    });
    expect(await valueOf(own.result.accountOf("b"))).toBe("b");
    expect(() => own.result.accountOf("c")).toThrow("identities: c is not in the list");
  });

  it("enforces a Pod Security level if configured", async () => {
    const args = { ...namespaceArgs, podSecurity: "restricted" };
    expect(find(await register(() => new MeshNamespace("mesh", args)), "mesh-namespace")).toMatchObject({
      metadata: {
        labels: { "istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted" },
      },
    });
    expect(find(declared, "mesh-namespace")["metadata"]).toEqual({
      name: "demo",
      labels: { "istio-injection": "enabled" },
    });
  });

  it("grants the account only what Dubbo's registry reads", () => {
    const metadata = { name: "sa", namespace: "demo" };
    const verbs = ["get", "list", "watch"];
    expect(find(declared, "mesh-account")).toMatchObject({ metadata });
    expect(find(declared, "mesh-role")).toMatchObject({
      metadata,
      rules: [
        { apiGroups: [""], resources: ["services", "endpoints", "pods"], verbs },
        { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs },
      ],
    });
    expect(find(declared, "mesh-role-binding")).toMatchObject({
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "sa" },
      subjects: [{ kind: "ServiceAccount", name: "sa", namespace: "demo" }],
    });
  });

  it("turns access logs on and off", async () => {
    const metadata = { name: "access-logs", namespace: "demo" };
    const spec = { accessLogging: [{ providers: [{ name: "envoy" }] }] };
    expect(find(declared, "mesh-access-logs")).toMatchObject({ metadata, spec });
    const silent = await register(() => new MeshNamespace("mesh", { ...namespaceArgs, accessLogs: false }));
    expect(find(silent, "mesh-access-logs")).toMatchObject({
      metadata,
      spec: { accessLogging: [{ disabled: true }] },
    });
  });

  it.each([
    [true, undefined, { "istio-injection": "enabled" }],
    [true, "1-31", { "istio.io/rev": "1-31" }],
    [false, undefined, { "istio-injection": "disabled" }],
    [false, "1-31", { "istio-injection": "disabled" }],
  ])("sets one injection label: %j, revision %j", (injection, revision, labels) => {
    expect(injectionLabels(injection, revision)).toEqual(labels);
  });
});

describe("the image", () => {
  const args = {
    reference: "r.test/p:1",
    context: "apps/dist/p",
    dockerfile: "apps/Dockerfile",
    baseImage: "b:1",
    platform: "linux/arm64",
  };

  it.each(["none", "default"])(
    "is built from its context and handed on by digest: network %s",
    async (network) => {
      const declared = await register(
        () => new ApplicationImage("provider", { ...args, network, push: true }),
      );
      expect(shape(declared)).toEqual(["docker:index/image:Image provider <  after []"]);
      const { context, dockerfile, platform } = args;
      expect(find(declared, "provider")).toMatchObject({
        imageName: "r.test/p:1",
        build: {
          context,
          dockerfile,
          platform,
          args: { BASE_IMAGE: "b:1", SOURCE_DATE_EPOCH: "0" },
          network,
        },
      });
      expect(find(declared, "provider")).toHaveProperty("skipPush", false);
      expect(await valueOf(declared.result.reference)).toBe("r.test/built@sha256:9");
    },
  );

  it("is returned by tag if it is not pushed", async () => {
    const unpushed = { ...args, network: "none", push: false };
    const declared = await register(() => new ApplicationImage("provider", unpushed));
    expect(find(declared, "provider")).toMatchObject({
      imageName: "r.test/p:1",
      skipPush: true,
      // Makes another image than a pushed one. A node may have that one with credentials.
      build: { args: { SOURCE_DATE_EPOCH: "1" } },
    });
    expect(await valueOf(declared.result.reference)).toBe("r.test/p:1");
  });
});

/** Parts of a Deployment that depend on the runtime. */
interface ExpectedRuntime {
  readonly container: object;
  readonly pod?: object;
  readonly annotations?: object;
}

const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  seccompProfile: { type: "RuntimeDefault" },
};

/** All pods are new. Used only with pods: the status does not count zero pods. */
const COUNTS = "&&$.status.replicas==$.spec.replicas&&$.status.updatedReplicas==$.spec.replicas";

/** Returns the complete Deployment of an application. */
function expectedDeployment(
  { application, port }: { application: string; port: number },
  workload: { name: string; version: string; image: string; replicas: number; grace: number },
  { container, pod, annotations: own }: ExpectedRuntime,
  annotations: object,
): object {
  const { name, version, image, replicas, grace } = workload;
  const labels = { app: application, version };
  const httpGet = (path: string): object => ({ path, port: "http-health" });
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: {
      name,
      namespace: "demo",
      labels,
      annotations: {
        "pulumi.com/waitFor": `jsonpath={.status.conditions[?@.type=="Available"&&@.status=="True"${replicas === 0 ? "" : COUNTS}]}`,
      },
    },
    spec: {
      replicas,
      strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      selector: { matchLabels: labels },
      template: {
        metadata: { labels, annotations: { ...annotations, ...own } },
        spec: {
          serviceAccountName: "sa",
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: grace,
          securityContext: { seccompProfile: { type: "RuntimeDefault" } },
          topologySpreadConstraints: ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map(
            (topologyKey) => ({
              maxSkew: 1,
              topologyKey,
              whenUnsatisfiable: "ScheduleAnyway",
              labelSelector: { matchLabels: labels },
              matchLabelKeys: ["pod-template-hash"],
            }),
          ),
          containers: [
            {
              name: "app",
              image,
              imagePullPolicy: "IfNotPresent",
              ports: [
                { name: "grpc-tri", containerPort: port },
                { name: "http-health", containerPort: 22222 },
              ],
              resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
              ...container,
              startupProbe: { httpGet: httpGet("/startup"), periodSeconds: 1, failureThreshold: 300 },
              livenessProbe: { httpGet: httpGet("/live"), periodSeconds: 5 },
              readinessProbe: { httpGet: httpGet("/ready"), periodSeconds: 5 },
            },
          ],
          ...pod,
        },
      },
    },
  };
}

/** Returns the proxy configuration of a pod, with `own` fields. */
function proxyConfig(drain: string, own = ""): string {
  const lines = ['  EXIT_ON_ZERO_ACTIVE_CONNECTIONS: "true"', `  MINIMUM_DRAIN_DURATION: ${drain}`];
  return [`${own}holdApplicationUntilProxyStarts: true`, "proxyMetadata:", ...lines, ""]
    .join("\n")
    .replaceAll('"', "'");
}

/** Returns the annotations of a provider's pods with this drain. */
function providerAnnotations(drain: string): object {
  return { "proxy.istio.io/config": proxyConfig(drain), "sidecar.istio.io/proxyCPU": "30m" };
}

const COUNTED =
  "cluster\\.outbound.*(health_check|membership|ssl|outlier_detection|upstream_cx_total|upstream_rq_).*";

/** Returns the annotations of a caller's pods with this drain. */
function callerAnnotations(drain: string): object {
  return {
    "proxy.istio.io/config": proxyConfig(
      drain,
      `proxyStatsMatcher:\n  inclusionRegexps:\n    - ${COUNTED}\n`,
    ),
  };
}

/** Variables that locate a caller's services. */
const MESH_VARIABLES = [
  { name: "CLUSTER_DOMAIN", value: "cluster.test" },
  { name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
];

function nodeParts(application: string, version: string, port: number, env: object[]): ExpectedRuntime {
  const own = [
    { name: "DUBBO_APPLICATION_QOS_ANONYMOUS_ALLOW_COMMANDS", value: "metrics" },
    { name: "DUBBO_APPLICATION_NAME", value: application },
    { name: "DUBBO_APPLICATION_VERSION", value: version },
    { name: "DUBBO_APPLICATION_QOS_PORT", value: "22222" },
    { name: "DUBBO_PROTOCOL_PORT", value: String(port) },
    { name: "DUBBO_APPLICATION_QOS_ACCEPT_FOREIGN_IP", value: "true" },
  ];
  return {
    container: {
      env: [...own, ...env],
      securityContext: RESTRICTED,
    },
    annotations: {
      "prometheus.io/scrape": "true",
      "prometheus.io/port": "22222",
      "prometheus.io/path": "/metrics",
    },
  };
}

function javaParts(options: readonly string[], env: object[] = [], lifecycle?: object): ExpectedRuntime {
  const all = [
    "-XX:MaxRAMPercentage=50",
    "-Duser.home=/tmp",
    ...options.map((option) => `-Ddubbo.${option}`),
  ];
  return {
    container: {
      env: [{ name: "JAVA_TOOL_OPTIONS", value: all.join(" ") }, ...env],
      securityContext: { ...RESTRICTED, runAsUser: 1000, runAsGroup: 1000 },
      ...(lifecycle && { lifecycle }),
      volumeMounts: [{ name: "tmp", mountPath: "/tmp" }],
    },
    pod: { volumes: [{ name: "tmp", emptyDir: {} }] },
  };
}

function expectedService(application: string, port: number): object {
  const ports = [{ name: "grpc-tri", port, targetPort: "grpc-tri", protocol: "TCP", appProtocol: "grpc" }];
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: application,
      namespace: "demo",
      labels: { app: application },
      annotations: { "pulumi.com/skipAwait": "true" },
    },
    spec: { type: "ClusterIP", selector: { app: application }, ports },
  };
}

describe("the provider", async () => {
  const declared = await register(() => new DubboService("provider", providerArgs));

  it("creates a Service and one Deployment per version", () => {
    expect(shape(declared)).toEqual([
      `${COMPONENT}:service:DubboService provider <  after []`,
      `${SERVICE} provider-service < provider after []`,
      `${BUDGET} provider-v1-budget < provider after []`,
      `${DEPLOYMENT} provider-v1 < provider after []`,
      `${DEPLOYMENT} provider-v2 < provider after []`,
    ]);
    expect(declared.outputs).toEqual({
      provider: {
        host: "mesh-provider.demo.svc.cluster.test",
        address: "mesh-provider.demo.svc.cluster.test:50052",
      },
    });
    expect(find(declared, "provider-service")).toEqual(expectedService("mesh-provider", 50052));
  });

  it.each([
    { version: "v1", replicas: 2, image: "r/p@sha256:1" },
    { version: "v2", replicas: 0, image: "r/p@sha256:2" },
  ])("gives a version its label, image and pods: %j", ({ version, replicas, image }) => {
    const which = { name: `mesh-provider-${version}`, version, image, replicas, grace: 18 };
    const env = [
      { name: "DUBBO_SERVICE_SHUTDOWN_WAIT", value: "9500" },
      { name: "DUBBO_SERVICE_SHUTDOWN_TIMEOUT", value: "2500" },
      { name: "DUBBO_APPLICATION_LOG_FORMAT", value: "json" },
    ];
    expect(find(declared, `provider-${version}`)).toEqual(
      expectedDeployment(
        providerArgs,
        which,
        nodeParts("mesh-provider", version, 50052, env),
        providerAnnotations("10s"),
      ),
    );
  });

  const javaOptions = [
    "application.name=mesh-provider",
    "application.version=v1",
    "application.qos-port=22222",
    "protocol.port=50052",
    "application.qos-enable=true",
    "application.qos-accept-foreign-ip=true",
    "tri.builtin.service.init=true",
    "service.shutdown.wait=2500",
    "application.log-format=json",
  ];
  const javaWhich = { name: "mesh-provider-v1", version: "v1", image: "r/p@sha256:1", replicas: 2 };

  it("on Java gets system properties, sleeps before it stops, and may write to /tmp", async () => {
    const java = await register(() => new DubboService("provider", { ...providerArgs, runtime: "java" }));
    const parts = javaParts(javaOptions, [], { preStop: { sleep: { seconds: 10 } } });
    const expected = expectedDeployment(
      providerArgs,
      { ...javaWhich, grace: 18 },
      parts,
      providerAnnotations("10s"),
    );
    expect(find(java, "provider-v1")).toEqual(expected);
    expect(validateObject(find(java, "provider-v1"))).toEqual([]);
  });

  it("on Java does not sleep without a drain", async () => {
    const args = { ...providerArgs, runtime: "java" as const, drainSeconds: 0 };
    const java = await register(() => new DubboService("provider", args));
    expect(find(java, "provider-v1")).toEqual(
      expectedDeployment(
        providerArgs,
        { ...javaWhich, grace: 8 },
        javaParts(javaOptions),
        providerAnnotations("5s"),
      ),
    );
  });

  it("allows the eviction of one pod at a time, if there are several", () => {
    expect(find(declared, "provider-v1-budget")).toEqual({
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: { name: "mesh-provider-v1", namespace: "demo" },
      spec: {
        maxUnavailable: 1,
        unhealthyPodEvictionPolicy: "AlwaysAllow",
        selector: { matchLabels: { app: "mesh-provider", version: "v1" } },
      },
    });
    expect(validateObject(find(declared, "provider-v1-budget"))).toEqual([]);
  });

  it("leaves the number of pods to an autoscaler", async () => {
    const versions = [
      { name: "v1", image: "r/p:1", autoscale: { min: 2, max: 5, cpu: 80 } },
      { name: "v2", image: "r/p:2", autoscale: { min: 1, max: 2, cpu: 50 } },
    ];
    const scaled = await register(() => new DubboService("provider", { ...providerArgs, versions }));
    expect(shape(scaled).slice(2).sort()).toEqual(
      [
        `${DEPLOYMENT} provider-v1 < provider after []`,
        `${DEPLOYMENT} provider-v2 < provider after []`,
        `${AUTOSCALER} provider-v1-autoscaler < provider after []`,
        `${AUTOSCALER} provider-v2-autoscaler < provider after []`,
        `${BUDGET} provider-v1-budget < provider after []`,
      ].sort(),
    );
    expect(["v1", "v2"].map((version) => find(scaled, `provider-${version}`)["spec"])).toMatchObject([
      { replicas: 2 },
      { replicas: 1 },
    ]);
    expect(scaled.ignored).toEqual({
      "provider-v1": ["spec.replicas"],
      "provider-v2": ["spec.replicas"],
    });
    expect(find(scaled, "provider-v1-autoscaler")).toEqual({
      apiVersion: "autoscaling/v2",
      kind: "HorizontalPodAutoscaler",
      metadata: { name: "mesh-provider-v1", namespace: "demo" },
      spec: {
        scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "mesh-provider-v1" },
        minReplicas: 2,
        maxReplicas: 5,
        metrics: [
          {
            type: "ContainerResource",
            containerResource: {
              name: "cpu",
              container: "app",
              target: { type: "Utilization", averageUtilization: 80 },
            },
          },
        ],
      },
    });
    expect(validateObject(find(scaled, "provider-v1-autoscaler"))).toEqual([]);
  });

  it("returns its address", async () => {
    const { host, address } = declared.result;
    expect(await valueOf(host)).toBe("mesh-provider.demo.svc.cluster.test");
    expect(await valueOf(address)).toBe("mesh-provider.demo.svc.cluster.test:50052");
  });

  it("depends on its namespace and account", async () => {
    const both = await register(() => {
      const mesh = new MeshNamespace("mesh", namespaceArgs);
      const { namespace } = mesh;
      return new DubboService("provider", {
        ...providerArgs,
        namespace,
        serviceAccount: mesh.accountOf("a"),
      });
    });
    expect(shape(both)).toContain(
      `${DEPLOYMENT} provider-v1 < provider after [mesh-account, mesh-namespace]`,
    );
    expect(shape(both)).toContain(`${SERVICE} provider-service < provider after [mesh-namespace]`);
  });
});

describe("the consumer", async () => {
  const declared = await register(() => new DubboService("consumer", consumerArgs));

  it("creates a Service and a Deployment", () => {
    expect(shape(declared)).toEqual([
      `${COMPONENT}:service:DubboService consumer <  after []`,
      `${SERVICE} consumer-service < consumer after []`,
      `${DEPLOYMENT} consumer-v1 < consumer after []`,
    ]);
    expect(declared.outputs).toEqual({
      consumer: {
        host: "mesh-consumer.demo.svc.cluster.test",
        address: "mesh-consumer.demo.svc.cluster.test:20880",
      },
    });
    expect(find(declared, "consumer-service")).toEqual(expectedService("mesh-consumer", 20880));
  });

  const which = { name: "mesh-consumer", version: "v1", image: "r/c@sha256:1", replicas: 1, grace: 36 };
  const annotations = callerAnnotations("5s");

  it("calls the provider by name and port, and enables the statistics that the check needs", () => {
    const env = [
      { name: "DUBBO_SERVICE_SHUTDOWN_WAIT", value: "0" },
      { name: "DUBBO_SERVICE_SHUTDOWN_TIMEOUT", value: "30500" },
      { name: "DUBBO_CONSUMER_INTERVAL", value: "1000" },
      { name: "DUBBO_CONSUMER_TIMEOUT", value: "30500" },
      { name: "DUBBO_REFERENCE_PROVIDED_BY", value: "mesh-provider" },
      { name: "DUBBO_REFERENCE_PROVIDER_PORT", value: "50052" },
      ...MESH_VARIABLES,
    ];
    expect(find(declared, "consumer-v1")).toEqual(
      expectedDeployment(consumerArgs, which, nodeParts("mesh-consumer", "v1", 20880, env), annotations),
    );
  });

  it("on Java names the called interface, and leaves retries to the mesh", async () => {
    const options = [
      "application.name=mesh-consumer",
      "application.version=v1",
      "application.qos-port=22222",
      "protocol.port=20880",
      "application.qos-enable=true",
      "application.qos-accept-foreign-ip=true",
      "tri.builtin.service.init=true",
      "service.shutdown.wait=30500",
      "consumer.timeout=30500",
      "consumer.retries=0",
      "consumer.mesh-enable=true",
      "reference.org.apache.dubbo.samples.Greeter.provided-by=mesh-provider",
      "reference.org.apache.dubbo.samples.Greeter.provider-port=50052",
    ];
    const java = await register(() => new DubboService("consumer", { ...consumerArgs, runtime: "java" }));
    expect(find(java, "consumer-v1")).toEqual(
      expectedDeployment(consumerArgs, which, javaParts(options, MESH_VARIABLES), annotations),
    );
    expect(validateObject(find(java, "consumer-v1"))).toEqual([]);
  });

  it("returns the address of its health service", async () => {
    expect(await valueOf(declared.result.address)).toBe("mesh-consumer.demo.svc.cluster.test:20880");
  });
});

describe("a service that is called and calls", async () => {
  const declared = await register(() => new DubboService("relay", relayArgs));
  const which = { name: "mesh-relay-v1", version: "v1", image: "r/c@sha256:1", replicas: 1, grace: 46 };

  it("creates a Service and a Deployment named after its version", () => {
    expect(shape(declared)).toEqual([
      `${COMPONENT}:service:DubboService relay <  after []`,
      `${SERVICE} relay-service < relay after []`,
      `${DEPLOYMENT} relay-v1 < relay after []`,
    ]);
    expect(declared.outputs).toEqual({
      relay: {
        host: "mesh-relay.demo.svc.cluster.test",
        address: "mesh-relay.demo.svc.cluster.test:50053",
      },
    });
    expect(find(declared, "relay-service")).toEqual(expectedService("mesh-relay", 50053));
  });

  const env = [
    { name: "DUBBO_SERVICE_SHUTDOWN_WAIT", value: "9500" },
    { name: "DUBBO_SERVICE_SHUTDOWN_TIMEOUT", value: "30500" },
    { name: "DUBBO_CONSUMER_TIMEOUT", value: "30500" },
  ];

  it("drains for its callers, and locates several providers by their gRPC services", () => {
    const references = [
      { name: "DUBBO_REFERENCE_A_B_PROVIDED_BY", value: "mesh-provider" },
      { name: "DUBBO_REFERENCE_A_B_PROVIDER_PORT", value: "50052" },
      { name: "DUBBO_REFERENCE_A_C_PROVIDED_BY", value: "mesh-provider" },
      { name: "DUBBO_REFERENCE_A_C_PROVIDER_PORT", value: "50052" },
      { name: "DUBBO_REFERENCE_D_E_PROVIDED_BY", value: "mesh-other" },
      { name: "DUBBO_REFERENCE_D_E_PROVIDER_PORT", value: "50054" },
    ];
    const parts = nodeParts("mesh-relay", "v1", 50053, [...env, ...references, ...MESH_VARIABLES]);
    expect(find(declared, "relay-v1")).toEqual(
      expectedDeployment(relayArgs, which, parts, callerAnnotations("10s")),
    );
    expect(validateObject(find(declared, "relay-v1"))).toEqual([]);
  });

  it("has no call interval if it only calls when it is called", async () => {
    const calls = { ...consumerArgs.calls, intervalMs: undefined };
    const one = await register(() => new DubboService("relay", { ...relayArgs, calls }));
    const references = [
      { name: "DUBBO_REFERENCE_PROVIDED_BY", value: "mesh-provider" },
      { name: "DUBBO_REFERENCE_PROVIDER_PORT", value: "50052" },
    ];
    const parts = nodeParts("mesh-relay", "v1", 50053, [...env, ...references, ...MESH_VARIABLES]);
    expect(find(one, "relay-v1")).toEqual(
      expectedDeployment(relayArgs, which, parts, callerAnnotations("10s")),
    );
  });

  it("on Java sleeps for its callers, and locates its providers by the same names", async () => {
    const java = await register(() => new DubboService("relay", { ...relayArgs, runtime: "java" }));
    const options = [
      "application.name=mesh-relay",
      "application.version=v1",
      "application.qos-port=22222",
      "protocol.port=50053",
      "application.qos-enable=true",
      "application.qos-accept-foreign-ip=true",
      "tri.builtin.service.init=true",
      "service.shutdown.wait=30500",
      "consumer.timeout=30500",
      "consumer.retries=0",
      "consumer.mesh-enable=true",
      "reference.a.B.provided-by=mesh-provider",
      "reference.a.B.provider-port=50052",
      "reference.a.C.provided-by=mesh-provider",
      "reference.a.C.provider-port=50052",
      "reference.d.E.provided-by=mesh-other",
      "reference.d.E.provider-port=50054",
    ];
    const parts = javaParts(options, MESH_VARIABLES, { preStop: { sleep: { seconds: 10 } } });
    expect(find(java, "relay-v1")).toEqual(
      expectedDeployment(relayArgs, which, parts, callerAnnotations("10s")),
    );
    expect(validateObject(find(java, "relay-v1"))).toEqual([]);
  });
});

describe("the traffic rules", async () => {
  const args = { name: "mesh-provider", namespace: "demo", rules: trafficRules };
  const declared = await register(() => {
    const subset = { provider: "mesh-provider", host: trafficRules.host, namespace: "demo" };
    for (const version of ["v1", "v2"]) new ProviderSubset(`subset-${version}`, { ...subset, version });
    new ProviderTraffic("traffic", args);
    return new ProviderRoutes("routes", args);
  });
  const metadata = { name: "mesh-provider", namespace: "demo" };
  const { host } = trafficRules;
  const route = [
    { destination: { host, subset: "v1" }, weight: 80 },
    { destination: { host, subset: "v2" }, weight: 20 },
  ];

  it("are one object each", () => {
    expect(shape(declared)).toEqual([
      `${ISTIO}/v1:DestinationRule subset-v1 <  after []`,
      `${ISTIO}/v1:DestinationRule subset-v2 <  after []`,
      `${ISTIO}/v1:DestinationRule traffic <  after []`,
      `${ISTIO}/v1:VirtualService routes <  after []`,
    ]);
  });

  it("declare one DestinationRule per version", () => {
    for (const name of ["v1", "v2"]) {
      const subset = find(declared, `subset-${name}`);
      expect(subset).toEqual({
        apiVersion: "networking.istio.io/v1",
        kind: "DestinationRule",
        metadata: { name: `mesh-provider.${name}`, namespace: "demo" },
        spec: { host, subsets: [{ name, labels: { version: name } }] },
      });
      expect(validateObject(subset)).toEqual([]);
    }
  });

  it("set load balancing, limits and outlier detection for all subsets", () => {
    expect(find(declared, "traffic")).toEqual({
      apiVersion: "networking.istio.io/v1",
      kind: "DestinationRule",
      metadata,
      spec: {
        host,
        trafficPolicy: {
          loadBalancer: { simple: "ROUND_ROBIN", localityLbSetting: { enabled: false } },
          connectionPool: {
            tcp: { connectTimeout: "2s" },
            http: { http2MaxRequests: 1024, maxRetries: 1024 },
          },
          outlierDetection: {
            consecutiveGatewayErrors: 5,
            consecutive5xxErrors: 0,
            interval: "10s",
            baseEjectionTime: "30s",
            maxEjectionPercent: 50,
            minHealthPercent: 50,
          },
        },
      },
    });
  });

  it("retry idempotent methods on any failure, others only if the call was not seen", () => {
    expect(find(declared, "routes")).toEqual({
      apiVersion: "networking.istio.io/v1",
      kind: "VirtualService",
      metadata,
      spec: {
        hosts: [host],
        http: [
          {
            name: "idempotent",
            match: [{ uri: { exact: "/a.B/c" } }, { uri: { exact: "/a.B/C" } }],
            route,
            retries: {
              attempts: 2,
              retryOn: "connect-failure,refused-stream,unavailable,cancelled,deadline-exceeded,reset",
              perTryTimeout: "5s",
            },
          },
          {
            name: "default",
            route,
            retries: { attempts: 2, retryOn: "connect-failure,refused-stream,reset-before-request" },
          },
        ],
      },
    });
  });

  it("have one route without idempotent methods, and no retry conditions without retries", () => {
    expect(virtualServiceSpec({ ...trafficRules, attempts: 0, methods: {} })).toEqual({
      hosts: [host],
      http: [{ name: "default", route, retries: { attempts: 0 } }],
    });
  });
});

describe("traffic rules of other settings", () => {
  const { host } = trafficRules;
  const weighted = [
    { destination: { host, subset: "v1" }, weight: 80 },
    { destination: { host, subset: "v2" }, weight: 20 },
  ];
  const idempotent = {
    attempts: 2,
    retryOn: "connect-failure,refused-stream,unavailable,cancelled,deadline-exceeded,reset",
    perTryTimeout: "5s",
  };
  const others = { attempts: 2, retryOn: "connect-failure,refused-stream,reset-before-request" };

  it("limit only methods with a timeout", () => {
    const methods = {
      "/a.B/c": { kind: "unary", idempotent: true, timeout: "9s" },
      "/a.B/f": { kind: "unary", idempotent: true },
      "/a.B/d": { kind: "unary", idempotent: false, timeout: "2s" },
      "/a.B/e": { kind: "unary", idempotent: false, timeout: "2s" },
    } as const;
    expect(virtualServiceSpec({ ...trafficRules, methods })).toEqual({
      hosts: [host],
      http: [
        {
          name: "idempotent-9s",
          match: [{ uri: { exact: "/a.B/c" } }, { uri: { exact: "/a.B/C" } }],
          route: weighted,
          retries: idempotent,
          timeout: "9s",
        },
        {
          name: "idempotent",
          match: [{ uri: { exact: "/a.B/f" } }, { uri: { exact: "/a.B/F" } }],
          route: weighted,
          retries: idempotent,
        },
        {
          name: "default-2s",
          match: ["/a.B/d", "/a.B/D", "/a.B/e", "/a.B/E"].map((exact) => ({ uri: { exact } })),
          route: weighted,
          retries: others,
          timeout: "2s",
        },
        { name: "default", route: weighted, retries: others },
      ],
    });
  });

  it("match both cases of a first letter, unless the other one is another method", () => {
    const repeatable = { kind: "unary", idempotent: true } as const;
    const pathsOf = (methods: TrafficRules["methods"]): unknown =>
      virtualServiceSpec({ ...trafficRules, methods }).http?.map(({ match }) =>
        match?.map(({ uri }) => uri?.exact),
      );
    expect(pathsOf({ "/a.B/Get": repeatable })).toEqual([["/a.B/Get", "/a.B/get"], undefined]);
    const both = { "/a.B/get": repeatable, "/a.B/Get": { kind: "unary", idempotent: false } } as const;
    expect(pathsOf(both)).toEqual([["/a.B/get"], undefined]);
  });

  it("leave methods without retries and timeouts on the default route", () => {
    const methods = {
      "/a.B/stream": { kind: "streaming", idempotent: false },
      ...trafficRules.methods,
      "/a.B/write": { kind: "unary", idempotent: false },
    } as const;
    expect(virtualServiceSpec({ ...trafficRules, methods })).toEqual(virtualServiceSpec(trafficRules));
    expect(
      virtualServiceSpec({ ...trafficRules, methods: { "/a.B/stream": methods["/a.B/stream"] } }),
    ).toEqual({
      hosts: [host],
      http: [{ name: "default", route: weighted, retries: others }],
    });
  });

  it("route calls with certain headers to a version, with the same retries", () => {
    const routes = [{ headers: { "x-canary": "yes", "tri-consumer-appname": "web" }, version: "v2" }];
    const { http = [] } = virtualServiceSpec({ ...trafficRules, routes });
    const headers = { "x-canary": { exact: "yes" }, "tri-consumer-appname": { exact: "web" } };
    const route = [{ destination: { host, subset: "v2" } }];
    expect(http).toHaveLength(4);
    expect(http.slice(0, 2)).toEqual([
      {
        name: "routes-0-idempotent",
        match: ["/a.B/c", "/a.B/C"].map((exact) => ({ uri: { exact }, headers })),
        route,
        retries: idempotent,
      },
      { name: "routes-0-default", match: [{ headers }], route, retries: others },
    ]);
    expect(http.slice(2)).toEqual(virtualServiceSpec(trafficRules).http);
  });

  it("set warmup and locality, and allow as many retries as calls", () => {
    const traffic = trafficOf({
      loadBalancer: "LEAST_REQUEST",
      warmup: "30s",
      locality: true,
      connectionPool: { maxRequests: 10 },
      outlierDetection: { consecutive5xxErrors: 3 },
    });
    expect(destinationRuleSpec({ ...trafficRules, ...traffic })).toMatchObject({
      trafficPolicy: {
        loadBalancer: {
          simple: "LEAST_REQUEST",
          warmup: { duration: "30s" },
          localityLbSetting: { enabled: true },
        },
        connectionPool: { tcp: { connectTimeout: "2s" }, http: { http2MaxRequests: 10, maxRetries: 10 } },
        outlierDetection: { consecutiveGatewayErrors: 5, consecutive5xxErrors: 3 },
      },
    });
  });
});

describe("the Telemetry", () => {
  it.each([
    [true, undefined, { accessLogging: [{ providers: [{ name: "envoy" }] }] }],
    [false, undefined, { accessLogging: [{ disabled: true }] }],
    [
      true,
      { sampling: 5 },
      { accessLogging: [{ providers: [{ name: "envoy" }] }], tracing: [{ randomSamplingPercentage: 5 }] },
    ],
    [
      false,
      { sampling: 0, provider: "otel" },
      {
        accessLogging: [{ disabled: true }],
        tracing: [{ providers: [{ name: "otel" }], randomSamplingPercentage: 0 }],
      },
    ],
  ])("with access logs %j and tracing %j", (logs, tracing, spec) => {
    expect(telemetrySpec(logs, tracing)).toEqual(spec);
  });
});

describe("the health check", () => {
  const rules = { caller: "mesh-consumer", providers: [checkedProvider], operation: "MERGE" as const };
  const args = { name: "cluster", namespace: "demo", ...rules };

  it("is one EnvoyFilter", async () => {
    const warn = vi.spyOn(pulumi.log, "warn");
    const declared = await register(() => new ActiveHealthCheck("check", args));
    expect(shape(declared)).toEqual([`${ISTIO}/v1alpha3:EnvoyFilter check <  after []`]);
    expect(find(declared, "check")).toEqual({
      apiVersion: "networking.istio.io/v1alpha3",
      kind: "EnvoyFilter",
      metadata: { name: "cluster", namespace: "demo" },
      spec: envoyFilterSpec(rules),
    });
    expect(warn).not.toHaveBeenCalled();
  });

  it("is one EnvoyFilter for a caller of several providers", async () => {
    const other = {
      ...checkedProvider,
      host: "mesh-other.demo.svc.cluster.test",
      port: 50054,
      subsets: ["v1"],
    };
    const providers = [checkedProvider, other];
    const declared = await register(() => new ActiveHealthCheck("check", { ...args, providers }));
    expect(declared.resources).toHaveLength(1);
    const filter = find(declared, "check");
    expect(filter["spec"]).toEqual(envoyFilterSpec({ ...rules, providers }));
    expect((filter as { spec: { configPatches: object[] } }).spec.configPatches).toHaveLength(3);
    expect(validateObject(filter)).toEqual([]);
  });

  it("warns once of plaintext criteria, and keeps them", async () => {
    const warn = vi.spyOn(pulumi.log, "warn").mockResolvedValue();
    const healthCheck = healthCheckSettings.parse({ transport_socket_match_criteria: { useMTLS: true } });
    const declared = await register(
      () => new ActiveHealthCheck("check", { ...args, providers: [{ ...checkedProvider, healthCheck }] }),
    );
    expect(warn.mock.calls).toEqual([
      [
        "healthCheck.transport_socket_match_criteria: without tlsMode: istio, the check is sent in plaintext " +
          "and fails under STRICT mTLS; leave it out to check over mTLS",
        declared.result,
      ],
    ]);
    expect(JSON.stringify(find(declared, "check"))).toContain(
      '"transport_socket_match_criteria":{"useMTLS":true}',
    );
  });
});

describe("the scope of sidecars", () => {
  it("covers an application's callees and Istio's namespace", async () => {
    const args = { application: "mesh-consumer", namespace: "demo", calls: ["a.demo.svc.cluster.test"] };
    const declared = await register(() => new SidecarScope("scope", args));
    expect(shape(declared)).toEqual([`${ISTIO}/v1:Sidecar scope <  after []`]);
    expect(find(declared, "scope")).toEqual({
      apiVersion: "networking.istio.io/v1",
      kind: "Sidecar",
      metadata: { name: "mesh-consumer", namespace: "demo" },
      spec: {
        workloadSelector: { labels: { app: "mesh-consumer" } },
        egress: [{ hosts: ["./a.demo.svc.cluster.test", "istio-system/*"] }],
      },
    });
    expect(validateObject(find(declared, "scope"))).toEqual([]);
  });
});

describe("security", () => {
  const allowed = {
    callee: "mesh-provider",
    port: 50052,
    namespace: "demo",
    services: ["a.B", "c.D"],
    healthCheck: healthCheckSettings.parse({}),
  };
  const calledBy = (...callers: string[]) => ({ callers });
  const SECURITY = "kubernetes:security.istio.io/v1";
  const grpc = {
    operation: {
      ports: ["50052"],
      methods: ["POST"],
      paths: ["/a.B/*", "/c.D/*", "/grpc.health.v1.Health/Check"],
    },
  };

  it("is mTLS, a policy for the consumer's identity, and a default denial", async () => {
    const args = {
      namespace: "demo",
      mtls: "STRICT" as const,
      allowed: new Map([["provider", { ...allowed, ...calledBy("mesh-consumer") }]]),
      defaultDeny: true,
    };
    const declared = await register(() => new MeshSecurity("security", args));
    expect(shape(declared)).toEqual([
      `${COMPONENT}:security:MeshSecurity security <  after []`,
      `${SECURITY}:PeerAuthentication security-mtls < security after []`,
      `${SECURITY}:AuthorizationPolicy security-provider.mesh-consumer-calls < security after []`,
      `${SECURITY}:AuthorizationPolicy security-default-deny < security after [security-provider.mesh-consumer-calls]`,
    ]);
    expect(find(declared, "security-mtls")).toEqual({
      apiVersion: "security.istio.io/v1",
      kind: "PeerAuthentication",
      metadata: { name: "default", namespace: "demo" },
      spec: { mtls: { mode: "STRICT" } },
    });
    const policy = { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy" };
    expect(find(declared, "security-provider.mesh-consumer-calls")).toEqual({
      ...policy,
      metadata: { name: "mesh-provider.mesh-consumer", namespace: "demo" },
      spec: {
        selector: { matchLabels: { app: "mesh-provider" } },
        action: "ALLOW",
        rules: [
          {
            from: [{ source: { principals: ["cluster.local/ns/demo/sa/mesh-consumer"] } }],
            to: [grpc],
          },
        ],
      },
    });
    expect(find(declared, "security-default-deny")).toEqual({
      ...policy,
      metadata: { name: "default-deny", namespace: "demo" },
      spec: {},
    });
    for (const { inputs } of declared.resources.slice(1)) expect(validateObject(inputs)).toEqual([]);
  });

  it("is only mTLS without authorization", async () => {
    const args = { namespace: "demo", mtls: "PERMISSIVE" as const, allowed: new Map(), defaultDeny: false };
    const declared = await register(() => new MeshSecurity("security", args));
    expect(declared.resources.map(({ name }) => name)).toEqual(["security", "security-mtls"]);
    expect(find(declared, "security-mtls")).toMatchObject({ spec: { mtls: { mode: "PERMISSIVE" } } });
  });

  it("is one policy for each calling identity", async () => {
    const relay = { ...allowed, callee: "mesh-relay", port: 50053, services: ["r.R"] };
    const args = {
      namespace: "demo",
      mtls: "STRICT" as const,
      allowed: new Map([
        ["provider", { ...allowed, ...calledBy("sa", "mesh-relay") }],
        ["relay", { ...relay, ...calledBy("mesh-consumer") }],
      ]),
      defaultDeny: false,
    };
    const declared = await register(() => new MeshSecurity("security", args));
    const policies = declared.resources.filter(({ type }) => type.endsWith("AuthorizationPolicy"));
    const policy = (callee: string, caller: string, port: string, paths: string[]): object => ({
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: `${callee}.${caller}`, namespace: "demo" },
      spec: {
        selector: { matchLabels: { app: callee } },
        action: "ALLOW",
        rules: [
          {
            from: [{ source: { principals: [`cluster.local/ns/demo/sa/${caller}`] } }],
            to: [{ operation: { ports: [port], methods: ["POST"], paths } }],
          },
        ],
      },
    });
    const paths = ["/a.B/*", "/c.D/*", "/grpc.health.v1.Health/Check"];
    expect(Object.fromEntries(policies.map(({ name, inputs }) => [name, inputs]))).toEqual({
      "security-provider.sa-calls": policy("mesh-provider", "sa", "50052", paths),
      "security-provider.mesh-relay-calls": policy("mesh-provider", "mesh-relay", "50052", paths),
      "security-relay.mesh-consumer-calls": policy("mesh-relay", "mesh-consumer", "50053", [
        "/r.R/*",
        "/grpc.health.v1.Health/Check",
      ]),
    });
  });

  it("allows nothing without callers", async () => {
    // A rule without `from` would allow everybody, so there must be no rule.
    const nothing = { selector: { matchLabels: { app: "mesh-provider" } }, action: "ALLOW" };
    expect(authorizationPolicySpec(allowed)).toEqual(nothing);
    const args = {
      namespace: "demo",
      mtls: "STRICT" as const,
      allowed: new Map([["provider", { ...allowed, ...calledBy() }]]),
      defaultDeny: false,
    };
    const policy = find(await register(() => new MeshSecurity("security", args)), "security-provider-calls");
    expect(policy["spec"]).toEqual(nothing);
    expect(validateObject(policy)).toEqual([]);
  });

  it.each([
    [{ path: "/live?a=b" }, "GET", "/live"],
    [{ path: "/live", method: "HEAD" }, "HEAD", "/live"],
  ])("also allows the path of an HTTP check: %j", (check, method, path) => {
    const http_health_check = { ...check, codec_client_type: "HTTP2" };
    const healthCheck = healthCheckSettings.parse({ http_health_check });
    const { rules } = authorizationPolicySpec({ ...allowed, caller: "sa", healthCheck });
    expect(rules?.map(({ to }) => to)).toEqual([
      [grpc, { operation: { ports: ["50052"], methods: [method], paths: [path] } }],
    ]);
  });
});

describe("the network policy", () => {
  const args = {
    namespace: "demo",
    services: new Map([
      ["callee", { application: "mesh-provider", port: 50052, calls: [] }],
      ["caller", { application: "mesh-consumer", port: 20880, calls: ["callee"] }],
    ]),
  };
  const NETWORK = "kubernetes:networking.k8s.io/v1:NetworkPolicy";
  const selected = (app: string): object => ({ podSelector: { matchLabels: { app } } });
  const tcp = (...ports: number[]): object[] => ports.map((port) => ({ protocol: "TCP", port }));
  const metrics = { from: [{ namespaceSelector: {} }], ports: tcp(15020, 15021, 15090) };
  const platform = [
    { ports: [{ protocol: "UDP", port: 53 }, ...tcp(53)] },
    {
      to: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "openshift-dns" } } }],
      ports: [{ protocol: "UDP", port: 5353 }, ...tcp(5353)],
    },
    { to: [{ namespaceSelector: {}, ...selected("istiod") }], ports: tcp(15012) },
  ];
  const policyTypes = ["Ingress", "Egress"];

  it("allows the consumer's calls, metrics, DNS and istiod", async () => {
    const declared = await register(() => new MeshNetworkPolicy("network", { ...args, defaultDeny: false }));
    expect(shape(declared)).toEqual([
      `${COMPONENT}:network-policy:MeshNetworkPolicy network <  after []`,
      `${NETWORK} network-callee < network after []`,
      `${NETWORK} network-caller < network after []`,
    ]);
    expect(find(declared, "network-callee")).toEqual({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "mesh-provider", namespace: "demo" },
      spec: {
        ...selected("mesh-provider"),
        policyTypes,
        ingress: [{ from: [selected("mesh-consumer")], ports: tcp(50052) }, metrics],
        egress: platform,
      },
    });
    expect(find(declared, "network-caller")).toMatchObject({
      metadata: { name: "mesh-consumer", namespace: "demo" },
      spec: {
        ...selected("mesh-consumer"),
        policyTypes,
        ingress: [metrics],
        egress: [{ to: [selected("mesh-provider")], ports: tcp(50052) }, ...platform],
      },
    });
  });

  it("allows only the calls along a chain", async () => {
    const services = new Map([
      ["a", { application: "app-a", port: 50051, calls: ["b"] }],
      ["b", { application: "app-b", port: 50052, calls: ["c"] }],
      ["c", { application: "app-c", port: 50053, calls: [] }],
    ]);
    const declared = await register(
      () => new MeshNetworkPolicy("network", { namespace: "demo", services, defaultDeny: false }),
    );
    expect(shape(declared).slice(1).sort()).toEqual([
      `${NETWORK} network-a < network after []`,
      `${NETWORK} network-b < network after []`,
      `${NETWORK} network-c < network after []`,
    ]);
    const from = (app: string, port: number): object => ({ from: [selected(app)], ports: tcp(port) });
    const to = (app: string, port: number): object => ({ to: [selected(app)], ports: tcp(port) });
    const policy = (app: string, ingress: object[], egress: object[]): object => ({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: app, namespace: "demo" },
      spec: {
        ...selected(app),
        policyTypes,
        ingress: [...ingress, metrics],
        egress: [...egress, ...platform],
      },
    });
    expect(["a", "b", "c"].map((name) => find(declared, `network-${name}`))).toEqual([
      policy("app-a", [], [to("app-b", 50052)]),
      policy("app-b", [from("app-a", 50052)], [to("app-c", 50053)]),
      policy("app-c", [from("app-b", 50053)], []),
    ]);
  });

  it("denies all other traffic if configured", async () => {
    const declared = await register(() => new MeshNetworkPolicy("network", { ...args, defaultDeny: true }));
    expect(declared.resources).toHaveLength(4);
    // Otherwise the pods would be cut off until their own policies exist.
    expect(shape(declared)).toContain(
      `${NETWORK} network-default-deny < network after [network-callee, network-caller]`,
    );
    expect(find(declared, "network-default-deny")).toMatchObject({
      metadata: { name: "default-deny", namespace: "demo" },
      spec: { podSelector: {}, policyTypes },
    });
    for (const { inputs } of declared.resources.slice(1)) expect(validateObject(inputs)).toEqual([]);
  });
});

describe("an image that is unknown in a preview", () => {
  it("leaves the rest of its Deployment known", async () => {
    const image = {
      reference: "r",
      context: "c",
      dockerfile: "d",
      baseImage: "b",
      platform: "p",
      network: "none",
      push: true,
    };
    const errors = await unhandled(async () => {
      const declared = await register(() => {
        const { reference } = new ApplicationImage("image", image);
        const versions = [{ name: "v1", replicas: 2, image: reference }];
        return new DubboService("provider", { ...providerArgs, versions });
      }, true);
      const [container] = (
        find(declared, "provider-v1") as { spec: { template: { spec: { containers: object[] } } } }
      ).spec.template.spec.containers;
      expect(container).toMatchObject({ name: "app", image: { __pulumiUnknown: true } });
    });
    expect(errors).toEqual([]);
  });
});
