import * as pulumi from "@pulumi/pulumi";
import { expect, it } from "vitest";
import program from "../../../index.ts";
import { unchecked } from "../../../stack/checks.ts";
import { register } from "../components/mocks.ts";

it("keeps the former names of a mesh's parts and their children", async () => {
  const { aliases, resources } = await register(() => {
    pulumi.runtime.setAllConfig({
      "dubbo-mesh:context": "c",
      "dubbo-mesh:services": "[{ app: provider, image: 'r/p:1' }, { app: consumer, image: 'r/c:1' }]",
    });
    return program(unchecked);
  });
  const parts = resources.filter(({ parent }) => parent === "mesh").map(({ name }) => name);
  expect(parts).toHaveLength(9);
  const own = Object.fromEntries(parts.map((name) => [name, aliases[name]]));
  expect(own).toEqual({
    "mesh-namespace": ["mesh < "],
    "mesh-security": ["security < "],
    "mesh-dubbo-samples-mesh-provider": ["dubbo-samples-mesh-provider < "],
    "mesh-dubbo-samples-mesh-provider-traffic": ["dubbo-samples-mesh-provider-traffic < "],
    "mesh-dubbo-samples-mesh-provider-scope": ["dubbo-samples-mesh-provider-scope < "],
    "mesh-dubbo-samples-mesh-provider-routes": ["dubbo-samples-mesh-provider-routes < "],
    "mesh-dubbo-samples-mesh-consumer": ["dubbo-samples-mesh-consumer < "],
    "mesh-dubbo-samples-mesh-consumer-scope": ["dubbo-samples-mesh-consumer-scope < "],
    "mesh-dubbo-samples-mesh-consumer-health-check": ["dubbo-samples-mesh-consumer-health-check < "],
  });
});
