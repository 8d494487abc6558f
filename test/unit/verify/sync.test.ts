import type { V1Pod } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { type ControlPlane, parseSync, sampleSync, syncCheck } from "../../../tools/verify/sync.ts";
import { podOf } from "./recorded.ts";

/** Answer of istiod's `/debug/syncz`, reduced to two proxies. */
const SYNCZ = JSON.stringify([
  {
    cluster_id: "Kubernetes",
    proxy: "a.shop",
    cluster_sent: "n1",
    cluster_acked: "n1",
    listener_sent: "n2",
    listener_acked: "n2",
    route_sent: "",
  },
  { proxy: "b.shop", cluster_sent: "n9", cluster_acked: "n3", route_sent: "n4" },
]);

function istiod(name: string, ready: boolean): V1Pod {
  const conditions = [{ type: "Ready", status: ready ? "True" : "False" }];
  return podOf({ metadata: { name }, spec: { containers: [{ name: "discovery" }] }, status: { conditions } });
}

/** A control plane with these istiods, which give these answers. */
function controlPlane(pods: V1Pod[], answers: Record<string, string>): ControlPlane {
  return {
    pods: (application) => Promise.resolve(application === "istiod" ? pods : []),
    exec: (pod, container, command) => {
      expect([container, ...command]).toEqual([
        "discovery",
        "pilot-discovery",
        "request",
        "GET",
        "/debug/syncz",
      ]);
      const answer = answers[pod];
      return answer === undefined
        ? Promise.reject(new Error(`no answer of ${pod}`))
        : Promise.resolve(answer);
    },
  };
}

describe("istiod's view of the proxies", () => {
  it("has the types of configuration that each proxy has not accepted", () => {
    expect([...parseSync(SYNCZ)]).toEqual([
      ["a.shop", []],
      ["b.shop", ["cluster", "route"]],
    ]);
    expect([...parseSync("null")]).toEqual([]);
  });

  it("is that of all istiods that are ready", async () => {
    const pods = [istiod("one", true), istiod("two", true), istiod("starting", false)];
    const one = JSON.stringify([{ proxy: "a.shop", cluster_sent: "n1", cluster_acked: "n1" }]);
    const two = JSON.stringify([{ proxy: "b.shop", cluster_sent: "n1", cluster_acked: "n1" }]);
    const sample = await sampleSync(controlPlane(pods, { one, two }));
    expect(sample.istiods).toBe(2);
    expect(syncCheck(sample, ["a", "b"], "shop")).toEqual({
      check: "sync",
      of: "istiod",
      seen: "2 proxies, connected and in step",
      expected: "each proxy has accepted what istiod sent",
      ok: true,
    });
  });

  it("fails for a proxy that is not connected, and for one that refuses", async () => {
    const sample = await sampleSync(controlPlane([istiod("one", true)], { one: SYNCZ }));
    expect(syncCheck(sample, ["a", "b", "c"], "shop")).toMatchObject({
      seen: "b has not accepted its cluster, route, c is not connected",
      ok: false,
    });
  });

  it("fails where no istiod is ready", async () => {
    const sample = await sampleSync(controlPlane([istiod("one", false)], {}));
    expect(syncCheck(sample, ["a"], "shop")).toMatchObject({
      seen: "no istiod is ready in istio-system",
      ok: false,
    });
  });

  it("is unknown to an account that may not ask", async () => {
    const istio = controlPlane([istiod("one", true)], {});
    istio.exec = () => Promise.reject(new Error("Unexpected server response: 403"));
    expect(syncCheck(await sampleSync(istio), ["a"], "shop")).toMatchObject({
      seen: "unknown: the account may not run commands in istio-system",
      ok: true,
    });
  });

  it("is an error where istiod does not answer", async () => {
    await expect(sampleSync(controlPlane([istiod("one", true)], {}))).rejects.toThrow("no answer of one");
  });
});
