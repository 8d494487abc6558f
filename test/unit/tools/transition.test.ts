import { describe, expect, it } from "vitest";
import type { KubernetesObject } from "../../../tools/engine/program.ts";
import { keepScale, transition } from "../../../tools/engine/transition.ts";

function object(kind: string, spec: object, name = "provider"): KubernetesObject {
  return { apiVersion: "v1", kind, metadata: { name }, spec };
}

describe("the scale of a Deployment", () => {
  it("is that of the pods that run where an autoscaler decides on it, and else what is declared", () => {
    const scaler = (name: string): KubernetesObject =>
      object("HorizontalPodAutoscaler", { scaleTargetRef: { kind: "Deployment", name } }, `${name}-scaler`);
    const live = [object("Deployment", { replicas: 4 }), object("Deployment", { replicas: 4 }, "fixed")];
    const declared = [
      object("Deployment", { paused: false, replicas: 3 }),
      object("Deployment", { replicas: 2 }, "fixed"),
      object("Deployment", { replicas: 3 }, "added"),
      object("Service", {}),
      scaler("provider"),
      scaler("added"),
    ];
    expect(keepScale(declared, live)).toEqual([
      object("Deployment", { paused: false, replicas: 4 }),
      ...declared.slice(1),
    ]);
  });
});

describe("a transition", () => {
  const deployment = object("Deployment", { replicas: 2 });
  const route = (weight: number): KubernetesObject => object("VirtualService", { weight });
  const policy = (name: string): KubernetesObject => object("AuthorizationPolicy", { action: "ALLOW" }, name);

  it("is none where no route changes and nothing is removed", () => {
    expect(transition([deployment, route(80), policy("a")], [route(80)])).toBeUndefined();
    expect(transition([deployment, route(80)], [])).toBeUndefined();
    expect(transition([object("Deployment", { replicas: 3 })], [deployment])).toBeUndefined();
  });

  it("leaves a route that changes as it is, and takes all else, new routes too", () => {
    const added = object("VirtualService", { weight: 100 }, "added");
    expect(transition([deployment, route(80), added], [route(100)])).toEqual([deployment, added]);
  });

  it("takes what is new before anything is removed", () => {
    expect(transition([deployment, route(80), policy("new")], [route(80), policy("old")])).toEqual([
      deployment,
      route(80),
      policy("new"),
    ]);
  });
});
