import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { UserError } from "../../lib/errors.ts";
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
      accessLogs: true,
      clusterDomain: "cluster.local",
      platform: "linux/amd64",
      provider: {
        name: "dubbo-samples-mesh-provider",
        port: 50052,
        versions: [{ name: "v1", replicas: 2, weight: 100 }],
      },
      consumer: {
        name: "dubbo-samples-mesh-consumer",
        port: 20880,
        replicas: 1,
        interval: "1s",
        timeout: "30s",
      },
      traffic: {
        loadBalancer: "ROUND_ROBIN",
        attempts: 2,
        perTryTimeout: "5s",
        idempotentMethods: ["/org.apache.dubbo.samples.Greeter/greet"],
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

  it("start images from the public Node image and use docker's and kubectl's own defaults", () => {
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

describe("wrong settings", () => {
  it.each([
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
