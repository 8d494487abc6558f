import { describe, expect, it } from "vitest";
import { parseClusters, parseStats } from "../../../tools/verify/envoy.ts";
import { recording } from "./recorded.ts";

const HOST = "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";
const V1 = `outbound|50052|v1|${HOST}`;

function clusters(name: "good" | "hung", moment: "before" | "after"): string {
  return JSON.stringify(recording(name, moment).clusters);
}

describe("Envoy's clusters", () => {
  it("have their endpoints by address, with their calls", () => {
    expect(parseClusters(clusters("good", "after"), (name) => name === V1)).toEqual([
      {
        name: V1,
        statsName: `${V1};`,
        hosts: [
          { address: "10.211.0.7:50052", discovered: true, succeeded: 122, failed: 0, problems: [] },
          { address: "10.211.0.8:50052", discovered: true, succeeded: 123, failed: 0, problems: [] },
        ],
      },
    ]);
  });

  it("say which endpoints get no calls, and why", () => {
    const [cluster] = parseClusters(clusters("hung", "after"), (name) => name === V1);
    expect(cluster?.hosts.map(({ problems }) => problems)).toEqual([
      [],
      ["failed_active_health_check", "active_hc_timeout"],
    ]);
  });

  it("say what discovery thinks of an endpoint", () => {
    const host = {
      address: { socket_address: { address: "10.0.0.1", port_value: 1 } },
      health_status: { eds_health_status: "DRAINING", failed_outlier_check: true },
    };
    const json = JSON.stringify({ cluster_statuses: [{ name: "x", host_statuses: [host] }] });
    expect(parseClusters(json, () => true)).toEqual([
      {
        name: "x",
        statsName: "x",
        hosts: [
          {
            address: "10.0.0.1:1",
            discovered: false,
            succeeded: 0,
            failed: 0,
            problems: ["failed_outlier_check", "eds_health_status DRAINING"],
          },
        ],
      },
    ]);
  });

  it("may be none", () => {
    expect(parseClusters("{}", () => true)).toEqual([]);
  });
});

describe("Envoy's counters", () => {
  it("are read by name; histograms are not", () => {
    const text = [
      `cluster.${V1};.health_check.success: 77`,
      `cluster.${V1};.upstream_rq_per_cx: No recorded values`,
      `cluster.${V1};.upstream_rq_time: P0(2.03,2.01) P25(2.06,3.04)`,
      "",
    ].join("\n");
    expect([...parseStats(text)]).toEqual([[`cluster.${V1};.health_check.success`, 77]]);
  });
});
