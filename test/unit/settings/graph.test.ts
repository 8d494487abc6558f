import { describe, expect, it } from "vitest";
import {
  calleesFirst,
  calleesOf,
  callersOf,
  edgesOf,
  loadOf,
  loadOn,
  type GivenServices,
  type Service,
  servicesOf,
} from "../../../settings/graph.ts";
import { healthCheckSettings } from "../../../settings/health-check.ts";
import { serviceSettings } from "../../../settings/services.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Returns services by name, each with its own keys. They offer something by default. */
function graph(services: Readonly<Record<string, Fields>>, ofAll: Partial<GivenServices> = {}): Service[] {
  const given = Object.entries(services).map(([name, fields]) =>
    serviceSettings.parse({ name, image: "r.test/x:1", port: 50052, offers: [`demo.${name}`], ...fields }),
  );
  return servicesOf({ services: given, traffic: {}, healthCheck: healthCheckSettings.parse({}), ...ofAll });
}

function named(services: readonly Service[], name: string): Service {
  const found = services.filter((service) => service.name === name);
  const [only, ...more] = found;
  if (only === undefined || more.length > 0) throw new Error(`${found.length} services are named ${name}`);
  return only;
}

const namesOf = (services: readonly Service[]): string[] => services.map(({ name }) => name);

describe("callers and callees", () => {
  const services = graph({ a: { calls: ["c", "b"] }, b: { calls: ["c"] }, c: {}, alone: {} });

  it.each([
    ["a", [], ["b", "c"]],
    ["b", ["a"], ["c"]],
    ["c", ["a", "b"], []],
    ["alone", [], []],
  ])("are listed for each service: %s", (name, callers, callees) => {
    const service = named(services, name);
    expect(namesOf(callersOf(services, service))).toEqual(callers);
    expect(namesOf(calleesOf(services, service))).toEqual(callees);
  });

  it("are listed as edges", () => {
    expect(edgesOf(services).map(({ caller, callee }) => `${caller.name} -> ${callee.name}`)).toEqual([
      "a -> b",
      "a -> c",
      "b -> c",
    ]);
  });
});

describe("the order of services", () => {
  it.each<[string, Readonly<Record<string, readonly string[]>>, readonly string[]]>([
    ["a chain", { a: ["b"], b: ["c"], c: [] }, ["c", "b", "a"]],
    ["a chain that is given from its end", { c: [], b: ["c"], a: ["b"] }, ["c", "b", "a"]],
    [
      "a diamond",
      { top: ["left", "right"], left: ["end"], right: ["end"], end: [] },
      ["end", "left", "right", "top"],
    ],
    ["strangers", { b: [], a: [], c: [] }, ["b", "a", "c"]],
    ["two that call each other, and one that calls them", { d: ["a"], a: ["b"], b: ["a"] }, ["b", "a", "d"]],
    ["one that calls itself", { a: ["a"], b: ["a"] }, ["a", "b"]],
    ["a circle", { a: ["b"], b: ["c"], c: ["a"] }, ["c", "b", "a"]],
  ])("has each service once, after its callees: %s", (_what, calls, expected) => {
    const services = graph(
      Object.fromEntries(Object.entries(calls).map(([name, callees]) => [name, { calls: callees }])),
    );
    expect(namesOf(calleesFirst(services))).toEqual(expected);
  });
});

describe("the time for calls in flight", () => {
  it.each<[string, Readonly<Record<string, Fields>>, number]>([
    ["of strangers, where nobody calls and it calls nobody", { x: { timeout: "90s" } }, 30],
    ["of its only caller", { x: {}, a: { calls: ["x"], timeout: "2.5s" } }, 2.5],
    [
      "of the slowest of its callers",
      {
        x: {},
        a: { calls: ["x"], timeout: "5s" },
        b: { calls: ["x"], timeout: "40s" },
        c: { timeout: "60s" },
      },
      40,
    ],
    ["of its own calls", { x: { offers: [], calls: ["y"], timeout: "7s" }, y: {} }, 7],
    [
      "of its own calls where they take longer than those of its callers",
      { x: { calls: ["y"], timeout: "50s" }, y: {}, a: { calls: ["x"], timeout: "5s" } },
      50,
    ],
    [
      "of its callers where they take longer than its own calls",
      { x: { calls: ["y"], timeout: "5s" }, y: {}, a: { calls: ["x"], timeout: "50s" } },
      50,
    ],
  ])("is the deadline %s", (_what, services, expected) => {
    expect(named(graph(services), "x").finishSeconds).toBe(expected);
  });
});

describe("stack-wide settings", () => {
  it("compute the drain from the check, unless a service or the stack sets it", () => {
    const services = {
      seed: {},
      fast: { healthCheck: "fast" },
      own: { drain: "12.5s" },
      caller: { offers: [], calls: ["seed"] },
    };
    const drains = (ofAll: Partial<GivenServices>): number[] =>
      graph(services, ofAll).map(({ drainSeconds }) => drainSeconds);
    expect(drains({})).toEqual([10, 2, 12.5, 0]);
    expect(drains({ drain: "20s" })).toEqual([20, 20, 12.5, 0]);
  });

  it("set the check, which a service may replace", () => {
    const [all, own] = ["gentle", "fast"].map((profile) => healthCheckSettings.parse(profile));
    const services = graph({ a: {}, b: { healthCheck: "fast" } }, all && { healthCheck: all });
    expect(services.map(({ healthCheck }) => healthCheck)).toEqual([all, own]);
  });

  it("merge traffic by key, over the defaults and under the service's", () => {
    const outlierDetection = {
      consecutiveGatewayErrors: 5,
      consecutive5xxErrors: 0,
      interval: "10s",
      baseEjectionTime: "30s",
      maxEjectionPercent: 50,
      minHealthPercent: 50,
    };
    const own = {
      attempts: 0,
      locality: false,
      outlierDetection: { interval: "1s" },
      connectionPool: { maxRequests: 7 },
    };
    const services = graph(
      { a: {}, b: { traffic: own } },
      {
        traffic: {
          attempts: 3,
          locality: true,
          warmup: "30s",
          outlierDetection: { interval: "2s", maxEjectionPercent: 20 },
          connectionPool: { connectTimeout: "1s" },
        },
      },
    );
    const ofAll = {
      loadBalancer: "ROUND_ROBIN",
      locality: true,
      warmup: "30s",
      attempts: 3,
      perTryTimeout: "5s",
      outlierDetection: { ...outlierDetection, interval: "2s", maxEjectionPercent: 20 },
      connectionPool: { connectTimeout: "1s", maxRequests: 1024 },
    };
    expect(services.map(({ traffic }) => traffic)).toEqual([
      ofAll,
      {
        ...ofAll,
        attempts: 0,
        locality: false,
        outlierDetection: { ...outlierDetection, interval: "1s", maxEjectionPercent: 20 },
        connectionPool: { connectTimeout: "1s", maxRequests: 7 },
      },
    ]);
  });
});

describe("the load of a stack's checks", () => {
  const scaled = { autoscale: { min: 1, max: 4, cpu: 80 } };
  const versions = [
    { name: "v1", replicas: 2, weight: 50 },
    { name: "v2", ...{ autoscale: { min: 1, max: 3, cpu: 80 } }, weight: 50 },
  ];
  const services = graph({
    // Five pods, called by seven pods.
    end: { versions },
    a: { offers: [], calls: ["end", "quick"], replicas: 3 },
    b: { calls: ["end"], ...scaled },
    // Two pods, called by three pods every 0.55 s on average.
    quick: { healthCheck: "fast" },
  });

  it.each([
    ["end", (7 * 5) / 5.5, 7 / 5.5],
    ["quick", (3 * 2) / 0.55, 3 / 0.55],
    ["b", 0, 0],
  ])("counts the most pods of a service and its callers: %s", (name, all, each) => {
    const load = loadOn(named(services, name), services);
    expect(load.checksPerSecond).toBeCloseTo(all, 2);
    expect(load.perProviderPod).toBeCloseTo(each, 2);
  });

  it("is the sum of all, and the highest load of one pod", () => {
    expect(loadOf(services)).toEqual({ checksPerSecond: 17.27, perProviderPod: 5.45 });
    expect(loadOf(graph({ a: {}, b: {} }))).toEqual({ checksPerSecond: 0, perProviderPod: 0 });
    expect(loadOf([])).toEqual({ checksPerSecond: 0, perProviderPod: 0 });
  });
});
