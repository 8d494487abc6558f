import { describe, expect, it } from "vitest";
import { parseSettings } from "../../../settings/settings.ts";
import type { Check } from "../../../tools/verify/check.ts";
import { judgeProxies, sampleProxies } from "../../../tools/verify/proxies.ts";
import { pair } from "../pair.ts";
import { listeners, RecordedMesh, type Recording, recording, SETTINGS } from "./recorded.ts";

const HOST = "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";
const EDGE = "dubbo-samples-mesh-consumer to dubbo-samples-mesh-provider";

async function judged(look: Recording, settings = SETTINGS): Promise<Check[]> {
  return judgeProxies(settings, await sampleProxies(new RecordedMesh(look), settings));
}

function rows(checks: readonly Check[]): string[] {
  return checks.map(({ ok, check, of, seen, expected }) =>
    [ok ? "ok" : "FAIL", check, of, seen, ...(ok ? [] : [expected])].join(" | "),
  );
}

/** Returns the failed checks after a change of the recorded look. */
async function failures(change: (look: Recording) => void, settings = SETTINGS): Promise<string[]> {
  const look = recording("good", "after");
  change(look);
  return rows((await judged(look, settings)).filter(({ ok }) => !ok));
}

/** The one cluster that carries the calls. */
function carrier({ configuration: { clusters } }: Recording): Record<string, unknown> {
  const found = clusters.configs.find(({ cluster }) => cluster.name === `outbound|50052|v1|${HOST}`);
  if (found === undefined) throw new Error("no cluster");
  return found.cluster;
}

function routes({ configuration }: Recording): { route: Record<string, unknown> }[] {
  return configuration.routes.configs.flatMap(({ route_config: { virtual_hosts: hosts } }) =>
    hosts.flatMap((host) => host.routes),
  );
}

type Chains = Recording["configuration"]["inbound"]["configs"][number]["active_state"]["listener"];

function inbound({ configuration: { inbound: dump } }: Recording): Chains {
  const [config] = dump.configs;
  if (config === undefined) throw new Error("no listener");
  return config.active_state.listener;
}

describe("proxies that obey the stack", () => {
  it("pass every check", async () => {
    expect(rows(await judged(recording("good", "after")))).toEqual([
      "ok | config | dubbo-samples-mesh-provider | 14 listeners of 2 proxies; 0 updates of clusters refused so far",
      "ok | config | dubbo-samples-mesh-consumer | 7 listeners of 1 proxy; 0 updates of clusters refused so far",
      "ok | transport | dubbo-samples-mesh-provider | mutual TLS only, as configured, in 2 proxies",
      "ok | authorization | dubbo-samples-mesh-provider | 1 rule, as configured, in 2 proxies",
      "ok | scope | dubbo-samples-mesh-provider | 1 host",
      "ok | scope | dubbo-samples-mesh-consumer | 2 hosts",
      `ok | routes | ${EDGE} | 3 routes, as configured, in 1 proxy`,
      `ok | traffic policy | ${EDGE} | 1 cluster, as configured, in 1 proxy`,
      `ok | check settings | ${EDGE} | 1 cluster, as configured, in 1 proxy`,
    ]);
  });
});

describe("what Envoy refuses", () => {
  it("fails, with the proxy's reason", async () => {
    const reason = "envoy.tracers.zipkin: unknown cluster 'outbound|9411||zipkin.traces.svc.cluster.local'";
    const refused = await failures((look) => {
      look.listeners = listeners("listeners-refused");
    });
    expect(refused).toEqual([
      "FAIL | config | dubbo-samples-mesh-provider | " +
        `dubbo-samples-mesh-provider-v1-cc5f8654d-cw9kq: ${reason}, dubbo-samples-mesh-provider-v1-cc5f8654d-zhb2j: ${reason}; ` +
        "0 updates of clusters refused so far | no listener is refused",
      `FAIL | config | dubbo-samples-mesh-consumer | dubbo-samples-mesh-consumer-5cf59dcb4b-z42cp: ${reason}; ` +
        "0 updates of clusters refused so far | no listener is refused",
    ]);
  });

  it("is counted for clusters, of which Envoy does not tell whether it took a later update", async () => {
    const look = recording("good", "after");
    look.stats.push("cluster_manager.cds.update_rejected: 1");
    expect(rows(await judged(look)).slice(0, 2)).toEqual([
      "ok | config | dubbo-samples-mesh-provider | 14 listeners of 2 proxies; 2 updates of clusters refused so far",
      "ok | config | dubbo-samples-mesh-consumer | 7 listeners of 1 proxy; 1 update of clusters refused so far",
    ]);
  });
});

describe("inbound calls", () => {
  it("fail where a port takes plaintext, too", async () => {
    const permissive = await failures((look) => {
      const { filter_chains: chains } = inbound(look);
      const [port] = chains.filter(({ name }) => name === "0.0.0.0_50052");
      if (port === undefined) throw new Error("no chain of the port");
      chains.push({ ...port, transport_socket: undefined });
    });
    expect(permissive).toEqual([
      "FAIL | transport | dubbo-samples-mesh-provider | port 50052: plaintext, too | port 50052: mutual TLS only",
    ]);
  });

  it("fail where the stack lets plaintext in and the mesh does not", async () => {
    const settings = parseSettings({ cluster: "local", security: "{mtls: PERMISSIVE}" });
    expect(await failures(() => undefined, settings)).toEqual([
      "FAIL | transport | dubbo-samples-mesh-provider | port 50052: mutual TLS only | port 50052: plaintext, too",
    ]);
  });

  it("fail where no policy admits calls, or another one does", async () => {
    const rule = "ns[dubbo-demo]-policy[dubbo-samples-mesh-provider.dubbo-sa]-rule[0]";
    const withRules = (rules: object) => (look: Recording) => {
      const rbac = { name: "envoy.filters.http.rbac", typed_config: { rules } };
      for (const chain of inbound(look).filter_chains)
        chain.filters = [{ typed_config: { http_filters: [rbac] } }];
    };
    const any = { permissions: [{ any: true }] };
    const never = { permissions: [{ not_rule: { any: true } }] };
    const row = "FAIL | authorization | dubbo-samples-mesh-provider | admitted by: ";
    const expected = ` | admitted by: ${rule}`;
    const foreign = "ns[dubbo-demo]-policy[foreign]-rule[0]";
    expect(await failures(withRules({ policies: { [rule]: any, [foreign]: any } }))).toEqual([
      `${row}${rule}, ${foreign}${expected}`,
    ]);
    expect(await failures(withRules({ policies: { [rule]: never } }))).toEqual([
      `${row}no caller${expected}`,
    ]);
    expect(await failures(withRules({ action: "DENY", policies: { [rule]: any } }))).toEqual([
      `${row}every caller${expected}`,
    ]);
    // A policy without rules admits nothing, so it may be added.
    expect(await failures(withRules({ policies: { [rule]: any, [foreign]: never } }))).toEqual([]);
  });
});

describe("outbound calls", () => {
  it.each<[string, (route: Record<string, unknown>) => void, string]>([
    ["have no retries", (route) => delete route["retry_policy"], "no retries; no timeout"],
    ["have a timeout", (route) => (route["timeout"] = "20s"), "timeout 20s"],
    ["are mirrored", (route) => (route["request_mirror_policies"] = [{}]), "calls are mirrored"],
    ["go elsewhere", (route) => (route["cluster"] = `outbound|50052|v2|${HOST}`), "v2 100 %"],
  ])("fail where they %s", async (_name, change, seen) => {
    const [failure = "", ...others] = await failures((look) => {
      for (const { route } of routes(look)) change(route);
    });
    expect(failure).toContain(`FAIL | routes | ${EDGE} | `);
    expect(failure).toContain(seen);
    expect(others).toEqual([]);
  });

  it("fail where a fault is injected", async () => {
    const faulty = await failures((look) => {
      const [first] = routes(look);
      Object.assign(first ?? {}, { typed_per_filter_config: { "envoy.filters.http.fault": {} } });
    });
    expect(faulty).toHaveLength(1);
    expect(faulty[0]).toContain("a fault is injected");
  });

  it("fail where there is no route", async () => {
    const missing = await failures((look) => {
      look.configuration.routes.configs = [];
    });
    expect(missing).toEqual([
      expect.stringMatching(/^FAIL \| routes \| .* \| all other calls: none, .*greet: none \| /) as unknown,
    ]);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["detection of outliers", { outlier_detection: undefined }, "outlier detection: off"],
    ["load balancer", { lb_policy: "RANDOM" }, "load balancer: RANDOM"],
    [
      "warmup",
      { round_robin_lb_config: { slow_start_config: { slow_start_window: "30s" } } },
      "warmed up for 30s",
    ],
    ["connect timeout", { connect_timeout: "10s" }, "connect timeout: 10s"],
    [
      "limits",
      { circuit_breakers: { thresholds: [{ max_requests: 2, max_retries: 1024 }] } },
      "max requests: 2",
    ],
    ["panic threshold", { common_lb_config: {} }, "panic threshold: 0 %"],
    ["mutual TLS", { transport_socket_matches: [] }, "tls: plaintext"],
  ])("fail where the %s is another one", async (_name, fields, seen) => {
    const [failure] = await failures((look) => Object.assign(carrier(look), fields));
    expect(failure).toContain(`FAIL | traffic policy | ${EDGE} | `);
    expect(failure).toContain(seen);
  });

  it("fail where the check is another one, or there is none", async () => {
    const check = (look: Recording): Record<string, unknown> => {
      const found = look.checked.configs.find(({ cluster }) => cluster.name.includes("|v1|"));
      return (found?.cluster.health_checks?.[0] ?? {}) as Record<string, unknown>;
    };
    const row = `FAIL | check settings | ${EDGE} | `;
    const slow = await failures((look) => (check(look)["no_traffic_healthy_interval"] = "60s"));
    expect(slow).toEqual([`${row}no_traffic_healthy_interval: 60s | no_traffic_healthy_interval: 4s`]);
    const [none] = await failures((look) => (look.checked.configs = []));
    expect(none).toContain(`${row}checks: 0, `);
    const returned = await failures((look) => {
      const detection = carrier(look)["outlier_detection"] as Record<string, unknown>;
      detection["successful_active_health_check_uneject_host"] = true;
    });
    const subject = "a passing check returns an ejected endpoint";
    expect(returned).toEqual([`${row}${subject}: true | ${subject}: false`]);
  });

  it("name the versions where there are several", async () => {
    const versions = "[{name: v1, weight: 80}, {name: v2, weight: 20}]";
    const settings = parseSettings({
      cluster: "local",
      services: pair({ provider: `versions: ${versions}` }),
    });
    const found = await failures(() => undefined, settings);
    expect(found.find((row) => row.includes("traffic policy"))).toContain("v2 load balancer: none");
    expect(found.find((row) => row.includes("routes"))).toContain("v1 80 % and v2 20 %");
  });

  it("leave out versions with weight 0 in the routes, as Istio does", async () => {
    const versions = "[{name: v1}, {name: v2, weight: 0}]";
    const settings = parseSettings({
      cluster: "local",
      services: pair({ provider: `versions: ${versions}` }),
    });
    const found = await failures(() => undefined, settings);
    expect(found.filter((row) => row.includes("routes"))).toEqual([]);
  });
});

describe("a scope", () => {
  it("fails where a proxy knows other hosts", async () => {
    const foreign = await failures(({ configuration: { clusters } }) =>
      clusters.configs.push({ cluster: { name: "outbound|80||shop.other.svc.cluster.local" } }),
    );
    expect(foreign).toEqual([
      "FAIL | scope | dubbo-samples-mesh-consumer | 3 hosts, such as shop.other.svc.cluster.local | its callees, and Istio's namespace",
    ]);
  });
});
