import { describe, expect, it } from "vitest";
import { podSample, type PodSample } from "../../../tools/verify/sample.ts";
import { readinessChecks } from "../../../tools/verify/pods.ts";
import { EXPECTED, podOf, recording } from "./recorded.ts";

const [POD] = recording("good", "after").pods.filter(
  ({ metadata }) => metadata?.labels?.["app"] === EXPECTED.provider,
);
const READY = podSample(podOf(POD ?? {}));

function readiness(...providers: PodSample[]): string[] {
  const looked = { providers, consumers: [READY], callers: [], callees: [] };
  return readinessChecks(EXPECTED, looked).map(({ ok, seen }) => `${ok ? "ok" : "FAIL"} ${seen}`);
}

describe("a pod", () => {
  it("counts a native sidecar among its containers, as kubectl does", () => {
    expect(READY).toEqual({
      name: "dubbo-samples-mesh-provider-v1-cc5f8654d-cw9kq",
      version: "v1",
      ip: "10.211.0.7",
      ready: true,
      readyContainers: 2,
      containers: 2,
      sidecar: "native sidecar",
      proxyRuns: true,
      restarts: 0,
    });
  });

  it("may have the sidecar as a container", () => {
    const running = { ready: true, restartCount: 1, image: "", imageID: "", state: { running: {} } };
    const pod = {
      spec: {
        containers: [{ name: "app" }, { name: "istio-proxy" }],
        initContainers: [{ name: "istio-init" }],
      },
      status: {
        containerStatuses: [
          { name: "app", ...running, ready: false },
          { name: "istio-proxy", ...running },
        ],
        initContainerStatuses: [{ name: "istio-init", ...running }],
      },
    };
    expect(podSample(podOf(pod))).toMatchObject({
      ready: false,
      readyContainers: 1,
      containers: 2,
      sidecar: "container",
      proxyRuns: true,
      restarts: 2,
    });
  });

  it("that has not started has no address and runs no proxy", () => {
    const spec = {
      containers: [{ name: "app" }],
      initContainers: [{ name: "istio-proxy", restartPolicy: "Always" }],
    };
    expect(podSample(podOf({ metadata: { name: "new" }, spec }))).toEqual({
      name: "new",
      version: undefined,
      ip: undefined,
      ready: false,
      readyContainers: 0,
      containers: 2,
      sidecar: "native sidecar",
      proxyRuns: false,
      restarts: 0,
    });
  });
});

describe("readiness", () => {
  it("asks for as many pods as configured", () => {
    expect(readiness(READY)).toEqual([
      "FAIL 1 pod: 2/2 (native sidecar), restarts 0",
      "ok 1 pod: 2/2 (native sidecar), restarts 0",
    ]);
    expect(readiness()[0]).toBe("FAIL 0 pods: none");
  });

  it("names the pods that are not ready", () => {
    const half = { ...READY, name: "half", readyContainers: 1, restarts: 3 };
    expect(readiness(READY, half)[0]).toBe("FAIL 2 pods: half 1/2 (native sidecar), restarts 3");
  });

  it("names pods that differ, though all are ready", () => {
    expect(readiness(READY, { ...READY, name: "old", restarts: 1 })[0]).toBe(
      `ok 2 pods: ${READY.name} 2/2 (native sidecar), restarts 0, old 2/2 (native sidecar), restarts 1`,
    );
  });
});
