import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import program from "../../index.ts";
import { unchecked } from "../../stack/checks.ts";
import { register, type Registered } from "./components/mocks.ts";

/** Indexes of the services that each service calls. */
type Graph = readonly (readonly number[])[];

const indexes = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** Each service calls the previous one. */
const chain = (count: number): Graph => indexes(count).map((index) => indexes(index).slice(-1));
/** The last service calls all others. */
const star = (count: number): Graph =>
  indexes(count).map((index) => (index === count - 1 ? indexes(index) : []));
/** All services call the first one. */
const hub = (count: number): Graph => indexes(count).map((index) => indexes(index).slice(0, 1));

const nameOf = (index: number): string => `s${index}`;

const SECURITY = { identities: "per-workload", networkPolicy: true, defaultDeny: true };

async function declare(graph: Graph, security: object = SECURITY): Promise<readonly Registered[]> {
  const services = graph.map((calls, index) => ({
    name: nameOf(index),
    image: `r.test/i@sha256:${"0".repeat(64)}`,
    port: 50_000 + index,
    offers: [`test.S${index}`],
    calls: calls.map(nameOf),
  }));
  const config = {
    "dubbo-mesh:context": "c",
    "dubbo-mesh:services": JSON.stringify(services),
    "dubbo-mesh:security": JSON.stringify(security),
  };
  const { resources } = await register(() => {
    pulumi.runtime.setAllConfig(config);
    return program(unchecked);
  });
  return resources;
}

async function edgesOf(graph: Graph, security?: object): Promise<number> {
  const resources = await declare(graph, security);
  return resources.reduce((total, { edges }) => total + edges, 0);
}

/** Returns the resources that a service's component depends on. */
function waitsFor(index: number, resources: readonly Registered[]): readonly string[] {
  const component = resources.find(
    ({ type, name }) => type === "dubbo-mesh:service:DubboService" && name === `mesh-${nameOf(index)}`,
  );
  return component?.dependsOn ?? [];
}

describe("dependencies grow with the calls, not with their square", () => {
  it.each([
    ["a chain", chain, SECURITY, 49],
    ["a chain without policies", chain, { authorization: false }, 32],
    ["a star", star, SECURITY, 46],
    ["a hub", hub, SECURITY, 54],
  ])("each service of %s adds a constant number", async (_title, graph, security, each) => {
    // One after another, because a run of the program needs the whole process.
    const four = await edgesOf(graph(4), security);
    const ten = await edgesOf(graph(10), security);
    const forty = await edgesOf(graph(40), security);
    expect([(ten - four) / 6, (forty - ten) / 30]).toEqual([each, each]);
  });
});

describe("a service waits for the rules of its own calls", () => {
  const common = ["mesh-network-default-deny", "mesh-security-default-deny", "mesh-security-mtls"];
  const own = (index: number): string[] => {
    const name = nameOf(index);
    const traffic = ["", ".v1"].map((rule) => `mesh-${name}-traffic${rule}`);
    return [`mesh-${name}-scope`, `mesh-network-${name}`, ...traffic];
  };
  /** Returns the rules that a caller of a service depends on. */
  const ofCallee = (caller: number, callee: number): string[] => [
    ...own(callee).slice(1),
    `mesh-security-${nameOf(callee)}.${nameOf(caller)}-calls`,
  ];

  it("in a chain", async () => {
    const resources = await declare(chain(10));
    expect(waitsFor(5, resources)).toEqual(
      [
        ...common,
        ...own(5),
        "mesh-s5-health-check",
        "mesh-security-s5.s6-calls",
        ...ofCallee(5, 4),
        "mesh-s4-routes",
      ].sort(),
    );
  });

  it("in a hub with many callers", async () => {
    const resources = await declare(hub(4));
    const allowed = [1, 2, 3].map((caller) => `mesh-security-s0.s${caller}-calls`);
    expect(waitsFor(0, resources)).toEqual([...common, ...own(0), ...allowed].sort());
  });

  it("in a cycle, in which the routes to one service come later", async () => {
    const resources = await declare([[1], [0]]);
    const rules = (caller: number, callee: number): string[] => [
      ...common,
      ...own(caller),
      `mesh-s${caller}-health-check`,
      `mesh-security-s${caller}.s${callee}-calls`,
      ...ofCallee(caller, callee),
    ];
    expect(waitsFor(1, resources)).toEqual(rules(1, 0).sort());
    expect(waitsFor(0, resources)).toEqual([...rules(0, 1), "mesh-s1-routes"].sort());
  });
});
