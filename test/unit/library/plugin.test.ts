import { readFileSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { schemaText } from "../../../packages/dubbo-mesh/schema.ts";
import { MeshProvider, TOKEN } from "../../../packages/dubbo-mesh/provider.ts";
import { register, valueOf } from "../components/mocks.ts";

const SERVICES = [
  { name: "orders", image: "r.test/orders:1", port: 50052, offers: ["shop.Orders"] },
  { name: "web", image: "r.test/web:1", port: 20880, calls: ["orders"] },
];

async function construct(inputs: pulumi.Inputs, type = TOKEN) {
  return register(() => new MeshProvider().construct("shop", type, inputs, {}));
}

describe("the schema of the component plugin", () => {
  it("matches the output of `npm run plugin-schema`", () => {
    const committed = new URL("../../../packages/dubbo-mesh/schema.json", import.meta.url);
    expect(readFileSync(committed, "utf8")).toBe(schemaText());
  });

  it("defines exactly the types that it refers to", () => {
    const text = schemaText();
    const referred = new Set([...text.matchAll(/"#\/types\/([^"]+)"/g)].map(([, token]) => token));
    const { types } = JSON.parse(text) as { types: object };
    expect([...referred].sort()).toEqual(Object.keys(types));
  });

  it("requires only services, each with a name and a port", () => {
    const { types, resources } = JSON.parse(schemaText()) as {
      types: Record<string, { required: string[] }>;
      resources: Record<string, { requiredInputs: string[] }>;
    };
    expect(resources[TOKEN]?.requiredInputs).toEqual(["services"]);
    expect(types["dubbo-mesh:mesh:MeshService"]?.required).toEqual(["name", "port"]);
  });
});

describe("the component plugin", () => {
  it("creates a mesh, and returns its outputs", async () => {
    const { resources, result } = await construct({ namespace: "shop", services: SERVICES });
    expect(resources.filter(({ type }) => type === "kubernetes:apps/v1:Deployment")).toHaveLength(2);
    expect(await valueOf(pulumi.output(result.state as object))).toEqual({
      namespace: "shop",
      serviceAddresses: {
        orders: "orders.shop.svc.cluster.local:50052",
        web: "web.shop.svc.cluster.local:20880",
      },
      envoyFilterNames: { web: "cluster-web" },
    });
  });

  it("accepts an image from another resource", async () => {
    const image = pulumi.output("r.test/orders@sha256:1");
    const [orders, web] = SERVICES;
    const { resources } = await construct({ services: [{ ...orders, image }, web] });
    expect(resources.find(({ name }) => name === "shop-orders-v1")?.inputs).toMatchObject({
      spec: { template: { spec: { containers: [{ image: "r.test/orders@sha256:1" }] } } },
    });
  });

  it.each([
    [{ services: SERVICES, servces: [] }, "servces: no such key"],
    [{ services: [{ ...SERVICES[1] }] }, "services[0].calls[0]: is orders, but no service has this name"],
    [{ services: SERVICES, cluster: "local" }, "cluster: no such key"],
  ])("rejects %j, and names the key", async (inputs, message) => {
    await expect(construct(inputs)).rejects.toThrow(message);
  });

  it("rejects services that are outputs", async () => {
    const error: unknown = await construct({ services: pulumi.output(SERVICES) }).catch(
      (caught: unknown) => caught,
    );
    expect(error).toMatchObject({
      errors: [{ propertyPath: "services", reason: "must be a plain value: resources are named after it" }],
    });
  });

  it("rejects an unknown type", async () => {
    await expect(construct({ services: SERVICES }, "dubbo-mesh:mesh:Other")).rejects.toThrow(
      "the plugin has no dubbo-mesh:mesh:Other, only dubbo-mesh:mesh:DubboMesh",
    );
  });
});
