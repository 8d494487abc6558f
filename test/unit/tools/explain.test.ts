import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { UserError } from "../../../common/errors.ts";
import { toYaml } from "../../../common/yaml.ts";
import { explain } from "../../../tools/explain/explain.ts";
import { explanationText } from "../../../tools/explain/text.ts";
import { allKeys } from "../../../tools/keys.ts";
import { readStackFile, type StackFile } from "../../../stack/stack-file.ts";
import { userError } from "./user-error.ts";

const PROVIDER = { app: "provider", image: "r.test/provider:1" };
const CONSUMER = { app: "consumer", image: "r.test/consumer:1" };

async function stack(config: Readonly<Record<string, unknown>> = {}): Promise<StackFile> {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  const all = { cluster: "local", services: [PROVIDER, CONSUMER], ...config };
  const prefixed = Object.entries(all).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
  writeFileSync(
    join(directory, "Pulumi.test.yaml"),
    toYaml({ config: Object.fromEntries(prefixed) as object }),
  );
  return readStackFile(directory, "test");
}

/** Returns the explanation with one space between its columns. */
async function explained(key: string, config?: Readonly<Record<string, unknown>>): Promise<string[]> {
  const text = explanationText(await explain(await stack(config), key));
  return text.split("\n").map((line) => line.trim().replaceAll(/ {2,}/g, " "));
}

// Explaining needs no command: neither docker nor kubectl nor pulumi.
beforeEach(() => {
  vi.stubEnv("PATH", "/nowhere");
});

const APP = "spec.template.spec.containers[app]";
const HOST = "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";

describe("an explained setting", () => {
  it("lists all fields of a port", async () => {
    expect(await explained("dubbo-mesh:services[0].port")).toEqual([
      "dubbo-mesh:services[0].port: Triple port",
      "is 50052, from app provider",
      "with 50053:",
      "AuthorizationPolicy dubbo-samples-mesh-provider.dubbo-sa spec.rules[0].to[0].operation.ports[0] 50052 -> 50053",
      `Deployment dubbo-samples-mesh-consumer ${APP}.env[DUBBO_REFERENCE_PROVIDER_PORT].value 50052 -> 50053`,
      `Deployment dubbo-samples-mesh-provider-v1 ${APP}.env[DUBBO_PROTOCOL_PORT].value 50052 -> 50053`,
      `Deployment dubbo-samples-mesh-provider-v1 ${APP}.ports[grpc-tri].containerPort 50052 -> 50053`,
      "EnvoyFilter cluster spec.configPatches[0].match.cluster.portNumber 50052 -> 50053",
      "Service dubbo-samples-mesh-provider spec.ports[grpc-tri].port 50052 -> 50053",
      `output serviceAddresses dubbo-samples-mesh-provider ${HOST}:50052 -> ${HOST}:50053`,
    ]);
  });

  it("has the same content as JSON", async () => {
    const { trial, ...rest } = await explain(await stack(), "traffic.attempts");
    expect(rest).toEqual({
      key: "dubbo-mesh:traffic.attempts",
      meaning: "maximum retries of a call, on other endpoints; 0 turns them off",
      value: 2,
      from: "the default",
      refused: [],
    });
    const object = "VirtualService dubbo-samples-mesh-provider";
    expect(trial).toEqual({
      value: 3,
      together: {},
      differences: [
        { object, path: "spec.http[idempotent].retries.attempts", before: 2, after: 3 },
        { object, path: "spec.http[default].retries.attempts", before: 2, after: 3 },
      ],
    });
  });

  it("names the stack-wide key of an inherited value, and only changed lines", async () => {
    const path = "services[0].drain";
    const drained = [
      `with 24s:`,
      'Deployment dubbo-samples-mesh-provider-v1 spec.template.metadata.annotations["proxy.istio.io/config"] MINIMUM_DRAIN_DURATION: 12s -> MINIMUM_DRAIN_DURATION: 24s',
      `Deployment dubbo-samples-mesh-provider-v1 ${APP}.env[DUBBO_SERVICE_SHUTDOWN_WAIT].value 12000 -> 24000`,
      "Deployment dubbo-samples-mesh-provider-v1 spec.template.spec.terminationGracePeriodSeconds 47 -> 59",
    ];
    const meaning =
      "dubbo-mesh:services[0].drain: time in which a terminating pod answers NOT_SERVING; replaces that of the stack";
    expect(await explained(path, { drain: "12s" })).toEqual([
      meaning,
      "is 12s, from dubbo-mesh:drain, which applies to all services (Pulumi.test.yaml)",
      ...drained,
    ]);
    expect(await explained(path, { services: [{ ...PROVIDER, drain: "12s" }, CONSUMER] })).toEqual([
      meaning,
      "is 12s, from Pulumi.test.yaml",
      ...drained,
    ]);
  });

  it("names the profile of a health check's field", async () => {
    const from = async (healthCheck: unknown): Promise<unknown> => {
      const { value, from } = await explain(await stack({ healthCheck }), "healthCheck.timeout");
      return [value, from];
    };
    expect(await from("fast")).toEqual(["1s", "profile fast, which Pulumi.test.yaml names"]);
    expect(await from({ interval: "4s" })).toEqual(["5s", "profile seed, the default"]);
    expect(await from({ timeout: "4s" })).toEqual(["4s", "Pulumi.test.yaml"]);
  });

  it("changes a name together with its calls, and a weight with another version's", async () => {
    const name = await explain(await stack(), "services[0].name");
    expect(name.trial).toMatchObject({
      value: "dubbo-samples-mesh-provider-x",
      together: { "services[1].calls": ["dubbo-samples-mesh-provider-x"] },
    });
    const objects = name.trial?.differences.filter(({ path }) => path === "") ?? [];
    expect(
      objects.map(({ object, before }) => `${object} ${before === undefined ? "new" : "gone"}`),
    ).toContain("Service dubbo-samples-mesh-provider-x new");
    const versions = [
      { name: "v1", weight: 80 },
      { name: "v2", weight: 20 },
    ];
    const services = [{ ...PROVIDER, versions }, CONSUMER];
    expect(await explained("services[0].versions[0].weight", { services })).toEqual([
      "dubbo-mesh:services[0].versions[0].weight: share of the calls, percent",
      "is 80, from Pulumi.test.yaml",
      "with 81 and services[0].versions[1].weight 19:",
      "VirtualService dubbo-samples-mesh-provider spec.http[idempotent].route[0].weight 80 -> 81",
      "VirtualService dubbo-samples-mesh-provider spec.http[idempotent].route[1].weight 20 -> 19",
      "VirtualService dubbo-samples-mesh-provider spec.http[default].route[0].weight 80 -> 81",
      "VirtualService dubbo-samples-mesh-provider spec.http[default].route[1].weight 20 -> 19",
    ]);
  });

  it("reports rejected values, and a value without effect", async () => {
    expect(await explained("context")).toEqual([
      "dubbo-mesh:context: kubectl context to deploy to; required unless cluster is local",
      "is kind-dubbo-mesh, from the default",
      "refused:",
      "kind-dubbo-mesh-x, kind-dubbo-meshx, explained, registry.test/explained:v1, org.example.Explained: dubbo-mesh:context is set, but dubbo-mesh:cluster is local, which has its own",
    ]);
    expect(await explained("healthCheckBudget")).toEqual([
      "dubbo-mesh:healthCheckBudget: maximum health checks of one pod by all of its callers, checks a second",
      "is 100, from the default",
      "with 101 no field differs",
    ]);
  });

  it("reports unset values, and values of the command line", async () => {
    expect((await explained("services[1].replicas")).slice(0, 4)).toEqual([
      "dubbo-mesh:services[1].replicas: number of pods",
      "is not set",
      "with 7:",
      "Deployment dubbo-samples-mesh-consumer spec.replicas 1 -> 7",
    ]);
    const { from } = await explain(await stack({ registry: "r.test/me" }), "registry", ["registry"]);
    expect(from).toBe("the command line");
  });
});

describe("a key that cannot be explained", () => {
  const refusal = async (key: string): Promise<{ message: string; fix: string }> =>
    userError(explain(await stack(), key));

  it("is unknown: similar keys are listed", async () => {
    expect(await refusal("dubbo-mesh:services[0].prot")).toEqual({
      message: "dubbo-mesh:services[0].prot: no such key",
      fix: "Similar keys are services[].port, services[].routes, services[].app; docs/configuration.md lists all keys.",
    });
    expect((await refusal("helthCheck")).fix).toMatch(/^Similar keys are healthCheck, /);
    expect((await refusal("")).message).toBe("dubbo-mesh:: no such key");
    expect((await refusal("services[")).message).toBe("dubbo-mesh:services[: no such key");
  });

  it("has nested keys, or belongs to no item", async () => {
    expect(await refusal("traffic.connectionPool")).toEqual({
      message: "dubbo-mesh:traffic.connectionPool has nested keys",
      fix: "Explain one of them: connectTimeout, maxRequests.",
    });
    expect((await refusal("services[2].port")).message).toBe(
      "dubbo-mesh:services has 2 items, so there is no item 2",
    );
  });
});

describe("the keys", () => {
  it("can all be explained, except those with nested keys or of missing items", async () => {
    const file = await stack();
    const paths = allKeys()
      .map(({ path }) => path.replace("[]", "[0]"))
      .filter((path) => /^(services\[0\]\.)?\w+$/.test(path));
    const refused: string[] = [];
    for (const path of paths) {
      const outcome = await explain(file, path).catch((error: unknown) => error as Error);
      if (outcome instanceof UserError) refused.push(path);
      else expect(outcome).toMatchObject({ key: `dubbo-mesh:${path}` });
    }
    const policy = ["routes", "promotion", "traffic"];
    const own = ["build", "methods", "versions", "autoscale", ...policy, "properties", "resources"];
    const first = ["istio", "observability"];
    const wide = ["proxy", "traffic", "security"];
    expect(refused).toEqual([...first, "services", ...own.map((name) => `services[0].${name}`), ...wide]);
  }, 120_000);
});
