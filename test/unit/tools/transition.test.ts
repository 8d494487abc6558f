import { describe, expect, it } from "vitest";
import type { KubernetesObject } from "../../../tools/engine/program.ts";
import { keepScale, transition } from "../../../tools/engine/transition.ts";

function object(kind: string, spec: object, name = "provider"): KubernetesObject {
  return { apiVersion: "v1", kind, metadata: { name }, spec };
}

const old = { from: ["old"] };
const fresh = { from: ["new"] };

describe("the scale of a Deployment", () => {
  it("is that of the pods that run where none is declared, and else what is declared", () => {
    const live = [object("Deployment", { replicas: 4 }), object("Deployment", { replicas: 4 }, "fixed")];
    const declared = [
      object("Deployment", { paused: false }),
      object("Deployment", { replicas: 2 }, "fixed"),
      object("Deployment", { paused: false }, "added"),
      object("Service", {}),
    ];
    expect(keepScale(declared, live)).toEqual([
      object("Deployment", { paused: false, replicas: 4 }),
      object("Deployment", { replicas: 2 }, "fixed"),
      object("Deployment", { paused: false }, "added"),
      object("Service", {}),
    ]);
  });
});

describe("a transition", () => {
  const deployment = object("Deployment", { replicas: 2 });
  const route = (weight: number): KubernetesObject => object("VirtualService", { weight });

  it("is none where no rule changes, or all are new", () => {
    const rules = [route(80), object("AuthorizationPolicy", { rules: [old] })];
    expect(transition([deployment, ...rules], rules)).toBeUndefined();
    expect(transition([deployment, ...rules], [])).toBeUndefined();
  });

  it("leaves a route that changes as it is, and takes a new one", () => {
    const added = object("VirtualService", { weight: 100 }, "added");
    expect(transition([deployment, route(80), added], [route(100)])).toEqual([deployment, added]);
  });

  it("adds subsets and their checks to those that were there, which stay as they were", () => {
    const patch = (subset: string, interval: string): object => ({ match: { subset }, patch: { interval } });
    const subsets = (...names: string[]): object => ({ host: "h", subsets: names.map((name) => ({ name })) });
    const before = [
      object("DestinationRule", { ...subsets("v1", "v2"), trafficPolicy: "old" }),
      object("EnvoyFilter", { configPatches: [patch("v1", "5s"), patch("v2", "5s")] }),
    ];
    const after = [
      object("DestinationRule", { ...subsets("v2", "v3"), trafficPolicy: "new" }),
      object("EnvoyFilter", { configPatches: [patch("v2", "1s"), patch("v3", "1s")] }),
    ];
    expect(transition(after, before)).toEqual([
      object("DestinationRule", { ...subsets("v1", "v2", "v3"), trafficPolicy: "old" }),
      object("EnvoyFilter", { configPatches: [patch("v1", "5s"), patch("v2", "5s"), patch("v3", "1s")] }),
    ]);
    expect(transition([route(80), ...after], [route(100)])).toEqual(after);
  });

  it("allows what a policy allows and what it allowed before, each once", () => {
    const before = [object("AuthorizationPolicy", { action: "ALLOW", rules: [old] })];
    const after = object("AuthorizationPolicy", { action: "ALLOW", rules: [fresh] });
    expect(transition([deployment, after], before)).toEqual([
      deployment,
      object("AuthorizationPolicy", { action: "ALLOW", rules: [fresh, old] }),
    ]);
    const wider = object("AuthorizationPolicy", { action: "ALLOW", rules: [old, fresh] });
    expect(transition([wider], before)).toEqual([wider]);
  });

  it("does not make a policy that allows nothing allow anything", () => {
    const deny = object("AuthorizationPolicy", {}, "default-deny");
    expect(transition([route(80), deny], [route(100)])).toEqual([
      object("AuthorizationPolicy", {}, "default-deny"),
    ]);
  });
});
