import { resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import program from "../../index.ts";
import { unchecked } from "../../stack/checks.ts";
import { committedStacks } from "../../tools/golden.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import { register, type Registered } from "./components/mocks.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** Keys for the location of a stack, which the test keeps constant. */
const PLACE = { cluster: "existing", context: "c", namespace: "demo" };
/** Image of all services. Built images would add components named after the services. */
const IMAGE = `r.test/i@sha256:${"0".repeat(64)}`;

/**
 * Fields that Kubernetes or Pulumi cannot change in place.
 * Source: pulumi-kubernetes's diff.go, forceNew; the API's validation
 */
const FIXED: readonly (readonly string[])[] = [
  ["apiVersion"],
  ["kind"],
  ["metadata", "name"],
  ["metadata", "namespace"],
  ["spec", "clusterIP"],
  ["spec", "type"],
  ["roleRef"],
];

/** A Deployment's selector is immutable; that of a Service is not. */
const SELECTOR = ["spec", "selector"];

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((part, key) => (part as Record<string, unknown> | undefined)?.[key], value);
}

function fixedOf({ type, inputs }: Registered): unknown[] {
  const paths = type.endsWith(":Deployment") ? [...FIXED, SELECTOR] : FIXED;
  return paths.map((path) => at(inputs, path));
}

/** Returns kind, namespace and name of a resource's object. */
function targetOf({ inputs }: Registered): string {
  return ["kind", "metadata.namespace", "metadata.name"]
    .map((path) => String(at(inputs, path.split("."))))
    .join(" ");
}

/** Returns the identity of a resource for Pulumi: its name, its type and those of its parents. */
function urnOf(resource: Registered, all: readonly Registered[]): string {
  const parent = all.find(({ name }) => name === resource.parent);
  return `${parent === undefined ? "" : `${urnOf(parent, all)}$`}${resource.type}::${resource.name}`;
}

/** Returns an environment's objects, with their immutable fields and URNs. */
type Objects = ReadonlyMap<string, { readonly fixed: readonly unknown[]; readonly urn: string }>;

async function objectsOf(stack: string): Promise<Objects> {
  const { raw } = await readStackFile(ROOT, stack);
  const given = JSON.parse(raw["services"] ?? '[{"app":"provider"},{"app":"consumer"}]') as object[];
  const services = given.map((service) => ({ ...service, image: IMAGE }));
  const keys = { ...raw, ...PLACE, services: JSON.stringify(services) };
  const config = Object.entries(keys).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
  pulumi.runtime.setAllConfig(Object.fromEntries(config) as Record<string, string>);
  const { resources } = await register(() => program(unchecked));
  const objects = resources.filter(({ type }) => type.startsWith("kubernetes:"));
  return new Map(
    objects.map((object) => [targetOf(object), { fixed: fixedOf(object), urn: urnOf(object, resources) }]),
  );
}

describe("with the same place, an environment becomes any other without replacements", async () => {
  const stacks = await committedStacks(ROOT);
  const pairs = stacks.flatMap((from) => stacks.filter((to) => to !== from).map((to) => [from, to] as const));
  const declared = new Map<string, Objects>();

  beforeAll(async () => {
    // One after another, because a run of the program needs the whole process.
    for (const stack of stacks) declared.set(stack, await objectsOf(stack));
  }, 120_000);

  it("covers four environments and twelve changes", () => {
    expect([...stacks].sort()).toEqual(["canary", "dev", "prod", "staging"]);
    expect(pairs).toHaveLength(12);
    expect([...declared].map(([stack, objects]) => [stack, objects.size])).toEqual([
      ["canary", 21],
      ["dev", 18],
      ["prod", 25],
      ["staging", 23],
    ]);
  });

  it.each(pairs)("%s to %s: common resources keep their URNs and immutable fields", (from, to) => {
    const [before, after] = [declared.get(from) ?? new Map(), declared.get(to) ?? new Map()] as [
      Objects,
      Objects,
    ];
    const both = [...before.keys()].filter((target) => after.has(target));
    expect(both.length).toBeGreaterThan(13);
    const pick = (objects: Objects): object =>
      Object.fromEntries(both.map((target) => [target, objects.get(target)]));
    expect(pick(after)).toEqual(pick(before));
  });

  it.each(pairs)("%s to %s: a URN stands for the same object", (from, to) => {
    const [before, after] = [declared.get(from) ?? new Map(), declared.get(to) ?? new Map()] as [
      Objects,
      Objects,
    ];
    const targets = (objects: Objects): Map<string, string> =>
      new Map([...objects].map(([target, { urn }]) => [urn, target]));
    const [old, fresh] = [targets(before), targets(after)];
    const both = [...old.keys()].filter((urn) => fresh.has(urn));
    expect(both.map((urn) => fresh.get(urn))).toEqual(both.map((urn) => old.get(urn)));
  });
});
