import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it, vi } from "vitest";
import program from "../../index.ts";
import { unchecked } from "../../stack/checks.ts";
import { register, type Registered } from "./components/mocks.ts";
import { declaredBy } from "./program.ts";

/** Tag of the provider's image, in place of a digest of its inputs. */
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

/** Returns the kinds and names of the objects that a change of the configuration affects. */
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

describe("a preview shows", () => {
  it("nothing for an unchanged stack", async () => {
    expect(await changed(canary(20), canary(20))).toEqual([]);
  });

  it("one VirtualService for a changed weight", async () => {
    expect(await changed(canary(20), canary(30))).toEqual([`VirtualService/${PROVIDER}`]);
  });

  it("one EnvoyFilter for a changed check", async () => {
    const check = { ...canary(20), healthCheck: { unhealthy_interval: "4s" } };
    expect(await changed(canary(20), check)).toEqual(["EnvoyFilter/cluster"]);
  });

  it("the image and its Deployments for changed code", async () => {
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

describe("a stack with existing images", () => {
  it("needs no Docker plugin", async () => {
    const image = `r.test/i@sha256:${"0".repeat(64)}`;
    const services = ["provider", "consumer"].map((app) => ({ app, image }));
    const resources = await registered({ ...BASE, services });
    const providers = resources.filter(({ type }) => type.startsWith("pulumi:providers:"));
    expect(providers.map(({ name }) => name)).toEqual(["kubernetes"]);
  });
});

describe("resources that Pulumi refuses to delete or replace", () => {
  const protectedOf = (resources: readonly Registered[]): string[] =>
    resources.filter(({ protect }) => protect).map(({ type, name }) => `${type} ${name}`);
  // Existing images only. Built ones would be further resources with the services' names.
  const services = ["provider", "consumer"].map((app) => ({
    app,
    image: `r.test/${app}@sha256:${"0".repeat(64)}`,
  }));
  const security = { identities: "per-workload", networkPolicy: true, defaultDeny: true };

  it("are the namespace and the Services of production", async () => {
    expect(protectedOf(await registered({ ...BASE, services, production: true, security })).sort()).toEqual([
      "kubernetes:core/v1:Namespace mesh-namespace-namespace",
      "kubernetes:core/v1:Service mesh-dubbo-samples-mesh-consumer-service",
      `kubernetes:core/v1:Service mesh-${PROVIDER}-service`,
    ]);
  });

  it("are none in other stacks", async () => {
    expect(protectedOf(await registered({ ...BASE, services, security }))).toEqual([]);
  });
});
