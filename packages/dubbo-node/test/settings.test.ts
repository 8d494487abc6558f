import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { Relay } from "../../../apps/gen/relay_pb.ts";
import { SettingsError } from "../src/error.ts";
import { applicationSettings, readSettings, referenceSettings } from "../src/settings.ts";

const schema = applicationSettings({ port: 50_052, version: "1.0.0" }).extend(
  referenceSettings({ services: [Greeter, Relay], providedBy: "a-provider" }).shape,
);

const DEFAULTS = {
  "dubbo.application.name": "a",
  "dubbo.application.version": "v1",
  "dubbo.protocol.port": 50_052,
  "dubbo.provider.version": "1.0.0",
  "dubbo.protocol.payload": 8_388_608,
  "dubbo.rpc.tri.resolve-fallback-to-default": true,
  "dubbo.tri.builtin.service.init": false,
  "dubbo.application.qos-enable": true,
  "dubbo.application.qos-port": 22_222,
  "dubbo.application.qos-accept-foreign-ip": false,
  "dubbo.application.qos-anonymous-access-permission-level": "PUBLIC",
  "dubbo.application.qos-anonymous-allow-commands": [],
  "dubbo.application.log-format": "text",
  "dubbo.service.shutdown.wait": 10_000,
  "dubbo.service.shutdown.timeout": 15_000,
  "dubbo.registry.address": "N/A",
  "dubbo.protocol.name": "tri",
  "dubbo.consumer.mesh-enable": "true",
  "dubbo.application.metadata-service-port": 20_885,
  "dubbo.consumer.timeout": 30_000,
  "dubbo.reference.provided-by": "a-provider",
  "dubbo.reference.provider-port": 50_052,
  POD_NAMESPACE: "default",
  CLUSTER_DOMAIN: "cluster.local",
};

const scratch = mkdtempSync(join(tmpdir(), "dubbo-mesh-settings-"));
afterAll(() => {
  rmSync(scratch, { recursive: true });
});

function file(name: string, text: string): string {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
}

function problem(environment: Record<string, string>): string {
  try {
    readSettings(schema, environment);
  } catch (error) {
    expect(error).toBeInstanceOf(SettingsError);
    return (error as Error).message;
  }
  return "none";
}

test("uses Dubbo's defaults, and ignores other variables", () => {
  expect(readSettings(schema, { DUBBO_APPLICATION_NAME: "a", HOME: "/" })).toEqual({
    settings: DEFAULTS,
    unknown: [],
  });
});

test("reads values of each type, up to the largest allowed", () => {
  const environment = {
    DUBBO_APPLICATION_NAME: "a",
    DUBBO_PROTOCOL_PORT: "1",
    DUBBO_PROTOCOL_PAYLOAD: "1073741824",
    DUBBO_RPC_TRI_RESOLVE_FALLBACK_TO_DEFAULT: "false",
    DUBBO_APPLICATION_QOS_PORT: "65535",
    DUBBO_APPLICATION_QOS_ACCEPT_FOREIGN_IP: "TRUE",
    DUBBO_APPLICATION_QOS_ANONYMOUS_ACCESS_PERMISSION_LEVEL: "protected",
    DUBBO_APPLICATION_QOS_ANONYMOUS_ALLOW_COMMANDS: "ls, metrics,",
    DUBBO_APPLICATION_LOG_FORMAT: "json",
    DUBBO_SERVICE_SHUTDOWN_WAIT: "86400000",
    DUBBO_CONSUMER_GROUP: "g",
    POD_NAMESPACE: "team-7.x",
  };
  expect(readSettings(schema, environment).settings).toEqual({
    ...DEFAULTS,
    "dubbo.protocol.port": 1,
    "dubbo.protocol.payload": 1_073_741_824,
    "dubbo.rpc.tri.resolve-fallback-to-default": false,
    "dubbo.application.qos-port": 65_535,
    "dubbo.application.qos-accept-foreign-ip": true,
    "dubbo.application.qos-anonymous-access-permission-level": "PROTECTED",
    "dubbo.application.qos-anonymous-allow-commands": ["ls", "metrics"],
    "dubbo.application.log-format": "json",
    "dubbo.service.shutdown.wait": 86_400_000,
    "dubbo.consumer.group": "g",
    POD_NAMESPACE: "team-7.x",
  });
});

// Files from chapter 5 of the sample.
const SEED_PROVIDER = `# provider
dubbo.application.name=dubbo-samples-mesh-provider
dubbo.application.metadataServicePort=20885
dubbo.registry.address=N/A
dubbo.protocol.name=tri
dubbo.protocol.port=50052
dubbo.application.qosEnable=true
# 为了使 Kubernetes 集群能够正常访问到探针，需要开启 QOS 允许远程访问，此操作有可能带来安全风险，请仔细评估后再打开
dubbo.application.qosAcceptForeignIp=true

`;
const SEED_CONSUMER = SEED_PROVIDER.replace("# provider", "# consumer")
  .replace("mesh-provider", "mesh-consumer")
  .replace("50052", "20880\ndubbo.consumer.timeout=30000");

test.each([
  ["provider", SEED_PROVIDER, 50_052],
  ["consumer", SEED_CONSUMER, 20_880],
])("reads the sample's file of the %s", (name, text, port) => {
  const path = file(`dubbo-${name}.properties`, text);
  expect(readSettings(schema, { DUBBO_PROPERTIES_FILE: path })).toEqual({
    settings: {
      ...DEFAULTS,
      "dubbo.application.name": `dubbo-samples-mesh-${name}`,
      "dubbo.protocol.port": port,
      "dubbo.application.qos-accept-foreign-ip": true,
    },
    unknown: [],
  });
});

test("reads nested keys of a YAML file; the environment takes precedence", () => {
  const path = file(
    "application.yml",
    "dubbo:\n  application: { name: from-file, qosPort: 1000 }\n  protocol:\n    port: 2000\ndubbo.consumer.timeout: 5\nserver: { port: [1] }\n",
  );
  const { settings } = readSettings(schema, { DUBBO_PROPERTIES_FILE: path, DUBBO_PROTOCOL_PORT: "3000" });
  expect(settings).toEqual({
    ...DEFAULTS,
    "dubbo.application.name": "from-file",
    "dubbo.application.qos-port": 1000,
    "dubbo.protocol.port": 3000,
    "dubbo.consumer.timeout": 5,
  });
});

test("warns of unknown names under dubbo., but not of Kubernetes' variables", () => {
  const path = file("some.properties", "dubbo.application.name=a\ndubbo.consumer.retires=1\nspring.main=x\n");
  const environment = {
    DUBBO_PROPERTIES_FILE: path,
    DUBBO_PROTOCOL_PROT: "1",
    DUBBO_SAMPLES_MESH_PROVIDER_SERVICE_HOST: "10.0.0.1",
    DUBBO_SAMPLES_MESH_PROVIDER_PORT: "tcp://10.0.0.1:50052",
  };
  expect(readSettings(schema, environment).unknown).toEqual([
    "DUBBO_PROTOCOL_PROT",
    "dubbo.consumer.retires",
  ]);
});

test("reads a provider for each service, and warns of a misspelt one", () => {
  const path = file(
    "references.properties",
    "dubbo.application.name=a\n" +
      "dubbo.reference.org.apache.dubbo.samples.Greeter.provided-by=from-file\n" +
      "dubbo.reference.org.apache.dubbo.samples.Greeter.providerPort=1\n" +
      "dubbo.reference.org.apache.dubbo.samples.Greter.provided-by=from-file\n",
  );
  const environment = {
    DUBBO_PROPERTIES_FILE: path,
    DUBBO_REFERENCE_PROVIDED_BY: "of-all",
    DUBBO_REFERENCE_ORG_APACHE_DUBBO_SAMPLES_GREETER_PROVIDED_BY: "from-environment",
    DUBBO_REFERENCE_ORG_APACHE_DUBBO_SAMPLES_RELAY_PROVIDER_PORT: "2",
    DUBBO_REFERENCE_ORG_APACHE_DUBBO_SAMPLES_RELAIS_PROVIDER_PORT: "3",
  };
  expect(readSettings(schema, environment)).toEqual({
    settings: {
      ...DEFAULTS,
      "dubbo.reference.provided-by": "of-all",
      "dubbo.reference.org.apache.dubbo.samples.greeter.provided-by": "from-environment",
      "dubbo.reference.org.apache.dubbo.samples.greeter.provider-port": 1,
      "dubbo.reference.org.apache.dubbo.samples.relay.provider-port": 2,
    },
    unknown: [
      "DUBBO_REFERENCE_ORG_APACHE_DUBBO_SAMPLES_RELAIS_PROVIDER_PORT",
      "dubbo.reference.org.apache.dubbo.samples.greter.provided-by",
    ],
  });
});

test.each([
  ["DUBBO_PROTOCOL_PORT", "0", "must be a whole number from 1 to 65535"],
  ["DUBBO_PROTOCOL_PORT", "65536", "must be a whole number from 1 to 65535"],
  ["DUBBO_PROTOCOL_PORT", "50052x", "must be a whole number from 1 to 65535"],
  ["DUBBO_PROTOCOL_PORT", "1e3", "must be a whole number from 1 to 65535"],
  ["DUBBO_PROTOCOL_PORT", "", "must be a whole number from 1 to 65535"],
  ["DUBBO_SERVICE_SHUTDOWN_WAIT", "86400001", "must be a whole number from 0 to 86400000"],
  ["DUBBO_SERVICE_SHUTDOWN_WAIT", "1.5", "must be a whole number from 0 to 86400000"],
  ["DUBBO_APPLICATION_NAME", "two words", "must be 1 to 200 visible ASCII characters without spaces"],
  ["DUBBO_APPLICATION_QOS_ENABLE", "yes", "must be true or false"],
  ["DUBBO_APPLICATION_LOG_FORMAT", "xml", "must be text or json"],
  [
    "DUBBO_APPLICATION_QOS_ANONYMOUS_ACCESS_PERMISSION_LEVEL",
    "all",
    "must be NONE, PUBLIC, PROTECTED or PRIVATE",
  ],
  ["DUBBO_PROVIDER_VERSION", "1:0", "must be letters, digits, dots, dashes and underscores"],
  [
    "DUBBO_REGISTRY_ADDRESS",
    "zookeeper://z:2181",
    "must be N/A: the mesh finds the providers; there is no registry",
  ],
  ["DUBBO_PROTOCOL_NAME", "dubbo", "must be tri: the mesh carries Triple"],
  ["DUBBO_CONSUMER_MESH_ENABLE", "false", "must be true: calls always go through the mesh"],
  [
    "DUBBO_REFERENCE_ORG_APACHE_DUBBO_SAMPLES_GREETER_PROVIDED_BY",
    "A Provider",
    "must be a DNS name: lower-case letters, digits, dashes and dots",
  ],
  [
    "DUBBO_REFERENCE_ORG_APACHE_DUBBO_SAMPLES_RELAY_PROVIDER_PORT",
    "70000",
    "must be a whole number from 1 to 65535",
  ],
  ["POD_NAMESPACE", "Team", "must be a DNS name: lower-case letters, digits, dashes and dots"],
])("rejects %s=%j", (name, value, reason) => {
  expect(problem({ DUBBO_APPLICATION_NAME: "a", [name]: value })).toBe(
    `${name} is ${JSON.stringify(value)}: ${reason}`,
  );
});

test("reports all wrong settings at once, with their sources", () => {
  const path = file("wrong.properties", "dubbo.protocol.port=-1\n");
  expect(problem({ DUBBO_PROPERTIES_FILE: path, DUBBO_APPLICATION_QOS_PORT: "x" })).toBe(
    "dubbo.application.name (DUBBO_APPLICATION_NAME) is not set; " +
      `dubbo.protocol.port in ${path} is "-1": must be a whole number from 1 to 65535; ` +
      'DUBBO_APPLICATION_QOS_PORT is "x": must be a whole number from 1 to 65535',
  );
});

test.each([
  [
    "none.properties",
    undefined,
    /^DUBBO_PROPERTIES_FILE is ".*none\.properties", which cannot be read: ENOENT/,
  ],
  ["broken.yaml", "a: [", /^DUBBO_PROPERTIES_FILE is ".*broken\.yaml", which cannot be read: unexpected end/],
  [
    "list.yaml",
    "dubbo: { protocol: [1] }",
    /which cannot be read: dubbo\.protocol must be text, a number, true or false$/,
  ],
  [
    "settings.ini",
    "",
    /^DUBBO_PROPERTIES_FILE is ".*settings\.ini": must end in \.properties, \.yaml or \.yml$/,
  ],
] as const)("reports an unusable file as one error: %s", (name, text, message) => {
  const path = text === undefined ? join(scratch, name) : file(name, text);
  expect(problem({ DUBBO_APPLICATION_NAME: "a", DUBBO_PROPERTIES_FILE: path })).toMatch(message);
});
