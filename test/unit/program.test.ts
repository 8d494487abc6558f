import { describe, expect, it } from "vitest";
import { validateObject } from "../schemas/validate.ts";
import type { Declared } from "../../tools/engine/program.ts";
import * as pulumi from "@pulumi/pulumi";
import program from "../../index.ts";
import { unchecked } from "../../stack/checks.ts";
import { register } from "./components/mocks.ts";
import { declaredBy } from "./program.ts";

/** Annotations of every object. */
const OVERWRITING = { "pulumi.com/patchForce": "true" };
const HOST = "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";

describe("the program of a local stack", async () => {
  const { objects, images, outputs } = await declaredBy({ cluster: "local" });
  const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
  const find = (target: string): unknown => objects[names.indexOf(target)];

  it("declares exactly these objects", () => {
    expect([...names].sort()).toEqual([
      "AuthorizationPolicy/dubbo-samples-mesh-provider.dubbo-sa",
      "Deployment/dubbo-samples-mesh-consumer",
      "Deployment/dubbo-samples-mesh-provider-v1",
      "DestinationRule/dubbo-samples-mesh-provider",
      "DestinationRule/dubbo-samples-mesh-provider.v1",
      "EnvoyFilter/cluster",
      "Namespace/dubbo-demo",
      "PeerAuthentication/default",
      "PodDisruptionBudget/dubbo-samples-mesh-provider-v1",
      "Role/dubbo-sa",
      "RoleBinding/dubbo-sa",
      "Service/dubbo-samples-mesh-consumer",
      "Service/dubbo-samples-mesh-provider",
      "ServiceAccount/dubbo-sa",
      "Sidecar/dubbo-samples-mesh-consumer",
      "Sidecar/dubbo-samples-mesh-provider",
      "Telemetry/access-logs",
      "VirtualService/dubbo-samples-mesh-provider",
    ]);
  });

  it("declares each object after its dependencies", () => {
    expect(names[0]).toBe("Namespace/dubbo-demo");
    const before = (first: string, second: string): boolean => names.indexOf(first) < names.indexOf(second);
    const provider = "dubbo-samples-mesh-provider";
    const order = [
      ["ServiceAccount/dubbo-sa", `Deployment/${provider}-v1`],
      [`DestinationRule/${provider}.v1`, `Deployment/${provider}-v1`],
      [`AuthorizationPolicy/${provider}.dubbo-sa`, `Deployment/${provider}-v1`],
      [`Deployment/${provider}-v1`, `VirtualService/${provider}`],
      [`VirtualService/${provider}`, "Deployment/dubbo-samples-mesh-consumer"],
      ["EnvoyFilter/cluster", "Deployment/dubbo-samples-mesh-consumer"],
    ] as const;
    expect(order.filter(([first, second]) => !before(first, second))).toEqual([]);
    expect(order.flat().filter((name) => !names.includes(name))).toEqual([]);
  });

  it("declares objects that overwrite fields of other managers", () => {
    const annotations = objects.map(({ metadata }) => metadata["annotations"]);
    expect(annotations).toEqual(objects.map(() => expect.objectContaining(OVERWRITING) as unknown));
  });

  it("declares objects that are valid by the schemas of Kubernetes and Istio", () => {
    expect(objects.flatMap(validateObject)).toEqual([]);
  });

  it("exports addresses, the EnvoyFilter, images and context", () => {
    expect(outputs).toEqual({
      namespace: "dubbo-demo",
      serviceAddresses: {
        "dubbo-samples-mesh-provider": `${HOST}:50052`,
        "dubbo-samples-mesh-consumer": "dubbo-samples-mesh-consumer.dubbo-demo.svc.cluster.local:20880",
      },
      envoyFilterNames: { "dubbo-samples-mesh-consumer": "cluster" },
      healthCheckLoad: { checksPerSecond: 0.36, perProviderPod: 0.18 },
      images: {
        "dubbo-samples-mesh-provider": images[0]?.reference,
        "dubbo-samples-mesh-consumer": images[1]?.reference,
      },
      kubeContext: "kind-dubbo-mesh",
    });
  });

  it("builds the two images with relative paths, from the local cluster's base", () => {
    const build = (application: string): object => ({
      reference: expect.stringMatching(
        new RegExp(`^localhost:5001/dubbo-mesh/dubbo-samples-mesh-${application}:[0-9a-f]{16}$`),
      ) as unknown,
      context: `apps/dist/${application}`,
      dockerfile: "apps/Dockerfile",
      platform: "linux/amd64",
      args: { BASE_IMAGE: "localhost:5001/dubbo-mesh/node:22", SOURCE_DATE_EPOCH: "0" },
      network: "none",
    });
    expect(images).toEqual([build("provider"), build("consumer")]);
  });

  it("selects the provider only by app, and marks the port as gRPC twice", () => {
    expect(find("Service/dubbo-samples-mesh-provider")).toMatchObject({
      spec: {
        type: "ClusterIP",
        selector: { app: "dubbo-samples-mesh-provider" },
        ports: [
          { name: "grpc-tri", port: 50052, targetPort: "grpc-tri", protocol: "TCP", appProtocol: "grpc" },
        ],
      },
    });
  });

  it.each([
    ["dubbo-samples-mesh-provider-v1", 45, "10000"],
    ["dubbo-samples-mesh-consumer", 35, "0"],
  ])("gives %s a drain for the check, and time for its calls", (name, seconds, drain) => {
    const env = [
      { name: "DUBBO_SERVICE_SHUTDOWN_WAIT", value: drain },
      { name: "DUBBO_SERVICE_SHUTDOWN_TIMEOUT", value: "30000" },
    ];
    expect(find(`Deployment/${name}`)).toMatchObject({
      spec: {
        template: {
          spec: {
            terminationGracePeriodSeconds: seconds,
            containers: [{ env: expect.arrayContaining(env) as unknown }],
          },
        },
      },
    });
  });
});

describe("the program of other stacks", () => {
  const pinned = { provider: `r/p@sha256:${"1".repeat(64)}`, consumer: `r/c@sha256:${"2".repeat(64)}` };
  const provider = {
    app: "provider",
    image: pinned.provider,
    versions: [
      { name: "v1", weight: 80 },
      { name: "v2", weight: 20, replicas: 1 },
    ],
  };
  const consumer = { app: "consumer", image: pinned.consumer };
  const existing = { context: "minikube", services: [provider, consumer] };

  it("runs existing images, with a Deployment and a checked subset per version", async () => {
    const { images, objects, outputs } = await declaredBy(existing);
    expect(images).toEqual([]);
    expect(outputs).toMatchObject({
      images: {
        "dubbo-samples-mesh-provider": pinned.provider,
        "dubbo-samples-mesh-consumer": pinned.consumer,
      },
      kubeContext: "minikube",
    });
    expect(objects.flatMap(validateObject)).toEqual([]);
    const deployments = objects.filter(({ kind }) => kind === "Deployment");
    expect(
      deployments
        .map(({ metadata, spec }) => [metadata.name, (spec as { replicas: number }).replicas])
        .sort(),
    ).toEqual([
      ["dubbo-samples-mesh-consumer", 1],
      ["dubbo-samples-mesh-provider-v1", 2],
      ["dubbo-samples-mesh-provider-v2", 1],
    ]);
    const route = (subset: string, weight: number): object => ({
      destination: { host: HOST, subset },
      weight,
    });
    expect(objects.find(({ kind }) => kind === "VirtualService")).toMatchObject({
      spec: {
        http: [{ route: [route("v1", 80), route("v2", 20)] }, { route: [route("v1", 80), route("v2", 20)] }],
      },
    });
    expect(objects.find(({ kind }) => kind === "EnvoyFilter")).toMatchObject({
      spec: {
        configPatches: ["v1", "v2"].map((subset) => ({
          match: { cluster: { service: HOST, portNumber: 50052, subset } },
        })),
      },
    });
  });

  interface Pod {
    readonly containers: readonly { readonly image: string; readonly env: readonly { name: string }[] }[];
  }
  const podsOf = ({ objects }: Declared): Record<string, Pod> => {
    const deployments = objects.filter(({ kind }) => kind === "Deployment");
    return Object.fromEntries(
      deployments.map(({ metadata, spec }) => [
        metadata.name.replace("dubbo-samples-mesh-", ""),
        (spec as { template: { spec: Pod } }).template.spec,
      ]),
    );
  };
  const prefixed = (images: Record<string, string | undefined>): Record<string, string | undefined> =>
    Object.fromEntries(Object.entries(images).map(([name, image]) => [`dubbo-samples-mesh-${name}`, image]));
  const imagesOf = (declared: Declared): Record<string, string | undefined> =>
    Object.fromEntries(
      Object.entries(podsOf(declared)).map(([name, { containers }]) => [name, containers[0]?.image]),
    );

  it("runs Apache's Java images without a build, with the same objects", async () => {
    const versions = [
      { name: "v1", weight: 80 },
      { name: "v2", weight: 20 },
    ];
    const java = ["provider", "consumer"].map((app) => ({ app, runtime: "java" }));
    const services = [{ ...java[0], versions }, java[1]];
    const declared = await declaredBy({ context: "minikube", services });
    const images = {
      "provider-v1": "apache/dubbo-demo:dubbo-samples-mesh-provider-v1_0.0.1",
      "provider-v2": "apache/dubbo-demo:dubbo-samples-mesh-provider-v2_0.0.1",
      consumer: "apache/dubbo-demo:dubbo-samples-mesh-consumer_0.0.1",
    };
    expect(declared.images).toEqual([]);
    expect(declared.outputs["images"]).toEqual(prefixed(images));
    expect(imagesOf(declared)).toEqual(images);
    expect(declared.objects.flatMap(validateObject)).toEqual([]);
    const onNode = await declaredBy({
      context: "minikube",
      registry: "r.test",
      services: [{ app: "provider", versions }, { app: "consumer" }],
    });
    const others = ({ objects }: Declared): object[] => objects.filter(({ kind }) => kind !== "Deployment");
    expect(others(declared)).toEqual(others(onNode));
    const variables = Object.values(podsOf(declared)).map(({ containers }) =>
      containers.flatMap(({ env }) => env.map(({ name }) => name)),
    );
    expect(variables.flat()).not.toContain("DUBBO_APPLICATION_NAME");
    expect(variables.every(([first]) => first === "JAVA_TOOL_OPTIONS")).toBe(true);
  });

  it("mixes runtimes, and builds one image for all versions without one", async () => {
    const versions = [
      { name: "v1", weight: 50 },
      { name: "v2", weight: 30 },
      { name: "v3", weight: 20, image: "r/p:3" },
    ];
    const services = [
      { app: "provider", versions },
      { app: "consumer", runtime: "java" },
    ];
    const declared = await declaredBy({ cluster: "local", services });
    const built = declared.images.map(({ reference }) => reference);
    expect(built).toEqual([expect.stringMatching(/dubbo-samples-mesh-provider:[0-9a-f]{16}$/)]);
    const images = {
      "provider-v1": built[0],
      "provider-v2": built[0],
      "provider-v3": "r/p:3",
      consumer: "apache/dubbo-demo:dubbo-samples-mesh-consumer_0.0.1",
    };
    expect(imagesOf(declared)).toEqual(images);
    expect(declared.outputs["images"]).toEqual(prefixed(images));
  });

  it("passes Dubbo properties to the application", async () => {
    const properties = { "dubbo.application.logFormat": "json", "dubbo.protocol.threads": 8 };
    const services = [
      { ...provider, runtime: "java", properties },
      { ...consumer, properties },
    ];
    const pods = podsOf(await declaredBy({ ...existing, services }));
    expect(pods["consumer"]?.containers[0]?.env).toEqual(
      expect.arrayContaining([
        { name: "DUBBO_APPLICATION_LOG_FORMAT", value: "json" },
        { name: "DUBBO_PROTOCOL_THREADS", value: "8" },
      ]),
    );
    expect(pods["provider-v2"]?.containers[0]?.env[0]).toEqual({
      name: "JAVA_TOOL_OPTIONS",
      value: expect.stringMatching(
        / -Ddubbo\.application\.logFormat=json -Ddubbo\.protocol\.threads=8$/,
      ) as unknown,
    });
  });

  it.each([
    [{ injection: false }, { "istio-injection": "disabled" }],
    [{ revision: "1-31" }, { "istio.io/rev": "1-31" }],
    [{ injection: false, revision: "1-31" }, { "istio-injection": "disabled" }],
  ])("labels the namespace for %j", async (config, labels) => {
    const { objects } = await declaredBy({ ...existing, ...config });
    expect(objects[0]?.metadata).toEqual({ name: "dubbo-demo", labels, annotations: OVERWRITING });
  });

  it("gives each application an identity, and allows the consumer's calls", async () => {
    const security = {
      identities: "per-workload",
      networkPolicy: true,
      defaultDeny: true,
      podSecurity: "restricted",
    };
    const { objects } = await declaredBy({ ...existing, security });
    expect(objects.flatMap(validateObject)).toEqual([]);
    const accounts = objects.filter(({ kind }) => kind === "ServiceAccount");
    expect(accounts.map(({ metadata }) => metadata.name).sort()).toEqual([
      "dubbo-samples-mesh-consumer",
      "dubbo-samples-mesh-provider",
    ]);
    const policies = objects.filter(({ kind }) => kind.endsWith("Policy"));
    expect(policies.map(({ kind, metadata }) => `${kind}/${metadata.name}`).sort()).toEqual([
      "AuthorizationPolicy/default-deny",
      "AuthorizationPolicy/dubbo-samples-mesh-provider.dubbo-samples-mesh-consumer",
      "NetworkPolicy/default-deny",
      "NetworkPolicy/dubbo-samples-mesh-consumer",
      "NetworkPolicy/dubbo-samples-mesh-provider",
    ]);
    expect(JSON.stringify(policies)).toContain(
      '"principals":["cluster.local/ns/dubbo-demo/sa/dubbo-samples-mesh-consumer"]',
    );
    const deployments = objects.filter(({ kind }) => kind === "Deployment");
    for (const { metadata, spec } of deployments) {
      const { serviceAccountName } = (spec as { template: { spec: { serviceAccountName: string } } }).template
        .spec;
      expect(serviceAccountName).toBe(metadata.name.replace(/-v\d$/, ""));
    }
    expect(objects[0]?.metadata["labels"]).toMatchObject({
      "pod-security.kubernetes.io/enforce": "restricted",
    });
  });

  it("creates autoscalers, and sets the sidecars' resources", async () => {
    const scaled = { ...provider, versions: [{ name: "v1", autoscale: { min: 2, max: 4, cpu: 70 } }] };
    const proxy = { requests: { cpu: "20m" }, limits: { memory: "128Mi" } };
    const { objects } = await declaredBy({ ...existing, services: [scaled, consumer], proxy });
    expect(objects.flatMap(validateObject)).toEqual([]);
    expect(objects.find(({ kind }) => kind === "HorizontalPodAutoscaler")).toMatchObject({
      metadata: { name: "dubbo-samples-mesh-provider-v1" },
      spec: { minReplicas: 2, maxReplicas: 4 },
    });
    const deployments = objects.filter(({ kind }) => kind === "Deployment");
    expect(deployments.map(({ spec }) => (spec as { replicas?: number }).replicas)).toEqual(
      expect.arrayContaining([2, 1]),
    );
    for (const { spec } of deployments) {
      expect(spec).toMatchObject({
        template: {
          metadata: {
            annotations: {
              "sidecar.istio.io/proxyCPU": "20m",
              "sidecar.istio.io/proxyMemoryLimit": "128Mi",
            },
          },
        },
      });
    }
  });

  it("declares neither mTLS nor identities without sidecars", async () => {
    const { objects } = await declaredBy({ ...existing, injection: false });
    expect(objects.filter(({ kind }) => kind === "AuthorizationPolicy")).toEqual([]);
    expect(objects.find(({ kind }) => kind === "PeerAuthentication")).toMatchObject({
      spec: { mtls: { mode: "PERMISSIVE" } },
    });
  });

  it("follows the call graph of a chain of services", async () => {
    const services = [
      { app: "consumer", image: "r/c:1" },
      { app: "provider", image: "r/p:1" },
      { app: "relay", image: "r/r:1" },
      {
        name: "shop",
        image: "r/s:1",
        port: 50060,
        calls: ["dubbo-samples-mesh-relay", "dubbo-samples-mesh-provider"],
      },
    ];
    const security = { identities: "per-workload", networkPolicy: true };
    const { objects, outputs } = await declaredBy({ context: "minikube", services, security });
    expect(objects.flatMap(validateObject)).toEqual([]);
    const names = (kind: string): string[] =>
      objects
        .filter((object) => object.kind === kind)
        .map(({ metadata }) => metadata.name)
        .sort();
    expect(names("EnvoyFilter")).toEqual(["cluster", "cluster-dubbo-samples-mesh-relay", "cluster-shop"]);
    const callers = ["dubbo-samples-mesh-consumer", "dubbo-samples-mesh-relay", "shop"];
    expect(names("AuthorizationPolicy")).toEqual([
      ...callers.map((caller) => `dubbo-samples-mesh-provider.${caller}`),
      "dubbo-samples-mesh-relay.shop",
    ]);
    expect(names("Deployment")).toEqual([
      "dubbo-samples-mesh-consumer",
      "dubbo-samples-mesh-provider-v1",
      "dubbo-samples-mesh-relay-v1",
      "shop",
    ]);
    const specOf = (kind: string, name: string): unknown =>
      objects.find((object) => object.kind === kind && object.metadata.name === name)?.["spec"];
    for (const caller of callers) {
      expect(specOf("AuthorizationPolicy", `dubbo-samples-mesh-provider.${caller}`)).toMatchObject({
        rules: [{ from: [{ source: { principals: [`cluster.local/ns/dubbo-demo/sa/${caller}`] } }] }],
      });
    }
    const relay = "dubbo-samples-mesh-relay.dubbo-demo.svc.cluster.local";
    expect(specOf("Sidecar", "shop")).toMatchObject({
      egress: [{ hosts: [`./${HOST}`, `./${relay}`, "istio-system/*"] }],
    });
    expect(specOf("EnvoyFilter", "cluster-shop")).toMatchObject({
      workloadSelector: { labels: { app: "shop" } },
      configPatches: [
        { match: { cluster: { service: HOST, portNumber: 50052, subset: "v1" } } },
        {
          match: { cluster: { service: relay, portNumber: 50053, subset: "v1" } },
          patch: {
            value: {
              health_checks: [
                {
                  grpc_health_check: { service_name: "org.apache.dubbo.samples.Relay", authority: relay },
                },
              ],
            },
          },
        },
      ],
    });
    expect(specOf("NetworkPolicy", "dubbo-samples-mesh-relay")).toMatchObject({
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "shop" } } }] }, {}],
      egress: [
        { to: [{ podSelector: { matchLabels: { app: "dubbo-samples-mesh-provider" } } }] },
        {},
        {},
        {},
      ],
    });
    expect(outputs).toMatchObject({
      serviceAddresses: { shop: "shop.dubbo-demo.svc.cluster.local:50060" },
      envoyFilterNames: { shop: "cluster-shop" },
    });
  });

  it.each(["java", "node"])("starts a caller on %s after its callees' routes", async (runtime) => {
    const services = [{ ...consumer, runtime }, provider];
    const config = { "dubbo-mesh:context": "minikube", "dubbo-mesh:services": JSON.stringify(services) };
    const { resources } = await register(() => {
      pulumi.runtime.setAllConfig(config);
      return program(unchecked);
    });
    const before = (wanted: string): readonly string[] => {
      const { dependsOn = [] } = resources.find(({ name }) => name === wanted) ?? {};
      return dependsOn.filter((name) => !name.startsWith("mesh-namespace-"));
    };
    const [callee, caller] = ["mesh-dubbo-samples-mesh-provider", "mesh-dubbo-samples-mesh-consumer"];
    const subsets = ["v1", "v2"].map((version) => `${callee}-traffic.${version}`);
    const rules = [
      `${callee}-traffic`,
      ...subsets,
      "mesh-security-dubbo-samples-mesh-provider.dubbo-sa-calls",
      "mesh-security-mtls",
    ];
    // All objects of a service wait, by their parent. So a protected Service keeps the pods of its
    // callees from a plain `pulumi destroy`, which goes on with what the Service does not need.
    expect(before(callee)).toEqual([`${callee}-scope`, ...rules].sort());
    expect(before(caller)).toEqual(
      [`${caller}-scope`, `${caller}-health-check`, ...rules, `${callee}-routes`].sort(),
    );
    expect(before(`${callee}-traffic`)).toEqual(subsets);
    expect(before(`${callee}-routes`)).toEqual(
      [
        ...[`${callee}-v1`, `${callee}-v2`, `${callee}-service`],
        ...[`${callee}-v1-budget`, `${callee}-traffic`, ...subsets],
      ].sort(),
    );
  });

  it("does not wait for itself in a cycle of calls", async () => {
    const services = [
      { name: "a", image: "r/a:1", port: 50052, offers: ["x.A"], calls: ["b"] },
      { name: "b", image: "r/b:1", port: 50053, offers: ["x.B"], calls: ["a"] },
    ];
    const { objects } = await declaredBy({ context: "minikube", services });
    const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    const order = ["Deployment/b-v1", "VirtualService/b", "Deployment/a-v1", "VirtualService/a"];
    expect(names.filter((name) => order.includes(name))).toEqual(order);
  });

  it("turns access logs off", async () => {
    const { objects } = await declaredBy({ ...existing, accessLogs: false });
    expect(objects.find(({ kind }) => kind === "Telemetry")).toMatchObject({
      spec: { accessLogging: [{ disabled: true }] },
    });
  });

  it("declares valid rules of every kind", async () => {
    const traffic = {
      loadBalancer: "LEAST_REQUEST",
      warmup: "30s",
      locality: true,
    };
    const routed = {
      ...provider,
      methods: { "/org.apache.dubbo.samples.Greeter/UpperCaseGreet": { timeout: "2s" } },
      routes: [{ headers: { "x-canary": "yes" }, version: "v2" }],
    };
    const { objects } = await declaredBy({ ...existing, services: [routed, consumer], traffic });
    expect(objects.flatMap(validateObject)).toEqual([]);
    const service = objects.find(({ kind }) => kind === "VirtualService");
    const { http } = service?.["spec"] as { http: { name: string }[] };
    expect(http.map(({ name }) => name)).toEqual([
      "routes-0-idempotent",
      "routes-0-default-2s",
      "routes-0-default",
      "idempotent",
      "default-2s",
      "default",
    ]);
  });

  it("turns retries off", async () => {
    const { objects } = await declaredBy({
      ...existing,
      services: [
        { ...provider, methods: { "/org.apache.dubbo.samples.Greeter/greet": { idempotent: false } } },
        consumer,
      ],
      traffic: { attempts: 0 },
    });
    const service = objects.find(({ kind }) => kind === "VirtualService");
    expect((service?.["spec"] as { http: object[] }).http).toMatchObject([
      { name: "default", retries: { attempts: 0 } },
    ]);
  });

  it("declares nothing if the configuration is wrong", async () => {
    await expect(declaredBy({ ...existing, services: [{ ...consumer, replicas: "many" }] })).rejects.toThrow(
      "dubbo-mesh:services[0].replicas: Invalid input: expected number, received string",
    );
  });

  it.each(["crds", "install"])("declares the same objects if it installs Istio: %s", async (mode) => {
    const { objects } = await declaredBy({ ...existing, istio: { mode, version: "1.30.4" } });
    const own = await declaredBy({ ...existing, istio: { version: "1.30.4" } });
    expect(new Set(objects)).toEqual(new Set(own.objects));
  });

  it("replaces other owners' checks if Istio supports it", async () => {
    const filterOf = ({ objects }: Declared): unknown =>
      objects.find(({ kind }) => kind === "EnvoyFilter")?.["spec"];
    const operationsOf = (operation: string): object => ({
      configPatches: [{ patch: { operation } }, { patch: { operation } }],
    });
    expect(filterOf(await declaredBy(existing))).toMatchObject(operationsOf("MERGE"));
    const declared = await declaredBy({ ...existing, istio: { version: "1.31" } });
    expect(filterOf(declared)).toMatchObject(operationsOf("MERGE_AND_REPLACE_LIST"));
  });

  it("configures logs and traces in one Telemetry, because Istio uses only one", async () => {
    const tracing = { sampling: 12.5, provider: "otel", service: "otel.traces.svc.cluster.local" };
    const observability = { tracing, dashboard: true };
    const { objects } = await declaredBy({ ...existing, accessLogs: false, observability });
    expect(objects.flatMap(validateObject)).toEqual([]);
    const telemetries = objects.filter(({ kind }) => kind === "Telemetry");
    expect(telemetries.map(({ spec }) => spec)).toEqual([
      {
        accessLogging: [{ disabled: true }],
        tracing: [{ providers: [{ name: "otel" }], randomSamplingPercentage: 12.5 }],
      },
    ]);
    expect(objects.filter(({ kind }) => kind === "ConfigMap").map(({ metadata }) => metadata)).toEqual([
      {
        name: "mesh-dashboard",
        namespace: "dubbo-demo",
        labels: { grafana_dashboard: "1" },
        annotations: OVERWRITING,
      },
    ]);
  });

  it.each([
    ["otel.traces.svc.cluster.local", [{ "kubernetes.io/metadata.name": "traces" }]],
    ["otel.traces.svc.cluster.test", []],
    ["traces.example.org", []],
  ])("allows the proxies' traces to %s", async (service, namespaces) => {
    const given = { observability: { tracing: { service } }, security: { networkPolicy: true } };
    const { objects } = await declaredBy({ ...existing, ...given });
    expect(objects.flatMap(validateObject)).toEqual([]);
    const specs = (kind: string): unknown[] =>
      objects.filter((object) => object.kind === kind).map(({ spec }) => spec);
    const host = "./dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";
    expect(specs("Sidecar")).toMatchObject([
      { egress: [{ hosts: [`*/${service}`, "istio-system/*"] }] },
      { egress: [{ hosts: [host, `*/${service}`, "istio-system/*"] }] },
    ]);
    const rules = namespaces.map((matchLabels) => ({ to: [{ namespaceSelector: { matchLabels } }] }));
    const egress = specs("NetworkPolicy").map((spec) => (spec as { egress: object[] }).egress);
    expect(egress.map((each) => each.slice(-rules.length - 1))).toEqual([
      [expect.objectContaining({ ports: [{ protocol: "TCP", port: 15012 }] }), ...rules],
      [expect.objectContaining({ ports: [{ protocol: "TCP", port: 15012 }] }), ...rules],
    ]);
  });

  it.each([
    [{ app: "nothing" }, "app: there is no application apps/nothing: main.ts is missing"],
    [{ build: { context: "nowhere" } }, "build: the image's build context nowhere cannot be read: ENOENT"],
  ])("names the key if the files of %j are missing", async (source, message) => {
    const services = [consumer, provider, { name: "shop", port: 1, offers: ["a.B"], ...source }];
    await expect(declaredBy({ context: "minikube", registry: "r.test", services })).rejects.toThrow(
      `dubbo-mesh:services[2].${message}`,
    );
  });

  it("rejects encrypted values, which only Pulumi can read", async () => {
    await expect(declaredBy({ ...existing, namespace: { secure: "v1:abc" } })).rejects.toThrow(
      "stack test has encrypted values (namespace), which only Pulumi can read",
    );
  });
});
