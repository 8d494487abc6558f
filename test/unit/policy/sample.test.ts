import { describe, expect, it } from "vitest";
import type { KubernetesObject } from "../../../common/kubernetes-object.ts";
import { SAMPLE, SEED } from "./sample.ts";
import { lines } from "./support.ts";

const HOST = "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";
const PROVIDER = "Deployment dubbo-demo/dubbo-samples-mesh-provider";
const CONSUMER = "Deployment dubbo-demo/dubbo-samples-mesh-consumer";
const FILTER = "EnvoyFilter dubbo-demo/cluster";
const CHECK = `${FILTER} spec.configPatches[0].patch.value.health_checks[0]`;

const STRICT: KubernetesObject = {
  apiVersion: "security.istio.io/v1",
  kind: "PeerAuthentication",
  metadata: { name: "default", namespace: "dubbo-demo" },
  spec: { mtls: { mode: "STRICT" } },
};

const RETRIES =
  "warning retries-said VirtualService dubbo-demo/dubbo-samples-mesh-provider spec.http[0].retries: " +
  "is not set: Istio makes two, on unavailable and cancelled too, times Dubbo's own";
const REMOVED = `warning check-drops-removed ${CHECK}: keeps a pod that is gone in the cluster for as long as it passes`;
const PLAINTEXT = `error check-over-mtls ${CHECK}: has transport_socket_match_criteria of no socket for mTLS: STRICT resets plaintext`;

function plainProbes(pods: string): string {
  return (
    `error probes-survive-mtls ${pods} spec.template.metadata.annotations["sidecar.istio.io/rewriteAppHTTPProbers"]: ` +
    "the kubelet asks in plaintext, which STRICT mTLS resets: the pods never become ready"
  );
}

describe("the manifests of the sample's guide", () => {
  it("have these faults", () => {
    expect(lines(SEED)).toEqual([RETRIES, REMOVED]);
  });

  it("have these under STRICT", () => {
    expect(lines([...SEED, STRICT])).toEqual([RETRIES, PLAINTEXT, REMOVED]);
  });
});

describe("Apache's manifests", () => {
  const faults = [
    RETRIES,
    ...["v1", "v2"].map(
      (subset) =>
        `error check-covers-calls ${FILTER}: calls flow through outbound|50052|${subset}|${HOST}, which no check of the same Envoy watches`,
    ),
    `warning check-recovers-soon ${CHECK}: healthy_threshold is 20: a peer that serves again gets no calls for 195 s`,
    REMOVED,
  ];

  it("have these faults", () => {
    expect(lines(SAMPLE)).toEqual(faults);
  });

  it("have these under STRICT", () => {
    const probes = [`${PROVIDER}-v1`, `${PROVIDER}-v2`, CONSUMER].map(plainProbes);
    expect(lines([...SAMPLE, STRICT])).toEqual([
      ...faults.slice(0, 3),
      PLAINTEXT,
      ...faults.slice(3),
      ...probes,
    ]);
  });
});
