import { describe, expect, it } from "vitest";
import { check } from "../../../policy/rules.ts";
import type { KubernetesObject } from "../../../common/kubernetes-object.ts";
import { SAMPLE, SEED } from "./sample.ts";
import { lines } from "./support.ts";

const PROVIDER = "Deployment dubbo-demo/dubbo-samples-mesh-provider";
const CONSUMER = "Deployment dubbo-demo/dubbo-samples-mesh-consumer";
const FILTER = "EnvoyFilter dubbo-demo/cluster spec.configPatches[0]";
const CHECK = `${FILTER}.patch.value.health_checks[0]`;

function errors(objects: readonly KubernetesObject[]): string[] {
  return lines(objects).filter((line) => line.startsWith("error "));
}

/** Warnings by rule, and how many there are of each. */
function warnings(objects: readonly KubernetesObject[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { severity, rule } of check(objects)) {
    if (severity === "warning") counts[rule] = (counts[rule] ?? 0) + 1;
  }
  return counts;
}

function unrestricted(pods: string): string {
  return (
    `error pod-restricted ${pods} spec.template.spec.containers[0].securityContext: runAsNonRoot is not true; ` +
    "allowPrivilegeEscalation is not false; capabilities are not dropped; no seccompProfile"
  );
}

const PLAINTEXT = `error check-over-mtls ${CHECK}.transport_socket_match_criteria: {"useMTLS":true} is no match of Istio's, so the check goes out in plaintext`;
const ALPN = `error check-alpn ${CHECK}.tls_options.alpn_protocols: http1.1: no protocol that a sidecar listens for`;
const PERMISSIVE =
  "error mtls-strict Namespace dubbo-demo: no PeerAuthentication: its pods take plaintext (PERMISSIVE, Istio's default)";

function open(pods: string): string {
  return `error authorization-covers-calls ${pods}: is called, and no AuthorizationPolicy says by whom: anybody may`;
}

describe("the seed's manifests", () => {
  it("have these errors", () => {
    expect(errors(SEED)).toEqual([
      unrestricted(PROVIDER),
      unrestricted(CONSUMER),
      PLAINTEXT,
      ALPN,
      PERMISSIVE,
      open(PROVIDER),
    ]);
  });

  it("have these warnings", () => {
    expect(warnings(SEED)).toEqual({
      "access-logs": 1,
      "check-asks-service": 1,
      "check-drops-removed": 1,
      "check-sees-traffic": 1,
      "disruption-budget": 1,
      "image-by-digest": 2,
      "pod-read-only": 2,
      "port-named-grpc": 2,
      "resources-set": 2,
      "retries-said": 1,
      "sidecar-scope": 2,
    });
  });
});

describe("Apache's manifests", () => {
  const pods = [`${PROVIDER}-v1`, `${PROVIDER}-v2`, CONSUMER];
  const plainProbes = (each: string): string =>
    `error probes-survive-mtls ${each} spec.template.metadata.annotations["sidecar.istio.io/rewriteAppHTTPProbers"]: ` +
    "the kubelet asks in plaintext, which STRICT mTLS resets: the pods never become ready";
  const unwatched = (subset: string): string =>
    `error check-covers-calls ${CONSUMER}: calls flow through outbound|50052|${subset}|dubbo-samples-mesh-provider.dubbo-demo, ` +
    "which no health check of its Envoy watches";

  it("have these errors", () => {
    expect(errors(SAMPLE)).toEqual([
      ...pods.map(plainProbes),
      ...pods.map(unrestricted),
      unwatched("v1"),
      unwatched("v2"),
      `error check-hits-calls ${FILTER}.match: watches {"name":"outbound|50052||dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local"}, a cluster that carries no call`,
      PLAINTEXT,
      ALPN,
      PERMISSIVE,
      open(`${PROVIDER}-v1`),
      open(`${PROVIDER}-v2`),
    ]);
  });

  it("have these warnings", () => {
    expect(warnings(SAMPLE)).toEqual({
      "access-logs": 1,
      "check-asks-service": 1,
      "check-drops-removed": 1,
      "check-recovers-soon": 1,
      "check-sees-traffic": 1,
      "disruption-budget": 2,
      "image-by-digest": 3,
      "pod-read-only": 3,
      "port-named-grpc": 2,
      "resources-set": 3,
      "retries-said": 1,
      "service-account-own": 3,
      "sidecar-scope": 3,
      "token-needed": 3,
    });
  });
});
