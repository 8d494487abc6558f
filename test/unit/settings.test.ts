import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { javaProperties, nodeProperties } from "../../components/runtime.ts";
import { Greeter } from "../../apps/gen/greeter_pb.ts";
import { UserError } from "../../lib/errors.ts";
import { STREAMS } from "../../lib/names.ts";
import { proxyAnnotations } from "../../lib/resources.ts";
import { loadOf } from "../../lib/health-check.ts";
import { parseSettings } from "../../settings.ts";
import { projectFileText } from "../../tools/declarations.ts";

const LOCAL = { cluster: "local" };

function errorOf(raw: Record<string, string>): string {
  try {
    parseSettings(raw);
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  return "accepted";
}

describe("settings of a local stack", () => {
  it("have the seed's values where the stack is silent", () => {
    expect(parseSettings(LOCAL)).toEqual({
      cluster: "local",
      context: "dubbo-mesh",
      kubeconfig: "/var/lib/dubbo-mesh/kubeconfig",
      dockerHost: "unix:///run/dubbo-mesh/docker.sock",
      registry: "localhost:5000/dubbo-mesh",
      baseImage: "localhost:5000/dubbo-mesh/node:22",
      namespace: "dubbo-demo",
      injection: true,
      istio: { mode: "existing" },
      accessLogs: true,
      observability: { dashboard: false },
      clusterDomain: "cluster.local",
      platform: "linux/amd64",
      provider: {
        name: "dubbo-samples-mesh-provider",
        port: 50052,
        runtime: "node",
        services: ["org.apache.dubbo.samples.Greeter"],
        properties: {},
        resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
        versions: [{ name: "v1", replicas: 2, weight: 100 }],
      },
      consumer: {
        name: "dubbo-samples-mesh-consumer",
        port: 20880,
        runtime: "node",
        properties: {},
        resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
        replicas: 1,
        interval: "1s",
        timeout: "30s",
      },
      proxy: { requests: {}, limits: {} },
      traffic: {
        loadBalancer: "ROUND_ROBIN",
        attempts: 2,
        perTryTimeout: "5s",
        idempotentMethods: ["/org.apache.dubbo.samples.Greeter/greet"],
        locality: false,
        timeouts: {},
        routes: [],
        outlierDetection: {
          consecutiveGatewayErrors: 5,
          consecutive5xxErrors: 0,
          interval: "10s",
          baseEjectionTime: "30s",
          maxEjectionPercent: 50,
          minHealthPercent: 50,
        },
        connectionPool: { connectTimeout: "2s", maxRequests: 1024 },
      },
      healthCheck: {
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
        grpc_health_check: { service_name: "org.apache.dubbo.samples.Greeter" },
      },
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

  it("take nested values as YAML or JSON, and keep the other defaults", () => {
    const fromYaml = parseSettings({ ...LOCAL, consumer: "replicas: 3", injection: "false" });
    const fromJson = parseSettings({ ...LOCAL, consumer: '{"replicas": 3}', injection: "false" });
    expect(fromYaml).toEqual(fromJson);
    expect(fromYaml.consumer).toMatchObject({ replicas: 3, interval: "1s" });
    expect(fromYaml.injection).toBe(false);
  });

  it("treat an empty value as unset, as Pulumi.yaml's defaults need it", () => {
    expect(parseSettings({ ...LOCAL, context: "", revision: "", provider: "{}" })).toEqual(
      parseSettings(LOCAL),
    );
  });

  it.each([
    ["context", "dubbo-mesh:context is set, but dubbo-mesh:cluster is local, which has its own"],
    ["kubeconfig", "dubbo-mesh:kubeconfig is set, but dubbo-mesh:cluster is local, which has its own"],
  ])("refuse %s", (key, message) => {
    expect(errorOf({ ...LOCAL, [key]: "x" })).toBe(message);
  });
});

describe("settings of a stack on an existing cluster", () => {
  it("need a context", () => {
    expect(errorOf({})).toBe(
      "dubbo-mesh:context is not set: the stack does not say which cluster it deploys to",
    );
  });

  it("need a registry where an image is built", () => {
    const message = "dubbo-mesh:registry is not set: the stack does not say where its images are pushed to";
    expect(errorOf({ context: "minikube" })).toBe(message);
    expect(errorOf({ context: "minikube", provider: "image: a/p:1" })).toBe(message);
    expect(errorOf({ context: "minikube", provider: "image: a/p:1", consumer: "image: a/c:1" })).toBe(
      "accepted",
    );
  });

  it("need no registry where the images are Apache's Java ones, or each version has its own", () => {
    const message = "dubbo-mesh:registry is not set: the stack does not say where its images are pushed to";
    const java = { context: "minikube", provider: "runtime: java" };
    expect(errorOf(java)).toBe(message);
    expect(errorOf({ ...java, consumer: "runtime: java" })).toBe("accepted");
    const versions = "{name: v1, weight: 60, image: a/p:1}, {name: v2, weight: 40";
    const given = { context: "minikube", consumer: "image: a/c:1" };
    expect(errorOf({ ...given, provider: `versions: [${versions}}]` })).toBe(message);
    expect(errorOf({ ...given, provider: `versions: [${versions}, image: a/p:2}]` })).toBe("accepted");
  });

  it("take Node.js from the public image and use docker's and kubectl's own defaults", () => {
    const settings = parseSettings({ context: "minikube", registry: "docker.io/me" });
    expect(settings).toMatchObject({
      context: "minikube",
      registry: "docker.io/me",
      baseImage: "node:22-bookworm-slim",
      kubeconfig: undefined,
      dockerHost: undefined,
    });
  });
});

describe("settings of a Java stack", () => {
  const images = (provider: string): (string | undefined)[] =>
    parseSettings({ ...LOCAL, provider }).provider.versions.map(({ image }) => image);

  it("run Apache's images where the stack names none, a version's own before the provider's", () => {
    const versions = (v2: string): string =>
      `versions: [{name: v1, weight: 80}, {name: v2, weight: 20${v2}}]`;
    expect(images(`runtime: java\n${versions("")}`)).toEqual([
      "apache/dubbo-demo:dubbo-samples-mesh-provider-v1_0.0.1",
      "apache/dubbo-demo:dubbo-samples-mesh-provider-v2_0.0.1",
    ]);
    expect(images(`runtime: java\n${versions(", image: 'a/p:2'")}`)).toEqual([
      "apache/dubbo-demo:dubbo-samples-mesh-provider-v1_0.0.1",
      "a/p:2",
    ]);
    expect(images(`runtime: java\nimage: a/p:1\n${versions(", image: 'a/p:2'")}`)).toEqual([
      "a/p:1",
      "a/p:2",
    ]);
    expect(images(`image: a/p:1\n${versions(", image: 'a/p:2'")}`)).toEqual(["a/p:1", "a/p:2"]);
    expect(images(versions(", image: 'a/p:2'"))).toEqual([undefined, "a/p:2"]);
    const consumer = (text: string): unknown => parseSettings({ ...LOCAL, consumer: text }).consumer;
    expect(consumer("runtime: java")).toMatchObject({
      image: "apache/dubbo-demo:dubbo-samples-mesh-consumer_0.0.1",
      interval: "5s",
    });
    expect(consumer("{runtime: java, image: 'a/c:1', interval: 2s}")).toMatchObject({
      image: "a/c:1",
      interval: "2s",
    });
  });

  it("need an image for a version that Apache has none of", () => {
    const provider = "{runtime: java, versions: [{name: v1, weight: 80}, {name: constructor, weight: 20}]}";
    expect(errorOf({ ...LOCAL, provider })).toBe(
      "dubbo-mesh:provider.versions[1].image: is not set, and Apache publishes Java images of v1 and v2 only",
    );
  });
});

describe("Dubbo properties of an application", () => {
  it("are text, also where YAML has a number or a boolean", () => {
    const properties = "{dubbo.a.b: 8, dubbo.a.c-d: false, dubbo.a.e: 'x \"y\"', dubbo.a.f: ''}";
    const { provider, consumer } = parseSettings({ ...LOCAL, provider: `properties: ${properties}` });
    expect(provider.properties).toEqual({
      "dubbo.a.b": "8",
      "dubbo.a.c-d": "false",
      "dubbo.a.e": 'x "y"',
      "dubbo.a.f": "",
    });
    expect(consumer.properties).toEqual({});
  });

  const refused = (application: string, property: string): string =>
    errorOf({ ...LOCAL, [application]: JSON.stringify({ properties: { [property]: "1" } }) });

  it.each([
    ["provider", "dubbo.application.name", "use provider.name"],
    ["consumer", "dubbo.application.name", "use consumer.name"],
    ["provider", "dubbo.application.version", "use provider.versions"],
    ["consumer", "dubbo.application.version", "it is v1, the label of the pods"],
    ["provider", "dubbo.protocol.port", "use provider.port"],
    ["consumer", "dubbo.protocol.port", "use consumer.port"],
    ["provider", "dubbo.application.qos-port", "the probes ask port 22222"],
    ["consumer", "dubbo.application.qosPort", "the probes ask port 22222"],
    ["provider", "dubbo.service.shutdown.wait", "use drain"],
    ["provider", "dubbo.service.shutdown.timeout", "use consumer.timeout"],
    ["consumer", "dubbo.consumer.timeout", "use consumer.timeout"],
    ["consumer", "dubbo.consumer.interval", "use consumer.interval"],
    ["consumer", "dubbo.reference.providedBy", "use provider.name"],
    ["consumer", "dubbo.reference.provider-port", "use provider.port"],
    ["consumer", "dubbo.reference.org.apache.dubbo.samples.Greeter.providerPort", "use provider.port"],
  ])("are refused where the stack sets them: %s %s", (application, property, advice) => {
    expect(refused(application, property)).toBe(
      `dubbo-mesh:${application}.properties["${property}"]: is set by the stack itself: ${advice}`,
    );
  });

  it.each(["provider", "consumer"] as const)(
    "cannot take the place of what the stack sets: %s",
    (application) => {
      const called = { timeoutMs: 1, intervalMs: 1, providedBy: "p", providerPort: 1, clusterDomain: "c" };
      const plain = {
        application: "a",
        version: "v",
        port: 1,
        drainSeconds: 1,
        finishSeconds: 1,
        properties: {},
      };
      const spec = { ...plain, ...(application === "consumer" && { reference: called }) };
      const properties = [nodeProperties, javaProperties].flatMap((of) => Object.keys(of(spec)));
      expect(properties.length).toBeGreaterThan(12);
      for (const property of properties) {
        expect(refused(application, property)).toMatch(/: is set by the stack itself: /);
      }
    },
  );

  it.each([
    "application.name",
    "dubbo",
    "dubbo.",
    "dubbo.a..b",
    "dubbo.a b",
    "dubbo.1",
    "Dubbo.a",
    "dubbo.a=b",
  ])("have names of Dubbo's kind, not %j", (name) => {
    const key = name.includes(".") ? `["${name}"]` : `.${name}`;
    expect(refused("consumer", name)).toBe(
      `dubbo-mesh:consumer.properties${key}: is no name of a Dubbo property such as dubbo.application.log-format`,
    );
  });

  it.each([
    ["{dubbo.a.b: [1]}", '["dubbo.a.b"]: must be text, a number, true or false'],
    ['{dubbo.a.b: "x\\ny"}', '["dubbo.a.b"]: must be one line without control characters'],
    [
      "{dubbo.a.logFormat: a, dubbo.a.log-format: b}",
      '["dubbo.a.log-format"]: is there twice, in two spellings',
    ],
  ])("are one line of text each: %s", (properties, message) => {
    expect(errorOf({ ...LOCAL, provider: `properties: ${properties}` })).toBe(
      `dubbo-mesh:provider.properties${message}`,
    );
  });
});

describe("the health check's load", () => {
  it("follows from the pods of both sides", () => {
    const provider = "versions: [{name: v1, weight: 80, replicas: 3}, {name: v2, weight: 20, replicas: 1}]";
    const settings = parseSettings({ ...LOCAL, healthCheck: "fast", consumer: "replicas: 2", provider });
    const { checksPerSecond, perProviderPod } = loadOf(settings);
    expect(checksPerSecond).toBeCloseTo(8 / 0.55);
    expect(perProviderPod).toBeCloseTo(2 / 0.55);
  });

  it("is bounded by the budget", () => {
    const consumers = (replicas: number): Record<string, string> => ({
      ...LOCAL,
      healthCheck: "fast",
      consumer: `replicas: ${replicas}`,
    });
    expect(errorOf(consumers(55))).toBe("accepted");
    expect(errorOf(consumers(56))).toBe(
      "dubbo-mesh:healthCheckBudget: the health check asks each provider pod for 101.8 checks/s (56 consumer pods), more than 100: " +
        "choose a longer interval, such as healthCheck: gentle, or raise the budget",
    );
    expect(errorOf({ ...consumers(56), healthCheckBudget: "102" })).toBe("accepted");
    expect(errorOf({ ...consumers(56), healthCheck: "gentle" })).toBe("accepted");
  });
});

describe("pods", () => {
  const autoscale = "autoscale: {min: 2, max: 5, cpu: 80}";

  it("are a number, or as many as an autoscaler takes", () => {
    const provider = `versions: [{name: v1, weight: 80, ${autoscale}}, {name: v2, weight: 20}]`;
    const settings = parseSettings({ ...LOCAL, healthCheck: "fast", consumer: autoscale, provider });
    const scale = { min: 2, max: 5, cpu: 80 };
    expect(settings.provider.versions).toEqual([
      { name: "v1", weight: 80, autoscale: scale },
      { name: "v2", weight: 20, replicas: 2 },
    ]);
    expect(settings.consumer).toMatchObject({ autoscale: scale });
    expect(settings.consumer.replicas).toBeUndefined();
    // 5 consumers, 5 + 2 providers.
    expect(loadOf(settings).checksPerSecond).toBeCloseTo(35 / 0.55);
  });

  it.each([
    [
      { consumer: `{replicas: 2, ${autoscale}}` },
      "dubbo-mesh:consumer.replicas: is set beside autoscale, which decides on it",
    ],
    [
      { provider: `versions: [{name: v1, replicas: 2, ${autoscale}}]` },
      "dubbo-mesh:provider.versions[0].replicas: is set beside autoscale, which decides on it",
    ],
    [
      { consumer: "autoscale: {min: 3, max: 2, cpu: 80}" },
      "dubbo-mesh:consumer.autoscale.max: must be min or more",
    ],
    [
      { consumer: "autoscale: {min: 0, max: 2, cpu: 80}" },
      "dubbo-mesh:consumer.autoscale.min: Too small: expected number to be >=1",
    ],
    [
      { consumer: "resources: {requests: {cpu: much}}" },
      "dubbo-mesh:consumer.resources.requests.cpu: must be a quantity such as 100m, 0.5 or 256Mi",
    ],
    [{ proxy: "requests: {gpu: 1}" }, "dubbo-mesh:proxy.requests.gpu: no such key"],
  ])("of %j are refused", (raw, message) => {
    expect(errorOf({ ...LOCAL, ...raw })).toBe(message);
  });

  it("have resources of their own, or their runtime's", () => {
    const settings = parseSettings({
      ...LOCAL,
      provider: "{runtime: java, resources: {requests: {cpu: 1}, limits: {cpu: 1.5}}}",
      proxy: "{requests: {cpu: 20m}, limits: {memory: 128Mi}}",
    });
    expect(settings.provider.resources).toEqual({
      requests: { cpu: "1", memory: "256Mi" },
      limits: { cpu: "1.5", memory: "512Mi" },
    });
    expect(settings.consumer.resources.requests).toEqual({ cpu: "50m", memory: "96Mi" });
    expect(proxyAnnotations(settings.proxy)).toEqual({
      "sidecar.istio.io/proxyCPU": "20m",
      "sidecar.istio.io/proxyMemoryLimit": "128Mi",
    });
    expect(proxyAnnotations(parseSettings(LOCAL).proxy)).toEqual({});
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

describe("what cannot work", () => {
  const GREETER_PATH = "/org.apache.dubbo.samples.Greeter";

  it.each([
    [
      { provider: "versions: [{name: v1, weight: 80}, {name: v2, weight: 20, replicas: 0}]" },
      "dubbo-mesh:provider.versions[1].replicas: is 0, but its weight is 20: nobody would answer",
    ],
    [
      { traffic: "routes: [{headers: {x-canary: 'yes'}, version: v3}]" },
      "dubbo-mesh:traffic.routes[0].version: is v3, which provider.versions does not have (v1)",
    ],
    [
      {
        provider: "versions: [{name: v1}, {name: v2, weight: 0, replicas: 0}]",
        traffic: "routes: [{headers: {x-canary: 'yes'}, version: v2}]",
      },
      "dubbo-mesh:traffic.routes[0].version: is v2, which has no replicas: nobody would answer",
    ],
    [
      { traffic: "routes: [{headers: {}, version: v1}]" },
      "dubbo-mesh:traffic.routes[0].headers: must name a header",
    ],
    [
      { traffic: "routes: [{headers: {X-Canary: 'yes'}, version: v1}]" },
      "dubbo-mesh:traffic.routes[0].headers: must be names of headers in lower case",
    ],
    [
      { traffic: `idempotentMethods: ["${GREETER_PATH}/greetStream"]` },
      "dubbo-mesh:traffic.idempotentMethods[0]: is a stream, which cannot be repeated once it has begun",
    ],
    [
      { traffic: `timeouts: {"${GREETER_PATH}/greetServerStream": 2s}` },
      `dubbo-mesh:traffic.timeouts["${GREETER_PATH}/greetServerStream"]: is a stream, which a timeout would cut`,
    ],
    [
      { traffic: "timeouts: {greet: 2s}" },
      "dubbo-mesh:traffic.timeouts.greet: must be a gRPC path such as /package.Service/method",
    ],
    [
      { traffic: `timeouts: {"${GREETER_PATH}/greet": 5s}` },
      `dubbo-mesh:traffic.timeouts["${GREETER_PATH}/greet"]: must be longer than perTryTimeout, 5s, or no try follows the first`,
    ],
    [{ traffic: `{attempts: 0, timeouts: {"${GREETER_PATH}/greet": 5s}}` }, "accepted"],
    [
      { traffic: "{loadBalancer: RANDOM, warmup: 30s}" },
      "dubbo-mesh:traffic.warmup: needs loadBalancer ROUND_ROBIN or LEAST_REQUEST: Envoy's RANDOM knows none",
    ],
    [
      { consumer: "timeout: 5s" },
      "dubbo-mesh:traffic.perTryTimeout: is 5s, but a call ends after consumer.timeout, 5s: a provider that hangs would never be retried",
    ],
    [{ consumer: "timeout: 5s", traffic: "attempts: 0" }, "accepted"],
    [{ consumer: "timeout: 5s", traffic: "idempotentMethods: []" }, "accepted"],
    [
      { drain: "8s" },
      "dubbo-mesh:drain: is 8s, but callers may notice only after 8.5 s: healthCheck says when",
    ],
    [{ drain: "8.5s" }, "accepted"],
    [{ drain: "1s", healthCheck: "fast" }, "accepted"],
  ])("%j is refused before anything is applied", (raw, message) => {
    expect(errorOf({ ...LOCAL, ...raw })).toBe(message);
  });

  it.each([
    [
      { injection: "false", security: "mtls: STRICT" },
      "dubbo-mesh:security.mtls: is STRICT, but injection is false: pods without a sidecar speak plaintext",
    ],
    [
      { injection: "false", security: "authorization: true" },
      "dubbo-mesh:security.authorization: is true, but injection is false: nobody would enforce it",
    ],
    [{ injection: "false" }, "accepted"],
    [
      { security: "{defaultDeny: true, networkPolicy: true, authorization: false}" },
      "dubbo-mesh:security.defaultDeny: needs authorization and networkPolicy, else nothing could be called",
    ],
    [
      { security: "defaultDeny: true" },
      "dubbo-mesh:security.defaultDeny: needs authorization and networkPolicy, else nothing could be called",
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
        "security.authorization refuse: leave it out",
    ],
    [{ healthCheck: "transport_socket_match_criteria: {tlsMode: istio}" }, "accepted"],
    [
      {
        healthCheck: "transport_socket_match_criteria: {useMTLS: true}",
        security: "{mtls: PERMISSIVE, authorization: false}",
      },
      "accepted",
    ],
    [
      { traffic: "idempotentMethods: [/a.B/c]" },
      "dubbo-mesh:traffic.idempotentMethods[0]: is of a service that provider.services does not have (org.apache.dubbo.samples.Greeter)",
    ],
    [
      { traffic: "timeouts: {/a.B/c: 2s}" },
      'dubbo-mesh:traffic.timeouts["/a.B/c"]: is of a service that provider.services does not have (org.apache.dubbo.samples.Greeter)',
    ],
    [{ traffic: "idempotentMethods: [/a.B/c]", provider: "services: [a.B]" }, "accepted"],
    [
      { provider: "services: [Greeter]" },
      "dubbo-mesh:provider.services[0]: must be a gRPC service such as package.Service",
    ],
    [
      { provider: "name: same", consumer: "name: same" },
      "dubbo-mesh:consumer.name: is the provider's name as well",
    ],
  ])("%j is refused where its ground is missing", (raw, message) => {
    expect(errorOf({ ...LOCAL, ...raw })).toBe(message);
  });

  it("streams are those of the proto", () => {
    const streams = Greeter.methods.filter(({ methodKind }) => methodKind !== "unary");
    expect(STREAMS).toEqual(streams.map(({ name }) => name));
  });
});

describe("wrong settings", () => {
  it.each([
    [
      { healthCheck: "slow" },
      "dubbo-mesh:healthCheck: must be seed, fast, gentle, or fields in Envoy's words",
    ],
    [{ healthCheck: "profile: slow" }, "dubbo-mesh:healthCheck.profile: must be seed, fast or gentle"],
    [{ namspace: "x" }, "dubbo-mesh:namspace: no such key"],
    [{ consumer: "replica: 1" }, "dubbo-mesh:consumer.replica: no such key"],
    [{ healthCheck: "intervall: 1s" }, "dubbo-mesh:healthCheck.intervall: no such key"],
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
      "dubbo-mesh:healthCheck: takes one of grpc_health_check, http_health_check, tcp_health_check, custom_health_check",
    ],
    [
      { provider: "versions: [{name: v1, weight: 80}]" },
      "dubbo-mesh:provider.versions: the weights must add up to 100",
    ],
    [
      { provider: "versions: [{name: v1, weight: 50}, {name: v1, weight: 50}]" },
      "dubbo-mesh:provider.versions: two versions have the same name",
    ],
    [
      { provider: "versions: [{name: v1, replicas: -1}]" },
      "dubbo-mesh:provider.versions[0].replicas: Too small: expected number to be >=0",
    ],
    [{ injection: "perhaps" }, "dubbo-mesh:injection: Invalid input: expected boolean, received string"],
    [
      { namespace: "Dubbo" },
      "dubbo-mesh:namespace: must be a DNS label: lower-case letters, digits and dashes, at most 63",
    ],
    [
      { traffic: "idempotentMethods: [greet]" },
      "dubbo-mesh:traffic.idempotentMethods[0]: must be a gRPC path such as /package.Service/method",
    ],
    [
      { consumer: "{replicas: 1" },
      "dubbo-mesh:consumer is not YAML: unexpected end of the stream within a flow collection (2:1)",
    ],
  ])("%j are one error that names the key", (raw, message) => {
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
  it("is what `npm run declarations` makes of the schema", () => {
    const path = new URL("../../Pulumi.yaml", import.meta.url);
    expect(readFileSync(path, "utf8")).toBe(projectFileText());
  });
});
