import type { V1Pod } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import {
  type Counters,
  countsBetween,
  parseStatistics,
  plus,
  type Reading,
  readCallers,
  withoutEndpoint,
} from "../../../tools/promote/counts.ts";
import type { EnvoyHost } from "../../../tools/verify/envoy.ts";
import type { MeshReader } from "../../../tools/verify/proxy.ts";

const HOST = "greeter.shop.svc.cluster.local";

function endpoint(address: string, succeeded: number, failed: number, problems: string[] = []): EnvoyHost {
  return { address, discovered: true, succeeded, failed, problems };
}

function counters(given: Partial<Counters> = {}): Counters {
  return { hosts: [], tries: 0, active: 0, completed: 0, retried: 0, times: [], ...given };
}

/** Returns a reading of version v2 by one caller's pod. */
function reading(given: Partial<Counters>, pod = "a"): Reading {
  return new Map([["v2", new Map([[pod, counters(given)]])]]);
}

describe("the tries between two readings", () => {
  it("are the growth of each endpoint's counters and of the histogram", () => {
    const before = reading({
      hosts: [endpoint("1", 10, 1), endpoint("2", 5, 0)],
      tries: 16,
      completed: 16,
      times: [{ from: 1, width: 0.1, calls: 16 }],
    });
    const after = reading({
      hosts: [endpoint("1", 15, 2), endpoint("3", 4, 0)],
      tries: 26,
      completed: 26,
      times: [
        { from: 1, width: 0.1, calls: 20 },
        { from: 300, width: 10, calls: 6 },
      ],
    });
    expect(countsBetween(["v2"], before, after)).toEqual({
      succeeded: 9,
      failed: 1,
      unaccounted: 0,
      times: [
        { from: 1, width: 0.1, calls: 4 },
        { from: 300, width: 10, calls: 6 },
      ],
    });
  });

  it("count from zero for a new caller and for an Envoy that restarted", () => {
    const hosts = [endpoint("1", 3, 1)];
    const after = reading({ hosts, tries: 4, completed: 4 });
    const fresh = { succeeded: 3, failed: 1, unaccounted: 0, times: [] };
    expect(countsBetween(["v2"], reading({}, "b"), after)).toEqual(fresh);
    const long = reading({ hosts: [endpoint("1", 900, 90)], tries: 990, completed: 990 });
    expect(countsBetween(["v2"], long, after)).toEqual(fresh);
    expect(countsBetween(["v2"], undefined, after)).toEqual(fresh);
    expect(countsBetween(["v1"], undefined, after)).toEqual({
      succeeded: 0,
      failed: 0,
      unaccounted: 0,
      times: [],
    });
  });

  it("include tries that the caller gave up, but none that is still active", () => {
    const before = reading({ hosts: [endpoint("1", 7, 0)], tries: 10, active: 3, completed: 7 });
    // One of three active tries succeeds. Of eight new ones, two succeed, one fails and is retried,
    // three are given up, and two are active.
    const after = reading({
      hosts: [endpoint("1", 10, 1)],
      tries: 18,
      active: 4,
      completed: 10,
      retried: 1,
    });
    expect(countsBetween(["v2"], before, after)).toMatchObject({ succeeded: 3, failed: 1, unaccounted: 3 });
  });

  it("add up over callers and versions", () => {
    const one = { succeeded: 1, failed: 2, unaccounted: -1, times: [{ from: 5, width: 0.1, calls: 1 }] };
    const two = {
      succeeded: 10,
      failed: 20,
      unaccounted: 5,
      times: [
        { from: 1, width: 0.1, calls: 4 },
        { from: 5, width: 0.1, calls: 2 },
      ],
    };
    expect(plus(one, two)).toEqual({
      succeeded: 11,
      failed: 22,
      unaccounted: 4,
      times: [
        { from: 1, width: 0.1, calls: 4 },
        { from: 5, width: 0.1, calls: 3 },
      ],
    });
  });
});

describe("a version without a healthy endpoint", () => {
  it("is listed with the callers' pods that have none", () => {
    const both = new Map([
      [
        "v2",
        new Map([
          ["a", counters({ hosts: [endpoint("1", 0, 0, ["failed_active_health_check"])] })],
          [
            "b",
            counters({ hosts: [endpoint("1", 0, 0, ["failed_active_health_check"]), endpoint("2", 0, 0)] }),
          ],
          ["c", counters()],
        ]),
      ],
    ]);
    expect(withoutEndpoint("v2", both)).toEqual(["a", "c"]);
  });
});

/** Answers of an Envoy, as live ones were read (Envoy 1.40), reduced to what is read. */
const CLUSTERS = {
  cluster_statuses: [
    {
      name: `outbound|50052||${HOST}`,
      observability_name: `outbound|50052||${HOST};`,
      host_statuses: [],
    },
    {
      name: `outbound|50052|v2|${HOST}`,
      observability_name: `outbound|50052|v2|${HOST};`,
      host_statuses: [
        {
          address: { socket_address: { address: "10.244.0.5", port_value: 50052 } },
          stats: [{ name: "rq_error" }, { value: "6", name: "rq_success" }, { value: "6", name: "rq_total" }],
          health_status: { eds_health_status: "HEALTHY" },
        },
      ],
    },
  ],
};
const PREFIX = `cluster.outbound|50052|v2|${HOST};`;
const STATISTICS = {
  stats: [
    { name: `${PREFIX}.upstream_rq_active`, value: 1 },
    { name: `${PREFIX}.upstream_rq_completed`, value: 6 },
    { name: `${PREFIX}.upstream_rq_retry`, value: 0 },
    { name: `${PREFIX}.upstream_rq_total`, value: 7 },
    {
      histograms: {
        supported_percentiles: [0, 50, 100],
        details: [
          { name: `${PREFIX}.external.upstream_rq_time`, totals: [{ lower_bound: 9, width: 0.1, count: 9 }] },
          {
            name: `${PREFIX}.upstream_rq_time`,
            totals: [
              { lower_bound: 1, width: 0.1, count: 2 },
              { lower_bound: 10, width: 1, count: 4 },
            ],
            intervals: [],
            percentiles: [],
          },
        ],
      },
    },
  ],
};

function callerPod(name: string, running: boolean): V1Pod {
  const state = running ? { running: {} } : { waiting: { reason: "PodInitializing" } };
  const status = { name: "istio-proxy", ready: running, restartCount: 0, image: "", imageID: "", state };
  return {
    metadata: { name },
    spec: { containers: [{ name: "istio-proxy" }] },
    status: { containerStatuses: [status] },
  };
}

describe("a reading", () => {
  it("has the counters and times of each version, by caller's pod with a running proxy", async () => {
    const asked: string[] = [];
    const mesh: MeshReader = {
      namespace: "shop",
      pods: (application) =>
        Promise.resolve(application === "web" ? [callerPod("web-1", true), callerPod("web-2", false)] : []),
      log: () => Promise.reject(new Error("no log is read")),
      exec: (pod, container, command) => {
        const path = command.at(-1) ?? "";
        asked.push(`${pod} ${container} ${path.split("?")[0] ?? ""}`);
        return Promise.resolve(JSON.stringify(path.startsWith("clusters") ? CLUSTERS : STATISTICS));
      },
    };
    const versions = ["v1", "v2"].map((name) => ({ name, weight: 50 }));
    const read = await readCallers(mesh, ["web"], {
      callee: { name: "greeter", port: 50052, versions },
      host: HOST,
    });
    expect(asked.sort()).toEqual(["web-1 istio-proxy clusters", "web-1 istio-proxy stats"]);
    expect(read).toEqual(
      new Map([
        [
          "v2",
          new Map([
            [
              "web-1",
              {
                hosts: [
                  { address: "10.244.0.5:50052", discovered: true, succeeded: 6, failed: 0, problems: [] },
                ],
                tries: 7,
                active: 1,
                completed: 6,
                retried: 0,
                times: [
                  { from: 1, width: 0.1, calls: 2 },
                  { from: 10, width: 1, calls: 4 },
                ],
              },
            ],
          ]),
        ],
      ]),
    );
  });

  it("may have no histogram yet", () => {
    const { counters: none, times } = parseStatistics(
      JSON.stringify({ stats: [{ histograms: { supported_percentiles: [], details: [{ name: "a" }] } }] }),
    );
    expect([none.size, times.get("a")]).toEqual([0, []]);
  });
});
