import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it, vi } from "vitest";
import program from "../../index.ts";
import { unchecked } from "../../stack/checks.ts";
import { register, type Registered } from "./components/mocks.ts";
import { declaredBy } from "./program.ts";

/** What the images' tags are a digest of. */
let sources = "before";
vi.mock("../../apps/bundle.ts", () => ({
  bundleApplication: (application: string) => ({
    context: `apps/dist/${application}`,
    dockerfile: "apps/Dockerfile",
    tag: application === "provider" ? sources : "same",
  }),
}));

const PROVIDER = "dubbo-samples-mesh-provider";
const BASE = { context: "minikube", registry: "r.test/org" };

function canary(v2: number): Readonly<Record<string, unknown>> {
  const versions = [
    { name: "v1", weight: 100 - v2 },
    { name: "v2", weight: v2 },
  ];
  return { ...BASE, services: [{ app: "provider", versions }, { app: "consumer" }] };
}

/** Kinds and names of the objects that a change of the configuration adds, changes or removes. */
async function changed(from: object, to: object): Promise<string[]> {
  const texts = async (config: object): Promise<Map<string, string>> => {
    const { objects } = await declaredBy({ ...config });
    return new Map(
      objects.map((object) => [`${object.kind}/${object.metadata.name}`, JSON.stringify(object)]),
    );
  };
  const [before, after] = [await texts(from), await texts(to)];
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names].filter((name) => before.get(name) !== after.get(name));
}

async function registered(config: Readonly<Record<string, unknown>>): Promise<readonly Registered[]> {
  const entries = Object.entries(config).map(([key, value]) => [
    `dubbo-mesh:${key}`,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  const { resources } = await register(() => {
    pulumi.runtime.setAllConfig(Object.fromEntries(entries) as Record<string, string>);
    return program(unchecked);
  });
  return resources;
}

describe("a preview is small: it shows", () => {
  it("nothing of a stack that is as it was", async () => {
    expect(await changed(canary(20), canary(20))).toEqual([]);
  });

  it("of a weight one VirtualService", async () => {
    expect(await changed(canary(20), canary(30))).toEqual([`VirtualService/${PROVIDER}`]);
  });

  it("of a check one EnvoyFilter", async () => {
    const check = { ...canary(20), healthCheck: { unhealthy_interval: "4s" } };
    expect(await changed(canary(20), check)).toEqual(["EnvoyFilter/cluster"]);
  });

  it("of an application's code its image, and the Deployments that run it", async () => {
    const state = async (): Promise<Map<string, string>> => {
      const { objects, images } = await declaredBy(canary(20));
      const named = objects.map((object) => [`${object.kind}/${object.metadata.name}`, object] as const);
      const built = images.map((image) => [`Image/${image.context}`, image] as const);
      return new Map([...named, ...built].map(([name, value]) => [name, JSON.stringify(value)]));
    };
    const before = await state();
    sources = "after";
    const after = await state();
    sources = "before";
    const differing = [...after].filter(([name, text]) => before.get(name) !== text);
    expect(differing.map(([name]) => name).sort()).toEqual([
      `Deployment/${PROVIDER}-v1`,
      `Deployment/${PROVIDER}-v2`,
      "Image/apps/dist/provider",
    ]);
    expect([...before.keys()]).toEqual([...after.keys()]);
  });
});

describe("a stack whose images are given", () => {
  it("needs no Docker plugin", async () => {
    const image = `r.test/i@sha256:${"0".repeat(64)}`;
    const services = ["provider", "consumer"].map((app) => ({ app, image }));
    const resources = await registered({ ...BASE, services });
    const providers = resources.filter(({ type }) => type.startsWith("pulumi:providers:"));
    expect(providers.map(({ name }) => name)).toEqual(["kubernetes"]);
  });
});

describe("what Pulumi refuses to delete or replace", () => {
  const protectedOf = (resources: readonly Registered[]): string[] =>
    resources.filter(({ protect }) => protect).map(({ type, name }) => `${type} ${name}`);
  // Of given images: those that are built have the names of their services.
  const services = ["provider", "consumer"].map((app) => ({
    app,
    image: `r.test/${app}@sha256:${"0".repeat(64)}`,
  }));
  const security = { identities: "per-workload", networkPolicy: true, defaultDeny: true };

  it("is the namespace and the Services of production, and nothing that a routine change removes", async () => {
    expect(protectedOf(await registered({ ...BASE, services, production: true, security })).sort()).toEqual([
      "kubernetes:core/v1:Namespace mesh-namespace-namespace",
      "kubernetes:core/v1:Service mesh-dubbo-samples-mesh-consumer-service",
      `kubernetes:core/v1:Service mesh-${PROVIDER}-service`,
    ]);
  });

  it("is nothing of other stacks", async () => {
    expect(protectedOf(await registered({ ...BASE, services, security }))).toEqual([]);
  });
});
