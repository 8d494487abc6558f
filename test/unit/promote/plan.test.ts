import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseSettings, type Settings } from "../../../settings/settings.ts";
import { readStackFile, type StackFile } from "../../../stack/stack-file.ts";
import { foundPlan, newPlan, planned, stackAt } from "../../../tools/promote/plan.ts";
import { userError } from "../tools/user-error.ts";

const PROVIDER = "dubbo-samples-mesh-provider";
const VERSIONS = "[{name: v1, weight: 80}, {name: v2, weight: 20}, {name: v3, weight: 0}]";

interface Given {
  readonly provider?: string;
  readonly consumer?: string;
  readonly stack?: Readonly<Record<string, string>>;
}

function settings({ provider = `versions: ${VERSIONS}`, consumer = "", stack = {} }: Given = {}): Settings {
  const services = `[{app: provider, ${provider}}, {app: consumer, ${consumer}}]`;
  return parseSettings({ cluster: "local", services, ...stack });
}

function refused(given: Given, version = "v2", service = PROVIDER): ReturnType<typeof userError> {
  return userError(Promise.resolve(given).then((each) => newPlan(settings(each), service, version)));
}

describe("a plan", () => {
  it("has the steps above the version's weight, and the versions that it replaces", () => {
    expect(newPlan(settings(), PROVIDER, "v2")).toMatchObject({
      service: PROVIDER,
      version: "v2",
      from: { v1: 80, v2: 20, v3: 0 },
      held: 20,
      others: ["v1"],
      steps: [25, 50, 100],
      bounds: { calls: 20, minSuccess: 95, maxAddedLatency: "0.1s" },
    });
    expect(newPlan(settings(), PROVIDER, "v3").callers.map(({ name }) => name)).toEqual([
      "dubbo-samples-mesh-consumer",
    ]);
  });

  it("has the service's own steps", () => {
    const provider = `versions: ${VERSIONS}, promotion: {steps: [30, 60], calls: 10, minSuccess: 100}`;
    expect(newPlan(settings({ provider }), PROVIDER, "v3")).toMatchObject({
      steps: [30, 60],
      bounds: { calls: 10, minSuccess: 100 },
    });
  });

  it("restores exactly the weights from before", () => {
    const plan = newPlan(settings(), PROVIDER, "v2");
    expect([planned(plan, 50), planned(plan, 20)]).toEqual([
      { v1: 50, v2: 50, v3: 0 },
      { v1: 80, v2: 20, v3: 0 },
    ]);
  });
});

describe("a promotion is refused", () => {
  const withPods = "versions: [{name: v1}, {name: v2, weight: 0, replicas: 0}]";

  it.each<[string, Given, string?, string?]>([
    ["the stack has no service web", {}, "v2", "web"],
    [`${PROVIDER} has no version v9`, {}, "v9"],
    [`v1 is the only version of ${PROVIDER}: it already gets all calls`, { provider: "" }, "v1"],
    [`version v2 of ${PROVIDER} has no pods: its replicas are 0`, { provider: withPods }],
    [
      "v1 already gets 80 % of the calls, and the last step is 60 %",
      { provider: `versions: ${VERSIONS}, promotion: {steps: [60]}` },
      "v1",
    ],
    [
      `nothing in the stack calls ${PROVIDER}, so no Envoy has figures of its calls`,
      { consumer: "replicas: 0" },
    ],
    [
      "v3 of dubbo-samples-mesh-provider cannot be judged: 5 % of 0.2 calls a second are about 6 in 10 minutes, and promotion.calls is 20",
      { consumer: "interval: 5s" },
      "v3",
    ],
  ])("%s", async (message, given, version, service) => {
    const error = await refused(given, version, service);
    expect(error.message).toBe(message);
    expect(error.fix).toMatch(/\.$/);
  });

  it.each([
    [
      "injection",
      "dubbo-mesh:injection is false: the stack asks for pods without istio-proxy, so there is no mesh to verify",
    ],
    ["accessLogs", "dubbo-mesh:accessLogs is false: the proxies log no calls, and verify reads these logs"],
  ])("%s: false", async (key, message) => {
    const security = key === "injection" ? { security: "{ mtls: PERMISSIVE, authorization: false }" } : {};
    expect((await refused({ stack: { [key]: "false", ...security } })).message).toBe(message);
  });

  it("not for its pace if a caller has no interval", () => {
    const paced = settings();
    const services = paced.services.map((service) => ({ ...service, interval: undefined }));
    expect(newPlan({ ...paced, services }, PROVIDER, "v3").steps).toEqual([5, 25, 50, 100]);
  });
});

describe("an interrupted promotion", () => {
  const found = {
    service: PROVIDER,
    version: "v2",
    from: { v1: 100, v2: 0, v3: 0 },
    held: 25,
    holder: "host 1 x",
    since: "2026-11-29T00:00:00Z",
    resourceVersion: "7",
  };

  it("goes on after the last step that has held", () => {
    expect(foundPlan(settings(), found)).toMatchObject({ held: 25, steps: [50, 100], from: found.from });
    expect(foundPlan(settings(), { ...found, held: 100 }).steps).toEqual([]);
  });

  it("goes on in any order of the versions, also if their names are numbers", () => {
    const provider = "versions: [{name: '2'}, {name: '1', weight: 0}]";
    const from = { "1": 0, "2": 100 };
    expect(foundPlan(settings({ provider }), { ...found, version: "1", from, held: 0 })).toMatchObject({
      from,
    });
  });

  it("needs the versions that it began with", async () => {
    const other = { ...found, from: { v1: 100, v2: 0 } };
    expect(await userError(Promise.resolve(other).then((each) => foundPlan(settings(), each)))).toEqual({
      message: `the interrupted promotion is of ${PROVIDER} with the versions v1, v2; the stack file has v1, v2, v3`,
      fix: "Restore the versions in the stack file, then run the command again.",
    });
  });
});

describe("a stack at a step", () => {
  async function file(services: string): Promise<StackFile> {
    const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
    const config = `config:\n  dubbo-mesh:cluster: local\n  dubbo-mesh:services: ${services}\n`;
    writeFileSync(join(directory, "Pulumi.dev.yaml"), config);
    return readStackFile(directory, "dev");
  }
  const plan = { service: PROVIDER, version: "v2", from: { v1: 100, v2: 0 }, held: 0 };

  it("has other weights, and all other keys and overrides", async () => {
    const given = await file(
      `[{app: consumer}, {app: provider, drain: 15s, versions: [{name: v1, image: "x:1"}, {name: v2, weight: 0}]}]`,
    );
    const stack = await stackAt(given, plan, 40, { clusterDomain: "a.b" });
    expect(stack.overridden?.config).toEqual({
      "dubbo-mesh:cluster": "local",
      "dubbo-mesh:clusterDomain": "a.b",
      "dubbo-mesh:services": [
        { app: "consumer" },
        {
          app: "provider",
          drain: "15s",
          versions: [
            { name: "v1", image: "x:1", weight: 60 },
            { name: "v2", weight: 40 },
          ],
        },
      ],
    });
    expect(stack.settings.services[1]?.versions.map(({ weight }) => weight)).toEqual([60, 40]);
  });

  it("is refused if the stack may not have these weights", async () => {
    const given = await file(
      "[{app: provider, versions: [{name: v1}, {name: v2, weight: 0, replicas: 0}]}, {app: consumer}]",
    );
    expect((await userError(stackAt(given, plan, 40, {}))).message).toContain("services[0].versions[1]");
  });
});
