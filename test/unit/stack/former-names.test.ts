import * as pulumi from "@pulumi/pulumi";
import { expect, it } from "vitest";
import program from "../../../index.ts";
import { meshOf } from "../../../components/mesh-args.ts";
import { DubboMesh } from "../../../components/mesh.ts";
import { unchecked } from "../../../stack/checks.ts";
import { register } from "../components/mocks.ts";

const MESH = "dubbo-mesh:mesh:DubboMesh";
const ISTIO = "kubernetes:networking.istio.io";
const [PROVIDER, CONSUMER] = ["dubbo-samples-mesh-provider", "dubbo-samples-mesh-consumer"];

/** Returns the URNs of an object in a component of its own: before there was a mesh, and in it. */
function inComponent(component: string, type: string, name: string): string[] {
  return [`${component}$${type}::${name}`, `${MESH}$${component}$${type}::mesh-${name}`];
}

it("keeps the resources of older stacks", async () => {
  const { aliases } = await register(() => {
    pulumi.runtime.setAllConfig({
      "dubbo-mesh:context": "c",
      "dubbo-mesh:services": "[{ app: provider }, { app: consumer, image: 'r/c:1' }]",
      "dubbo-mesh:registry": "r.test",
      "dubbo-mesh:observability": "{ dashboard: true }",
    });
    return program(unchecked);
  });
  const rule = (name: string, suffix: string): string[] =>
    inComponent("dubbo-mesh:traffic:ProviderTraffic", `${ISTIO}/v1:DestinationRule`, `${name}${suffix}`);
  const scope = (name: string): string[] =>
    inComponent("dubbo-mesh:sidecar-scope:SidecarScope", `${ISTIO}/v1:Sidecar`, `${name}-scope-sidecar`);
  expect(aliases).toEqual({
    "mesh-namespace": ["dubbo-mesh:namespace:MeshNamespace::mesh"],
    "mesh-security": ["dubbo-mesh:security:MeshSecurity::security"],
    [`mesh-${PROVIDER}`]: [`dubbo-mesh:service:DubboService::${PROVIDER}`],
    [`mesh-${CONSUMER}`]: [`dubbo-mesh:service:DubboService::${CONSUMER}`],
    [`mesh-${PROVIDER}-traffic`]: rule(`${PROVIDER}-traffic`, "-destination-rule"),
    [`mesh-${PROVIDER}-traffic.v1`]: rule(`${PROVIDER}-traffic.v1`, "-subset"),
    [`mesh-${PROVIDER}-scope`]: scope(PROVIDER),
    [`mesh-${CONSUMER}-scope`]: scope(CONSUMER),
    [`mesh-${PROVIDER}-routes`]: inComponent(
      "dubbo-mesh:traffic:ProviderRoutes",
      `${ISTIO}/v1:VirtualService`,
      `${PROVIDER}-routes-virtual-service`,
    ),
    [`mesh-${CONSUMER}-health-check`]: inComponent(
      "dubbo-mesh:health-check:ActiveHealthCheck",
      `${ISTIO}/v1alpha3:EnvoyFilter`,
      `${CONSUMER}-health-check-envoy-filter`,
    ),
    "mesh-dashboard": inComponent(
      "dubbo-mesh:dashboard:MeshDashboard",
      "kubernetes:core/v1:ConfigMap",
      "dashboard-config-map",
    ),
    [PROVIDER]: [`dubbo-mesh:image:ApplicationImage$docker:index/image:Image::${PROVIDER}-image`],
  });
});

it("keeps the objects of a library's mesh, also inside a component", async () => {
  const { aliases } = await register(() => {
    const parent = new pulumi.ComponentResource("dubbo-mesh:test:Shop", "shop");
    const services = [{ name: "orders", image: "r/o:1", port: 50_052, offers: ["shop.Orders"] }];
    return new DubboMesh("own", meshOf({ services }), { parent });
  });
  const former = (component: string, type: string, name: string): string[] => [
    `dubbo-mesh:test:Shop$${MESH}$dubbo-mesh:${component}$${ISTIO}/v1:${type}::own-orders-${name}`,
  ];
  expect(aliases).toEqual({
    "own-orders-traffic": former("traffic:ProviderTraffic", "DestinationRule", "traffic-destination-rule"),
    "own-orders-traffic.v1": former("traffic:ProviderTraffic", "DestinationRule", "traffic.v1-subset"),
    "own-orders-scope": former("sidecar-scope:SidecarScope", "Sidecar", "scope-sidecar"),
    "own-orders-routes": former("traffic:ProviderRoutes", "VirtualService", "routes-virtual-service"),
  });
});
