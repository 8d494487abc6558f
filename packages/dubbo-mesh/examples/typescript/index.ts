import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { DubboMesh, meshOf } from "dubbo-mesh";

const config = new pulumi.Config();
const cluster = new kubernetes.Provider("cluster", {
  context: config.require("context"),
  kubeconfig: config.require("kubeconfig"),
});

const mesh = new DubboMesh(
  "shop",
  meshOf({
    namespace: "shop-typescript",
    services: [
      {
        name: "orders",
        image: config.require("orders"),
        port: 50052,
        offers: ["org.apache.dubbo.samples.Greeter"],
        methods: { "/org.apache.dubbo.samples.Greeter/greet": { idempotent: true } },
      },
      { name: "web", image: config.require("web"), port: 20880, interval: "1s", calls: ["orders"] },
    ],
  }),
  { providers: { kubernetes: cluster } },
);

export const addresses = mesh.serviceAddresses;
