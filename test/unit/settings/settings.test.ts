import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CACHE_DIR } from "../../../common/artifacts/cache.ts";
import { dockerHost } from "../../../common/local-cluster.ts";
import { nodeProperties } from "../../../components/runtime.ts";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { UserError } from "../../../common/errors.ts";
import { javaProperties } from "../../../settings/java.ts";
import { STREAMS } from "../../../settings/names.ts";
import { proxyAnnotations } from "../../../settings/resources.ts";
import { loadOf, type Service } from "../../../settings/graph.ts";
import { parseSettings } from "../../../settings/settings.ts";
import { projectFile, projectFileText } from "../../../tools/declarations.ts";
import { pair } from "../pair.ts";

const LOCAL = { cluster: "local" };

/** Returns the provider and the consumer of a local stack with these keys. */
function parsedPair(given: Parameters<typeof pair>[0], raw: Record<string, string> = {}): [Service, Service] {
  const [provider, consumer] = parseSettings({ ...LOCAL, services: pair(given), ...raw }).services;
  if (provider === undefined || consumer === undefined) throw new Error("no pair");
  return [provider, consumer];
}

function errorOf(raw: Record<string, string>): string {
  try {
    parseSettings(raw);
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  return "accepted";
}

const RESOURCES = { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } };
const TRAFFIC = {
  loadBalancer: "ROUND_ROBIN",
  attempts: 2,
  perTryTimeout: "5s",
  locality: false,
  outlierDetection: {
    consecutiveGatewayErrors: 5,
    consecutive5xxErrors: 0,
    interval: "10s",
    baseEjectionTime: "30s",
    maxEjectionPercent: 50,
    minHealthPercent: 50,
  },
  connectionPool: { connectTimeout: "2s", maxRequests: 1024 },
};
const HEALTH_CHECK = {
  timeout: "5s",
  interval: "5s",
  initial_jitter: "1s",
  interval_jitter: "1s",
  interval_jitter_percent: 50,
  unhealthy_threshold: 1,
  healthy_threshold: 1,
  reuse_connection: true,
  no_traffic_interval: "2s",
  no_traffic_healthy_interval: "4s",
  unhealthy_interval: "5s",
  unhealthy_edge_interval: "10s",
  healthy_edge_interval: "10s",
  grpc_health_check: {},
};

describe("settings of a local stack", () => {
  it("have the sample's values by default", () => {
    expect(parseSettings(LOCAL)).toEqual({
      cluster: "local",
      context: "kind-dubbo-mesh",
      kubeconfig: `${CACHE_DIR}/cluster/kubeconfig`,
      dockerHost: dockerHost(),
      registry: "localhost:5001/dubbo-mesh",
      load: undefined,
      baseImage: "localhost:5001/dubbo-mesh/node:22",
      namespace: "dubbo-demo",
      production: false,
      injection: true,
      istio: { mode: "existing" },
      accessLogs: true,
      observability: { dashboard: false },
      clusterDomain: "cluster.local",
      platform: "linux/amd64",
      services: [
        {
          app: "provider",
          name: "dubbo-samples-mesh-provider",
          port: 50052,
          runtime: "node",
          offers: ["org.apache.dubbo.samples.Greeter"],
          methods: {
            "/org.apache.dubbo.samples.Greeter/greet": { kind: "unary", idempotent: true },
            ...Object.fromEntries(
              STREAMS.map((name) => [
                `/org.apache.dubbo.samples.Greeter/${name}`,
                { kind: "streaming", idempotent: false },
              ]),
            ),
          },
          calls: [],
          versions: [{ name: "v1", replicas: 2, weight: 100 }],
          timeout: "30s",
          routes: [],
          properties: {},
          resources: RESOURCES,
          traffic: TRAFFIC,
          healthCheck: HEALTH_CHECK,
          drainSeconds: 10,
          finishSeconds: 30,
        },
        {
          app: "consumer",
          name: "dubbo-samples-mesh-consumer",
          port: 20880,
          runtime: "node",
          offers: [],
          methods: {},
          calls: ["dubbo-samples-mesh-provider"],
          versions: [{ name: "v1", replicas: 1, weight: 100 }],
          interval: "1s",
          timeout: "30s",
          routes: [],
          properties: {},
          resources: RESOURCES,
          traffic: TRAFFIC,
          healthCheck: HEALTH_CHECK,
          drainSeconds: 0,
          finishSeconds: 30,
        },
      ],
      proxy: { requests: {}, limits: {} },
      healthCheckBudget: 100,
      security: {
        mtls: "STRICT",
        authorization: true,
        identities: "shared",
        networkPolicy: false,
        defaultDeny: false,
      },
    });
  });

  it("accept nested values as YAML or JSON, and keep the other defaults", () => {
    const services = '[{"app": "provider"}, {"app": "consumer", "replicas": 3}]';
    const fromYaml = parseSettings({
      ...LOCAL,
      services: "- app: provider\n- app: consumer\n  replicas: 3",
      injection: "false",
    });
    expect(fromYaml).toEqual(parseSettings({ ...LOCAL, services, injection: "false" }));
    expect(fromYaml.services[1]).toMatchObject({ versions: [{ replicas: 3 }], interval: "1s" });
    expect(fromYaml.injection).toBe(false);
  });

  it("treat an empty value as unset, for the defaults in Pulumi.yaml", () => {
    expect(parseSettings({ ...LOCAL, context: "", revision: "", services: "" })).toEqual(
      parseSettings(LOCAL),
    );
  });

  it.each([
    ["context", "dubbo-mesh:context is set, but dubbo-mesh:cluster is local, which has its own"],
    ["kubeconfig", "dubbo-mesh:kubeconfig is set, but dubbo-mesh:cluster is local, which has its own"],
  ])("reject %s", (key, message) => {
    expect(errorOf({ ...LOCAL, [key]: "x" })).toBe(message);
  });
});

describe("settings of a stack on an existing cluster", () => {
  it("need a context", () => {
    expect(errorOf({})).toBe(
      "dubbo-mesh:context is not set: the stack does not say which cluster it deploys to",
    );
  });

  it("need a registry to build an image", () => {
    const message = "dubbo-mesh:registry is not set: the stack does not say where to push its images";
    expect(errorOf({ context: "there" })).toBe(message);
    expect(errorOf({ context: "there", services: pair({ provider: "image: 'a/p:1'" }) })).toBe(message);
    const both = pair({ provider: "image: 'a/p:1'", consumer: "image: 'a/c:1'" });
    expect(errorOf({ context: "there", services: both })).toBe("accepted");
  });

  it("need no registry for Apache's Java images, or if each version has an image", () => {
    const message = "dubbo-mesh:registry is not set: the stack does not say where to push its images";
    const given = (pairGiven: Parameters<typeof pair>[0]): string =>
      errorOf({ context: "there", services: pair(pairGiven) });
    expect(given({ provider: "runtime: java" })).toBe(message);
    expect(given({ provider: "runtime: java", consumer: "runtime: java" })).toBe("accepted");
    const versions = "{name: v1, weight: 60, image: 'a/p:1'}, {name: v2, weight: 40";
    const consumer = "image: 'a/c:1'";
    expect(given({ provider: `versions: [${versions}}]`, consumer })).toBe(message);
    expect(given({ provider: `versions: [${versions}, image: 'a/p:2'}]`, consumer })).toBe("accepted");
  });

  it("need no registry for kind and minikube, which load images by tag", () => {
    const platform = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
    const place = { registry: "loaded.invalid/dubbo-mesh", platform };
    expect(parseSettings({ context: "minikube" })).toMatchObject({
      ...place,
      load: { tool: "minikube", cluster: "minikube" },
    });
    expect(parseSettings({ context: "kind-my-own" })).toMatchObject({
      ...place,
      load: { tool: "kind", cluster: "my-own" },
    });
    expect(
      parseSettings({ context: "kind-my-own", registry: "r.test/o", platform: "linux/arm64" }),
    ).toMatchObject({
      registry: "r.test/o",
      platform: "linux/arm64",
      load: undefined,
    });
    expect(parseSettings(LOCAL).load).toBeUndefined();
  });

  it("need a registry for production, because loaded images have no digest", () => {
    const security = "{identities: per-workload, networkPolicy: true, defaultDeny: true}";
    expect(errorOf({ context: "kind-my-own", production: "true", security })).toContain(
      "dubbo-mesh:registry is not set",
    );
  });

  it("use the public base image, and docker's and kubectl's defaults", () => {
    const settings = parseSettings({ context: "minikube", registry: "docker.io/me" });
    expect(settings).toMatchObject({
      context: "minikube",
      registry: "docker.io/me",
      baseImage: "node:22-trixie-slim",
      kubeconfig: undefined,
      dockerHost: undefined,
    });
  });
});

describe("an image", () => {
  const digest = `sha256:${"0a".repeat(32)}`;

  it.each([
    "x:1",
    "localhost:5000/dubbo-mesh/a:V1.2_3-4",
    "Registry.example/team/a__b.c-d:v1",
    `a/b@${digest}`,
    `docker.io/a/b:1@${digest}`,
  ])("may be %s", (image) => {
    expect(parsedPair({ provider: `image: '${image}'` })[0].versions).toMatchObject([{ image }]);
  });
});

describe("settings of a Java stack", () => {
  const images = (provider: string): (string | undefined)[] =>
    parsedPair({ provider })[0].versions.map(({ image }) => image);

  it("prefer a version's image to the service's, and that to Apache's", () => {
    const versions = (v2: string): string =>
      `versions: [{name: v1, weight: 80}, {name: v2, weight: 20${v2}}]`;
    expect(images(`runtime: java, ${versions("")}`)).toEqual([
      "apache/dubbo-demo:dubbo-samples-mesh-provider-v1_0.0.1",
      "apache/dubbo-demo:dubbo-samples-mesh-provider-v2_0.0.1",
    ]);
    expect(images(`runtime: java, ${versions(", image: 'a/p:2'")}`)).toEqual([
      "apache/dubbo-demo:dubbo-samples-mesh-provider-v1_0.0.1",
      "a/p:2",
    ]);
    const both = `image: 'a/p:1', ${versions(", image: 'a/p:2'")}`;
    expect(images(`runtime: java, ${both}`)).toEqual(["a/p:1", "a/p:2"]);
    expect(images(both)).toEqual(["a/p:1", "a/p:2"]);
    expect(images(versions(", image: 'a/p:2'"))).toEqual([undefined, "a/p:2"]);
    const consumer = (text: string): Service => parsedPair({ consumer: text })[1];
    expect(consumer("runtime: java")).toMatchObject({
      versions: [{ image: "apache/dubbo-demo:dubbo-samples-mesh-consumer_0.0.1" }],
      interval: "5s",
    });
    expect(consumer("runtime: java, image: 'a/c:1', interval: 2s")).toMatchObject({
      versions: [{ image: "a/c:1" }],
      interval: "2s",
    });
  });

  it("need an image for a version that Apache does not publish", () => {
    const provider = "runtime: java, versions: [{name: v1, weight: 80}, {name: constructor, weight: 20}]";
    expect(errorOf({ ...LOCAL, services: pair({ provider }) })).toBe(
      "dubbo-mesh:services[0].versions[1].image: is required: Apache publishes Java images of v1 and v2 only",
    );
    expect(errorOf({ ...LOCAL, services: "[{app: provider}, {app: relay, runtime: java}]" })).toBe(
      "dubbo-mesh:services[1].image: is required: Apache publishes no Java image of this application",
    );
  });
});

describe("Dubbo properties of an application", () => {
  it("are text, even if YAML has a number or a boolean", () => {
    const properties = "{dubbo.a.b: 8, dubbo.a.c-d: false, dubbo.a.e: 'x \"y\"', dubbo.a.f: ''}";
    const [provider, consumer] = parsedPair({ provider: `properties: ${properties}` });
    expect(provider.properties).toEqual({
      "dubbo.a.b": "8",
      "dubbo.a.c-d": "false",
      "dubbo.a.e": 'x "y"',
      "dubbo.a.f": "",
    });
    expect(consumer.properties).toEqual({});
  });

  const refused = (application: "provider" | "consumer", property: string): string =>
    errorOf({
      ...LOCAL,
      services: pair({ [application]: `properties: ${JSON.stringify({ [property]: "1" })}` }),
    });
  const INDEX = { provider: 0, consumer: 1 };

  it.each([
    ["provider", "dubbo.application.name", "use name"],
    ["provider", "dubbo.application.version", "use versions"],
    ["provider", "dubbo.protocol.port", "use port"],
    ["provider", "dubbo.application.qos-port", "the probes use port 22222"],
    ["consumer", "dubbo.application.qosPort", "the probes use port 22222"],
    ["provider", "dubbo.service.shutdown.wait", "use drain"],
    [
      "provider",
      "dubbo.service.shutdown.timeout",
      "it is the longest timeout of the service and its callers",
    ],
    ["consumer", "dubbo.consumer.timeout", "use timeout"],
    ["consumer", "dubbo.consumer.interval", "use interval"],
    ["consumer", "dubbo.reference.providedBy", "use calls"],
    ["consumer", "dubbo.reference.provider-port", "use calls"],
    ["consumer", "dubbo.reference.org.apache.dubbo.samples.Greeter.providerPort", "use calls"],
  ] as const)("are an error if the stack sets them: %s %s", (application, property, advice) => {
    expect(refused(application, property)).toBe(
      `dubbo-mesh:services[${INDEX[application]}].properties["${property}"]: is set by the stack: ${advice}`,
    );
  });

  it.each(["provider", "consumer"] as const)("cannot replace those of the stack: %s", (application) => {
    const services = ["org.apache.dubbo.samples.Greeter"];
    const callees = [{ application: "p", port: 1, services }];
    const called = { callees, timeoutMs: 1, intervalMs: 1, clusterDomain: "c" };
    const plain = {
      application: "a",
      version: "v",
      port: 1,
      drainSeconds: 1,
      finishSeconds: 1,
      finishMs: 1,
      properties: {},
    };
    const spec = { ...plain, ...(application === "consumer" && { reference: called }) };
    const properties = [nodeProperties(spec), javaProperties(spec)].flatMap(Object.keys);
    expect(properties.length).toBeGreaterThan(12);
    for (const property of properties) {
      expect(refused(application, property)).toMatch(/: is set by the stack: /);
    }
  });

  it("have the length that Java 8 reads, for Apache's images", () => {
    const outcome = (length: number, keys = ""): string =>
      errorOf({
        ...LOCAL,
        services: pair({
          consumer: `runtime: java${keys}, properties: {dubbo.application.owner: ${"x".repeat(length)}}`,
        }),
      });
    const longest = 398;
    expect(outcome(longest)).toBe("accepted");
    expect(outcome(longest + 1)).toBe(
      "dubbo-mesh:services[1].properties: make JAVA_TOOL_OPTIONS 1024 bytes long, but the Java 8 of " +
        "apache/dubbo-demo:dubbo-samples-mesh-consumer_0.0.1 ignores 1024 bytes or more: remove some, or run an image with a later Java",
    );
    expect(outcome(longest + 1, ", image: 'a/c:1'")).toBe("accepted");
    // 16.1 s are 16100 ms, which has as many digits as the default.
    expect(outcome(longest, ", timeout: 16.1s")).toBe("accepted");
    expect(outcome(longest + 1, ", timeout: 16.1s")).not.toBe("accepted");
    const named = "{name: c, port: 20880, calls: [dubbo-samples-mesh-provider], runtime: java, ";
    const apache = "image: 'apache/dubbo-demo:dubbo-samples-mesh-consumer_0.0.1', ";
    const services = `[{app: provider}, ${named}${apache}properties: {dubbo.application.owner: ${"x".repeat(900)}}}]`;
    expect(errorOf({ ...LOCAL, services })).toMatch(
      /^dubbo-mesh:services\[1\]\.properties: make JAVA_TOOL_OPTIONS 1\d{3} bytes long/,
    );
  });

  it.each([
    "application.name",
    "dubbo",
    "dubbo.",
    "dubbo.a..b",
    "dubbo.a b",
    "dubbo.1",
    "Dubbo.a",
    "dubbo.a=b",
  ])("have Dubbo's names, not %j", (name) => {
    const key = name.includes(".") ? `["${name}"]` : `.${name}`;
    expect(refused("consumer", name)).toBe(
      `dubbo-mesh:services[1].properties${key}: is not the name of a Dubbo property such as dubbo.application.log-format`,
    );
  });

  it.each([
    ["{dubbo.a.b: [1]}", '["dubbo.a.b"]: must be text, a number, true or false'],
    ['{dubbo.a.b: "x\\ny"}', '["dubbo.a.b"]: must be one line without control characters'],
    [
      "{dubbo.a.logFormat: a, dubbo.a.log-format: b}",
      '["dubbo.a.log-format"]: is set twice, in two spellings: remove one',
    ],
  ])("are one line of text: %s", (properties, message) => {
    expect(errorOf({ ...LOCAL, services: pair({ provider: `properties: ${properties}` }) })).toBe(
      `dubbo-mesh:services[0].properties${message}`,
    );
  });
});

describe("the health check's load", () => {
  it("depends on the pods of both sides", () => {
    const provider = "versions: [{name: v1, weight: 80, replicas: 3}, {name: v2, weight: 20, replicas: 1}]";
    const services = parsedPair({ consumer: "replicas: 2", provider }, { healthCheck: "fast" });
    const { checksPerSecond, perProviderPod } = loadOf(services);
    expect(checksPerSecond).toBeCloseTo(8 / 0.55);
    expect(perProviderPod).toBeCloseTo(2 / 0.55);
  });

  it("is bounded by the budget", () => {
    const consumers = (replicas: number): Record<string, string> => ({
      ...LOCAL,
      healthCheck: "fast",
      services: pair({ consumer: `replicas: ${replicas}` }),
    });
    expect(errorOf(consumers(55))).toBe("accepted");
    expect(errorOf(consumers(56))).toBe(
      "dubbo-mesh:healthCheckBudget: is 100, but each pod of dubbo-samples-mesh-provider would get 101.8 checks/s from 56 pods: " +
        "choose longer intervals, such as healthCheck: gentle, or raise the budget",
    );
    expect(errorOf({ ...consumers(56), healthCheckBudget: "102" })).toBe("accepted");
    expect(errorOf({ ...consumers(56), healthCheck: "gentle" })).toBe("accepted");
  });
});

describe("pods", () => {
  const autoscale = "autoscale: {min: 2, max: 5, cpu: 80}";

  it("are a fixed number, or set by an autoscaler", () => {
    const provider = `versions: [{name: v1, weight: 80, ${autoscale}}, {name: v2, weight: 20}]`;
    const services = parsedPair({ consumer: autoscale, provider }, { healthCheck: "fast" });
    const scale = { min: 2, max: 5, cpu: 80 };
    expect(services[0].versions).toEqual([
      { name: "v1", weight: 80, autoscale: scale },
      { name: "v2", weight: 20, replicas: 2 },
    ]);
    expect(services[1].versions).toEqual([{ name: "v1", weight: 100, autoscale: scale }]);
    // 5 consumers, 5 + 2 providers.
    expect(loadOf(services).checksPerSecond).toBeCloseTo(35 / 0.55);
  });

  it.each([
    [
      { services: pair({ consumer: `replicas: 2, ${autoscale}` }) },
      "dubbo-mesh:services[1].replicas: cannot be set together with autoscale, which sets the number of pods",
    ],
    [
      { services: pair({ provider: `versions: [{name: v1, replicas: 2, ${autoscale}}]` }) },
      "dubbo-mesh:services[0].versions[0].replicas: cannot be set together with autoscale, which sets the number of pods",
    ],
    [
      { services: pair({ consumer: "autoscale: {min: 3, max: 2, cpu: 80}" }) },
      "dubbo-mesh:services[1].autoscale.max: must not be less than min",
    ],
    [
      { services: pair({ consumer: "autoscale: {min: 0, max: 2, cpu: 80}" }) },
      "dubbo-mesh:services[1].autoscale.min: Too small: expected number to be >=1",
    ],
    [
      { services: pair({ consumer: "resources: {requests: {cpu: much}}" }) },
      "dubbo-mesh:services[1].resources.requests.cpu: must be a quantity such as 100m, 0.5 or 256Mi",
    ],
    [{ proxy: "requests: {gpu: 1}" }, "dubbo-mesh:proxy.requests.gpu: no such key"],
    [
      {
        services: pair({ consumer: "resources: {requests: {cpu: 0}}, autoscale: {min: 1, max: 2, cpu: 80}" }),
      },
      "dubbo-mesh:services[1].autoscale.cpu: is in percent of resources.requests.cpu, which is 0: set the request",
    ],
    [
      {
        services: pair({
          provider:
            "resources: {limits: {cpu: 75m}}, versions: [{name: v1, autoscale: {min: 2, max: 3, cpu: 150}}]",
        }),
      },
      "dubbo-mesh:services[0].versions[0].autoscale.cpu: is 150 percent of 50m, and limits.cpu, 75m, is no more: no pod would be added",
    ],
    [
      {
        services: pair({
          provider:
            "resources: {limits: {cpu: 76m}}, versions: [{name: v1, autoscale: {min: 2, max: 3, cpu: 150}}]",
        }),
      },
      "accepted",
    ],
  ])("are an error for %j", (raw, message) => {
    expect(errorOf({ ...LOCAL, ...raw })).toBe(message);
  });

  const resources = (given: string, runtime = "node"): string =>
    errorOf({ ...LOCAL, services: pair({ provider: `runtime: ${runtime}, resources: ${given}` }) });
  const KEY = "dubbo-mesh:services[0].resources";

  it.each([
    ["{requests: {memory: 256Mi}}", "accepted"],
    ["{requests: {memory: 0.25Gi}}", "accepted"],
    [
      "{requests: {memory: 262145Ki}}",
      `${KEY}.requests.memory: is 262145Ki, more than the default limit, 256Mi: set limits.memory, too`,
    ],
    ["{requests: {memory: 268435456}}", "accepted"],
    [
      "{requests: {memory: 268435457}}",
      `${KEY}.requests.memory: is 268435457, more than the default limit, 256Mi: set limits.memory, too`,
    ],
    ["{limits: {memory: 101M}}", "accepted"],
    [
      "{limits: {memory: 100M}}",
      `${KEY}.limits.memory: is 100M, less than the default request, 96Mi: set requests.memory, too`,
    ],
    ["{limits: {cpu: 0.05}}", "accepted"],
    [
      "{limits: {cpu: 49.9m}}",
      `${KEY}.limits.cpu: is 49.9m, less than the default request, 50m: set requests.cpu, too`,
    ],
    ["{requests: {cpu: 1001m}, limits: {cpu: 1.001}}", "accepted"],
    [
      "{requests: {cpu: 1.0011}, limits: {cpu: 1001m}}",
      `${KEY}.requests.cpu: is 1.0011, more than limits.cpu, 1001m: lower it, or raise the limit`,
    ],
    ["{requests: {memory: 2Ti}, limits: {memory: 3T}}", "accepted"],
    [
      "{requests: {memory: 2Gi}, limits: {memory: 2G}}",
      `${KEY}.requests.memory: is 2Gi, more than limits.memory, 2G: lower it, or raise the limit`,
    ],
    ["{requests: {memory: 1ki}}", `${KEY}.requests.memory: must be a quantity such as 100m, 0.5 or 256Mi`],
    [
      "{requests: {memory: 128m}}",
      `${KEY}.requests.memory: must be bytes such as 256Mi: m stands for thousandths`,
    ],
    ["{limits: {cpu: 1k}}", `${KEY}.limits.cpu: must be a number of CPUs such as 100m or 0.5`],
  ])("request no more than their limit: %s", (given, message) => {
    expect(resources(given)).toBe(message);
  });

  it("are compared with their runtime's defaults", () => {
    expect(resources("{requests: {memory: 512Mi}}", "java")).toBe("accepted");
    expect(resources("{limits: {cpu: 50m}}", "java")).toBe(
      `${KEY}.limits.cpu: is 50m, less than the default request, 100m: set requests.cpu, too`,
    );
  });

  it.each([
    // Istio's defaults are for sidecars without any annotation.
    ["{requests: {cpu: 3}}", "accepted"],
    ["{limits: {memory: 64Mi}}", "accepted"],
    [
      "{requests: {cpu: 1}, limits: {cpu: 999m}}",
      "dubbo-mesh:proxy.requests.cpu: is 1, more than limits.cpu, 999m: lower it, or raise the limit",
    ],
  ])("of sidecars request no more than their limit: %s", (proxy, message) => {
    expect(errorOf({ ...LOCAL, proxy })).toBe(message);
  });

  it("have their own resources, or those of their runtime", () => {
    const settings = parseSettings({
      ...LOCAL,
      services: pair({ provider: "runtime: java, resources: {requests: {cpu: 1}, limits: {cpu: 1.5}}" }),
      proxy: "{requests: {cpu: 20m}, limits: {memory: 128Mi}}",
    });
    const [provider, consumer] = settings.services;
    expect(provider?.resources).toEqual({
      requests: { cpu: "1", memory: "256Mi" },
      limits: { cpu: "1.5", memory: "512Mi" },
    });
    expect(consumer?.resources.requests).toEqual({ cpu: "50m", memory: "96Mi" });
    expect(proxyAnnotations(settings.proxy)).toEqual({
      "sidecar.istio.io/proxyCPU": "20m",
      "sidecar.istio.io/proxyMemoryLimit": "128Mi",
    });
    expect(proxyAnnotations(parseSettings(LOCAL).proxy)).toEqual({});
  });
});

describe("services", () => {
  const own = (keys: string): string => `{name: shop, port: 50060, offers: [shop.Cart], ${keys}}`;
  const greeter = "{app: provider}";

  it("are any number of providers and consumers", () => {
    const services = `[${greeter}, {app: consumer}, {app: relay}, ${own("image: 'r/shop:1', calls: [dubbo-samples-mesh-relay]")}]`;
    const parsed = parseSettings({ ...LOCAL, services }).services;
    expect(
      parsed.map(({ name, offers, calls, versions }) => ({ name, offers, calls, versions })),
    ).toMatchObject([
      { name: "dubbo-samples-mesh-provider", calls: [] },
      { name: "dubbo-samples-mesh-consumer", offers: [], calls: ["dubbo-samples-mesh-provider"] },
      {
        name: "dubbo-samples-mesh-relay",
        offers: ["org.apache.dubbo.samples.Relay"],
        calls: ["dubbo-samples-mesh-provider"],
        versions: [{ name: "v1", replicas: 2, weight: 100 }],
      },
      {
        name: "shop",
        offers: ["shop.Cart"],
        calls: ["dubbo-samples-mesh-relay"],
        versions: [{ name: "v1", replicas: 2, image: "r/shop:1" }],
      },
    ]);
  });

  it("override stack-wide settings", () => {
    const services = `[{app: provider, traffic: {attempts: 0, outlierDetection: {interval: 1s}}, healthCheck: fast}, ${own("image: 'r/shop:1'")}]`;
    const [first, second] = parseSettings({
      ...LOCAL,
      services,
      traffic: "{loadBalancer: LEAST_REQUEST, attempts: 3, outlierDetection: {maxEjectionPercent: 10}}",
      healthCheck: "gentle",
      drain: "20s",
    }).services;
    expect(first).toMatchObject({
      traffic: {
        loadBalancer: "LEAST_REQUEST",
        attempts: 0,
        outlierDetection: { interval: "1s", maxEjectionPercent: 10, baseEjectionTime: "30s" },
      },
      healthCheck: { interval: "0.5s" },
      drainSeconds: 20,
    });
    expect(second).toMatchObject({ traffic: { attempts: 3 }, healthCheck: { interval: "15s" } });
  });

  it.each([
    ["[]", "dubbo-mesh:services: Too small: expected array to have >=1 items"],
    ["[{}]", "dubbo-mesh:services[0].name: must be set; dubbo-mesh:services[0].port: must be set"],
    ["[3]", "dubbo-mesh:services[0]: Invalid input: expected object, received number"],
    ["{app: provider}", "dubbo-mesh:services: Invalid input: expected array, received object"],
    [`[${own("")}]`, "dubbo-mesh:services[0].image: is required unless app or build is set"],
    [
      `[${own("image: 'a:1', build: {context: shop}")}]`,
      "dubbo-mesh:services[0].build: cannot be set together with image, which is not built",
    ],
    [
      `[${own("app: shop, build: {context: shop}")}]`,
      "dubbo-mesh:services[0].build: cannot be set together with app, which the project builds",
    ],
    [
      `[${own("build: {context: /shop}")}]`,
      "dubbo-mesh:services[0].build.context: must be a path relative to the project, without spaces",
    ],
    [`[${own("build: {context: shop}")}]`, "accepted"],
    [`[${own("app: shop")}]`, "accepted"],
    [`[${own("app: ../shop")}]`, "dubbo-mesh:services[0].app: must be a folder of apps/"],
    [
      `[${own("image: 'a:1', versions: [{name: v1}], replicas: 2")}]`,
      "dubbo-mesh:services[0].replicas: cannot be set together with versions: set it for each version",
    ],
    [
      `[${greeter}, ${greeter}]`,
      "dubbo-mesh:services[1].name: is dubbo-samples-mesh-provider, the name of another service",
    ],
    [
      `[${greeter}, {app: consumer, name: dubbo-samples-mesh-provider-v1}]`,
      "dubbo-mesh:services[1].name: would create a second Deployment dubbo-samples-mesh-provider-v1",
    ],
    [
      "[{app: provider, name: default-deny}]",
      "dubbo-mesh:services[0].name: is default-deny, which is reserved: choose another name",
    ],
    [
      `[${greeter}, ${own("image: 'a:1', calls: [nobody]")}]`,
      "dubbo-mesh:services[1].calls[0]: is nobody, but no service has this name",
    ],
    [
      `[${greeter}, {app: consumer}, ${own("image: 'a:1', calls: [dubbo-samples-mesh-consumer]")}]`,
      "dubbo-mesh:services[2].calls[0]: is dubbo-samples-mesh-consumer, which offers nothing",
    ],
    [
      `[${greeter}, ${own("image: 'a:1', calls: [dubbo-samples-mesh-provider, dubbo-samples-mesh-provider]")}]`,
      "dubbo-mesh:services[1].calls[1]: is dubbo-samples-mesh-provider, which is listed twice",
    ],
    [
      "[{name: a, image: 'a:1', port: 1, offers: [a.B], calls: [a]}]",
      "dubbo-mesh:services[0].calls[0]: is a, the service itself",
    ],
    [
      `[{name: a, image: 'a:1', port: 1, offers: [a.B]}, {name: b, image: 'a:1', port: 1, offers: [A.b]}, ${own("image: 'a:1', calls: [a, b]")}]`,
      "dubbo-mesh:services[2].calls[1]: is b, which offers A.b as a does: call only one of them",
    ],
    [
      "[{app: provider, port: 22222}]",
      "dubbo-mesh:services[0].port: is 22222, the port of the probes: choose another one",
    ],
    [
      "[{app: provider, port: 15006}]",
      "dubbo-mesh:services[0].port: is 15006, a port of Istio's sidecar: choose another one",
    ],
    ["[{app: provider, offers: [a.B]}]", "accepted"],
    [
      `[${greeter}, ${own("image: 'a:1'")}, {app: consumer, calls: [shop]}]`,
      "dubbo-mesh:services[2].calls: must be one service that offers org.apache.dubbo.samples.Greeter, which app consumer calls",
    ],
    [
      `[${greeter}, {app: consumer, calls: []}]`,
      "dubbo-mesh:services[1].calls: must be one service that offers org.apache.dubbo.samples.Greeter, which app consumer calls",
    ],
    [
      `[${greeter}, {app: consumer, versions: [{name: v2}], drain: 9s}]`,
      "dubbo-mesh:services[1].versions: configures calls to the service, which offers nothing: list its gRPC services in offers; " +
        "dubbo-mesh:services[1].drain: configures calls to the service, which offers nothing: list its gRPC services in offers",
    ],
  ])("are an error with %s: %s", (services, message) => {
    expect(errorOf({ ...LOCAL, services })).toBe(message);
  });
});

describe("security settings", () => {
  it.each([
    ["{}", "true", "STRICT", true],
    ["{}", "false", "PERMISSIVE", false],
    ["mtls: PERMISSIVE", "true", "PERMISSIVE", true],
    ["authorization: false", "true", "STRICT", false],
  ])("%s with injection %s: %s, authorization %s", (security, injection, mtls, authorization) => {
    expect(parseSettings({ ...LOCAL, injection, security }).security).toMatchObject({ mtls, authorization });
  });
});

const HTTP_CHECKS = (
  [
    ["", "", false],
    ["", "image: 'r/p:1'", true],
    [", expected_statuses: [{start: 405, end: 406}]", "", true],
    [", expected_statuses: [{start: 200, end: 405}, {start: 406, end: 500}]", "", false],
    [", request_headers_to_add: [{header: {key: Content-Type, value: application/grpc}}]", "", true],
    [", request_headers_to_add: [{header: {key: accept, value: application/grpc}}]", "", false],
  ] as const
).map(([fields, provider, accepted]): [Record<string, string>, string] => [
  {
    healthCheck: `http_health_check: {path: /live, codec_client_type: HTTP2${fields}}`,
    services: pair(provider === "" ? {} : { provider }),
  },
  accepted
    ? "accepted"
    : "dubbo-mesh:healthCheck.http_health_check: is no gRPC, so app provider answers it with 405 and would never be healthy: use grpc_health_check",
]);

describe("invalid combinations", () => {
  const GREETER_PATH = "/org.apache.dubbo.samples.Greeter";
  const method = (name: string, said: string): Record<string, string> => ({
    services: pair({ provider: `methods: {"${GREETER_PATH}/${name}": {${said}}}` }),
  });
  const METHOD = (name: string): string => `dubbo-mesh:services[0].methods["${GREETER_PATH}/${name}"]`;

  it.each([
    [
      {
        services: pair({
          provider: "versions: [{name: v1, weight: 80}, {name: v2, weight: 20, replicas: 0}]",
        }),
      },
      "dubbo-mesh:services[0].versions[1].replicas: is 0, but its weight is 20: these calls would fail",
    ],
    [
      { services: pair({ provider: "routes: [{headers: {x-canary: 'yes'}, version: v3}]" }) },
      "dubbo-mesh:services[0].routes[0].version: is v3, which is not in versions (v1)",
    ],
    [
      {
        services: pair({
          provider:
            "versions: [{name: v1}, {name: v2, weight: 0, replicas: 0}], routes: [{headers: {x-canary: 'yes'}, version: v2}]",
        }),
      },
      "dubbo-mesh:services[0].routes[0].version: is v2, which has no pods: these calls would fail",
    ],
    [
      { services: pair({ provider: "routes: [{headers: {}, version: v1}]" }) },
      "dubbo-mesh:services[0].routes[0].headers: must have at least one header",
    ],
    [
      { services: pair({ provider: "routes: [{headers: {X-Canary: 'yes'}, version: v1}]" }) },
      "dubbo-mesh:services[0].routes[0].headers: must be header names in lower case",
    ],
    [
      method("greetStream", "idempotent: true"),
      `${METHOD("greetStream")}.idempotent: cannot be true for a streaming method: a stream cannot be retried`,
    ],
    [
      method("greetServerStream", "timeout: 2s"),
      `${METHOD("greetServerStream")}.timeout: cannot be set for a streaming method: it would cut the stream`,
    ],
    [
      { services: pair({ provider: "methods: {greet: {timeout: 2s}}" }) },
      "dubbo-mesh:services[0].methods.greet: must be a gRPC path such as /package.Service/method",
    ],
    [
      method("greet", "timeout: 5s"),
      `${METHOD("greet")}.timeout: must be longer than perTryTimeout, 5s, to leave time for a retry`,
    ],
    [{ ...method("greet", "timeout: 5s"), traffic: "attempts: 0" }, "accepted"],
    [method("greet", "timeout: 5s, idempotent: false"), "accepted"],
    [method("UpperCaseGreet", "timeout: 5s"), "accepted"],
    [
      { traffic: "{loadBalancer: RANDOM, warmup: 30s}" },
      "dubbo-mesh:traffic.warmup: needs loadBalancer ROUND_ROBIN or LEAST_REQUEST: Envoy has no warmup for RANDOM",
    ],
    [
      { traffic: "loadBalancer: RANDOM", services: pair({ provider: "traffic: {warmup: 30s}" }) },
      "dubbo-mesh:services[0].traffic.warmup: needs loadBalancer ROUND_ROBIN or LEAST_REQUEST: Envoy has no warmup for RANDOM",
    ],
    [
      { services: pair({ consumer: "timeout: 5s" }) },
      "dubbo-mesh:traffic.perTryTimeout: is 5s, but calls of dubbo-samples-mesh-consumer time out after 5s: a call to a hung provider " +
        "would never be retried",
    ],
    [{ services: pair({ consumer: "timeout: 5s" }), traffic: "attempts: 0" }, "accepted"],
    [{ services: pair({ consumer: "timeout: 5s", provider: "traffic: {perTryTimeout: 4s}" }) }, "accepted"],
    [
      {
        services: pair({
          consumer: "timeout: 5s",
          provider: `methods: {"${GREETER_PATH}/greet": {idempotent: false}}`,
        }),
      },
      "accepted",
    ],
    [
      { drain: "8s" },
      "dubbo-mesh:drain: is 8 s, but callers may need 8.5 s to notice: raise it, or shorten the intervals of healthCheck",
    ],
    [
      { drain: "8s", services: pair({ provider: "drain: 2s" }) },
      "dubbo-mesh:services[0].drain: is 2 s, but callers may need 8.5 s to notice: raise it, or shorten the intervals of healthCheck",
    ],
    [{ drain: "8.5s" }, "accepted"],
    [{ drain: "1s", healthCheck: "fast" }, "accepted"],
    [{ drain: "1s", services: pair({ provider: "healthCheck: fast" }) }, "accepted"],
  ])("%j is an error", (raw, message) => {
    expect(errorOf({ ...LOCAL, ...raw })).toBe(message);
  });

  it.each([
    [
      { injection: "false", security: "mtls: STRICT" },
      "dubbo-mesh:security.mtls: is STRICT, but injection is false: pods without a sidecar speak plaintext",
    ],
    [
      { injection: "false", security: "authorization: true" },
      "dubbo-mesh:security.authorization: is true, but injection is false: without sidecars nothing enforces it",
    ],
    [{ injection: "false" }, "accepted"],
    [
      { security: "{defaultDeny: true, networkPolicy: true, authorization: false}" },
      "dubbo-mesh:security.defaultDeny: needs authorization and networkPolicy: without them, all calls would be denied",
    ],
    [
      { security: "defaultDeny: true" },
      "dubbo-mesh:security.defaultDeny: needs authorization and networkPolicy: without them, all calls would be denied",
    ],
    [{ security: "{defaultDeny: true, networkPolicy: true}" }, "accepted"],
    [
      { security: "podSecurity: baseline" },
      "dubbo-mesh:security.podSecurity: is baseline, which needs Istio's CNI plugin; the local cluster has none",
    ],
    [{ security: "podSecurity: privileged" }, "accepted"],
    [{ injection: "false", security: "podSecurity: restricted" }, "accepted"],
    [
      { healthCheck: "transport_socket_match_criteria: {useMTLS: true}" },
      "dubbo-mesh:healthCheck.transport_socket_match_criteria: make the check plaintext, which security.mtls STRICT and " +
        "security.authorization reject: leave them out",
    ],
    [{ healthCheck: "transport_socket_match_criteria: {tlsMode: istio}" }, "accepted"],
    [
      { healthCheck: "tls_options: {alpn_protocols: [http1.1, h2]}" },
      "dubbo-mesh:healthCheck.tls_options.alpn_protocols: http1.1: no protocol that a sidecar listens for; leave tls_options out",
    ],
    [
      {
        services: pair({ provider: "healthCheck: {tls_options: {alpn_protocols: [h2]}}" }),
        injection: "false",
      },
      "dubbo-mesh:services[0].healthCheck.tls_options.alpn_protocols: h2: not what a sidecar takes for mTLS; leave tls_options out",
    ],
    [{ healthCheck: "tls_options: {alpn_protocols: [istio, h2]}" }, "accepted"],
    ...HTTP_CHECKS,
    [
      {
        healthCheck:
          "{transport_socket_match_criteria: {useMTLS: true}, tls_options: {alpn_protocols: [http1.1, h2]}}",
        security: "{mtls: PERMISSIVE, authorization: false}",
      },
      "accepted",
    ],
    [
      {
        healthCheck: "transport_socket_match_criteria: {useMTLS: true}",
        security: "{mtls: PERMISSIVE, authorization: false}",
      },
      "accepted",
    ],
    [
      { services: pair({ provider: "methods: {/a.B/c: {timeout: 2s}}" }) },
      'dubbo-mesh:services[0].methods["/a.B/c"]: belongs to a gRPC service that is not in offers (org.apache.dubbo.samples.Greeter)',
    ],
    [
      { services: "[{name: p, image: 'p:1', port: 1, offers: [Greeter]}]" },
      "dubbo-mesh:services[0].offers[0]: must be a gRPC service such as package.Service",
    ],
  ])("%j is an error without its prerequisites", (raw, message) => {
    expect(errorOf({ ...LOCAL, ...raw })).toBe(message);
  });

  it("the streams match the proto", () => {
    const streams = Greeter.methods.filter(({ methodKind }) => methodKind !== "unary");
    expect(STREAMS).toEqual(streams.map(({ name }) => name));
  });
});

describe("a namespace", () => {
  it.each([
    ["default", "is default, which Kubernetes never deletes, so down would fail: choose another"],
    ["kube-system", "is kube-system, and kube- stands for Kubernetes' own namespaces: choose another"],
    ["kube-mine", "is kube-mine, and kube- stands for Kubernetes' own namespaces: choose another"],
    [
      "istio-system",
      "is istio-system, Istio's own: policies there are for the whole mesh, and down would remove istiod; choose another",
    ],
  ])("is not %s", (namespace, message) => {
    expect(errorOf({ ...LOCAL, namespace })).toBe(`dubbo-mesh:namespace: ${message}`);
  });

  it.each(["kube", "istio", "default-x", "istio-system-x"])("may be %s", (namespace) => {
    expect(errorOf({ ...LOCAL, namespace })).toBe("accepted");
  });
});

describe("the longest names", () => {
  // "outbound_.50052_.v1_." and ".svc." are 26 characters.
  const named = (name: number, raw: Record<string, string> = {}): string => {
    const names = { provider: `name: ${"p".repeat(name)}`, consumer: `calls: [${"p".repeat(name)}]` };
    const long = { namespace: "n".repeat(63), clusterDomain: `${"a".repeat(60)}.${"b".repeat(60)}` };
    return errorOf({ ...LOCAL, ...long, services: pair(names), ...raw });
  };

  it("fit into the name that a caller's Envoy asks for over TLS", () => {
    expect(named(44)).toBe("accepted");
    expect(named(45)).toBe(
      "dubbo-mesh:services[0].name: makes a TLS server name of 256 characters with version v1, namespace and clusterDomain, " +
        "and Envoy accepts 255: shorten one of them",
    );
    expect(named(63, { injection: "false" })).toBe("accepted");
    expect(named(63, { namespace: "n" })).toBe("accepted");
  });
});

describe("a production stack", () => {
  const strong = {
    production: "true",
    security: "{identities: per-workload, networkPolicy: true, defaultDeny: true}",
  };

  it("accepts the strongest settings", () => {
    expect(errorOf({ ...LOCAL, ...strong })).toBe("accepted");
  });

  it("rejects each weak setting by name", () => {
    expect(
      errorOf({ ...LOCAL, production: "true", security: "{mtls: PERMISSIVE, authorization: false}" }),
    ).toBe(
      [
        "mtls: is PERMISSIVE, but production needs STRICT: pods would accept plaintext",
        "authorization: is false, but production needs true: any pod of the mesh could call the services",
        "identities: is shared, but production needs per-workload: each application would have the rights of all applications",
        "networkPolicy: is false, but production needs true: pods without a sidecar could reach the services",
        "defaultDeny: is false, but production needs true: traffic without a policy would be allowed",
      ]
        .map((text) => `dubbo-mesh:security.${text}`)
        .join("; "),
    );
  });

  it.each([
    [
      { injection: "false", security: "{}" },
      "dubbo-mesh:injection: is false, but production needs sidecars: without them there is no mesh",
    ],
    [
      { services: pair({ provider: "replicas: 1" }) },
      "dubbo-mesh:services[0].versions[0].replicas: is 1, but production needs 2: calls fail while a single pod restarts",
    ],
    [
      { services: pair({ provider: "autoscale: {min: 1, max: 3, cpu: 50}" }) },
      "dubbo-mesh:services[0].versions[0].autoscale.min: is 1, but production needs 2: calls fail while a single pod restarts",
    ],
    [
      { services: pair({ provider: "versions: [{name: v1}, {name: v2, replicas: 1, weight: 0}]" }) },
      "accepted",
    ],
    [
      { services: pair({ consumer: "image: 'a/c:1'" }) },
      "dubbo-mesh:services[1].versions[0].image: is a/c:1, but production needs a digest (NAME@sha256:...): a tag may change",
    ],
    [{ services: pair({ consumer: `image: 'a/c@sha256:${"12".repeat(32)}'` }) }, "accepted"],
  ])("accepts or rejects %j", (raw, message) => {
    expect(errorOf({ ...LOCAL, ...strong, ...raw })).toBe(message);
  });
});

describe("wrong settings", () => {
  it.each([
    [{ healthCheck: "slow" }, "dubbo-mesh:healthCheck: must be seed, fast, gentle, or Envoy's fields"],
    [{ healthCheck: "profile: slow" }, "dubbo-mesh:healthCheck.profile: must be seed, fast or gentle"],
    [{ namspace: "x" }, "dubbo-mesh:namspace: no such key"],
    [{ services: pair({ consumer: "replica: 1" }) }, "dubbo-mesh:services[1].replica: no such key"],
    [{ provider: "name: x" }, "dubbo-mesh:provider: no such key"],
    [{ healthCheck: "intervall: 1s" }, "dubbo-mesh:healthCheck.intervall: no such key"],
    [
      { healthCheck: "interval: 5" },
      "dubbo-mesh:healthCheck.interval: must be a duration in seconds such as 5s or 0.25s",
    ],
    [
      { services: pair({ provider: "versions: [{name: 1}]" }) },
      "dubbo-mesh:services[0].versions[0].name: is a number in YAML, not text: put it in quotes",
    ],
    [
      { services: pair({ provider: "routes: [{headers: {x-canary: true}, version: v1}]" }) },
      "dubbo-mesh:services[0].routes[0].headers.x-canary: is a boolean in YAML, not text: put it in quotes",
    ],
    [
      { services: "&s [{app: provider, versions: *s}]" },
      "dubbo-mesh:services[0].versions: is an alias of what contains it: write it out",
    ],
    [
      { traffic: "outlierDetection: {consecutiveGatewayErrors: 4294967296}" },
      "dubbo-mesh:traffic.outlierDetection.consecutiveGatewayErrors: Too big: expected number to be <=4294967295",
    ],
    ...["r.test/Team", "r.test/a//b", "r.test/"].map((registry): [Record<string, string>, string] => [
      { registry },
      "dubbo-mesh:registry: must be host[:port][/organisation], in lower case",
    ]),
    [
      { healthCheck: "grpc_health_check: {servicename: a}" },
      "dubbo-mesh:healthCheck.grpc_health_check.servicename: no such key",
    ],
    [
      { healthCheck: "interval: 500ms" },
      "dubbo-mesh:healthCheck.interval: must be a duration in seconds such as 5s or 0.25s",
    ],
    [{ healthCheck: "interval: 0s" }, "dubbo-mesh:healthCheck.interval: must be longer than 0s"],
    [
      { healthCheck: "tcp_health_check: {}\ngrpc_health_check: {}" },
      "dubbo-mesh:healthCheck: takes only one of grpc_health_check, http_health_check, tcp_health_check, custom_health_check",
    ],
    [
      { services: pair({ provider: "versions: [{name: v1, weight: 80}]" }) },
      "dubbo-mesh:services[0].versions: the weights must add up to 100",
    ],
    [
      { services: pair({ provider: "versions: [{name: v1, weight: 50}, {name: v1, weight: 50}]" }) },
      "dubbo-mesh:services[0].versions: two versions have the same name",
    ],
    [
      { services: pair({ provider: "versions: [{name: v1, replicas: -1}]" }) },
      "dubbo-mesh:services[0].versions[0].replicas: Too small: expected number to be >=0",
    ],
    [
      { services: pair({ provider: "promotion: {steps: [50, 25]}" }) },
      "dubbo-mesh:services[0].promotion.steps: must be in ascending order, each once",
    ],
    [
      { services: pair({ provider: "promotion: {minSuccess: 99.9}" }) },
      "dubbo-mesh:services[0].promotion.minSuccess: allows no failure in 20 calls: set calls to 1000 or more, or minSuccess to 100",
    ],
    [
      { services: pair({ consumer: "promotion: {calls: 5, minSuccess: 0}" }) },
      "dubbo-mesh:services[1].promotion: configures calls to the service, which offers nothing: list its gRPC services in offers",
    ],
    [{ injection: "perhaps" }, "dubbo-mesh:injection: Invalid input: expected boolean, received string"],
    ...["x_y", "a..b", `${"a".repeat(64)}.b`].map((clusterDomain): [Record<string, string>, string] => [
      { clusterDomain },
      "dubbo-mesh:clusterDomain: must be a DNS domain such as cluster.local",
    ]),
    [
      // 122 characters, one more than the limit.
      { clusterDomain: "ab.".repeat(40) + "cd" },
      "dubbo-mesh:clusterDomain: must have at most 121 characters",
    ],
    [
      { namespace: "Dubbo" },
      "dubbo-mesh:namespace: must be a DNS label: lower-case letters, digits and dashes, at most 63",
    ],
    ...[
      "!@!",
      "x",
      "x:latest",
      "localhost:5000/x",
      "a/Y:1",
      "x@sha256:xyz",
      `x@sha256:${"0".repeat(63)}`,
    ].map((image): [Record<string, string>, string] => [
      { services: pair({ provider: `image: '${image}'` }) },
      "dubbo-mesh:services[0].image: must be an image with a digest, or with a tag other than latest, such as registry/name:v1",
    ]),
    [
      { clusterDomain: "- &a {name: a}" },
      "dubbo-mesh:clusterDomain: must be a DNS domain such as cluster.local",
    ],
    [
      { services: "[{app: consumer, replicas: 1" },
      "dubbo-mesh:services is not YAML: unexpected end of the stream within a flow collection (2:1)",
    ],
  ])("%j give one error that names the key", (raw, message) => {
    expect(errorOf({ ...LOCAL, ...raw })).toBe(message);
  });

  it("are reported together", () => {
    expect(errorOf({ ...LOCAL, drain: "soon", platform: "amd64" })).toBe(
      'dubbo-mesh:platform: Invalid option: expected one of "linux/amd64"|"linux/arm64"; ' +
        "dubbo-mesh:drain: must be a duration in seconds such as 5s or 0.25s",
    );
  });
});

describe("Pulumi.yaml", () => {
  it("gives the item type of each array, which Pulumi requires", () => {
    const { config } = projectFile() as { config: Record<string, { type?: string; items?: object }> };
    const arrays = Object.entries(config).filter(([, { type }]) => type === "array");
    expect(arrays.map(([key, { items }]) => [key, items])).toEqual([["services", { type: "object" }]]);
  });

  it("matches the output of `npm run declarations`", () => {
    const path = new URL("../../../Pulumi.yaml", import.meta.url);
    expect(readFileSync(path, "utf8")).toBe(projectFileText());
  });
});
