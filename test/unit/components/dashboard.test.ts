import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { DASHBOARD_LABELS, MeshDashboard } from "../../../components/dashboard.ts";
import { dashboard, dashboardRows } from "../../../components/grafana.ts";
import { validateObject } from "../../schemas/validate.ts";
import { register } from "./mocks.ts";

const { series } = JSON.parse(readFileSync(new URL("../recorded/metrics.json", import.meta.url), "utf8")) as {
  series: Record<string, string[]>;
};

/**
 * Metrics of Istio's own Envoy, which the stock one of the local cluster lacks.
 * Source: https://istio.io/latest/docs/reference/config/metrics/
 */
const ISTIO_LABELS = [
  "destination_service_name",
  "destination_service_namespace",
  "grpc_response_status",
  "reporter",
  "source_workload",
];
const STANDARD: Readonly<Record<string, readonly string[]>> = {
  istio_requests_total: ISTIO_LABELS,
  istio_request_duration_milliseconds_bucket: [...ISTIO_LABELS, "le"],
};

/** Labels that Prometheus adds to scraped metrics. */
const TARGET_LABELS = ["namespace", "pod"];

const queries = dashboardRows("demo").flatMap(({ panels }) => panels.flatMap((panel) => panel.queries));

function metricsOf(query: string): [metric: string, selectors: string][] {
  return [...query.matchAll(/([a-z]\w+)\{([^}]*)\}/g)].map(([, metric = "", labels = ""]) => [
    metric,
    labels,
  ]);
}

function groupsOf(query: string): string[] {
  return [...query.matchAll(/ by \(([^)]*)\)/g)].flatMap(([, labels = ""]) => labels.split(", "));
}

describe("every query of the dashboard", () => {
  it.each(queries)("uses metrics that a live pod exports: $query", ({ query, legend }) => {
    const metrics = metricsOf(query);
    expect(metrics.length).toBeGreaterThan(0);
    for (const [metric, selectors] of metrics) {
      const known = STANDARD[metric] ?? series[metric];
      if (known === undefined) throw new Error(`no pod puts out ${metric}`);
      const selected = [...selectors.matchAll(/(\w+)(?:=|!)/g)].map(([, label = ""]) => label);
      const unknown = [...selected, ...groupsOf(query)].filter(
        (label) => !known.includes(label) && !TARGET_LABELS.includes(label),
      );
      expect(unknown).toEqual([]);
      expect(selectors).toMatch(/namespace="demo"/);
    }
    const named = [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = ""]) => label);
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((label) => !groupsOf(query).includes(label))).toEqual([]);
  });

  it("covers calls, checks, health, ejections and the application", () => {
    const asked = new Set(queries.flatMap(({ query }) => metricsOf(query).map(([metric]) => metric)));
    expect([...asked].sort()).toEqual([
      "dubbo_consumer_requests_failed_total",
      "dubbo_consumer_requests_total",
      "dubbo_consumer_rt_milliseconds_histogram_bucket",
      "dubbo_provider_requests_processing_total",
      "dubbo_provider_requests_total",
      "envoy_cluster_health_check_failure",
      "envoy_cluster_health_check_network_failure",
      "envoy_cluster_health_check_success",
      "envoy_cluster_membership_healthy",
      "envoy_cluster_membership_total",
      "envoy_cluster_outlier_detection_ejections_active",
      "envoy_cluster_upstream_rq_retry",
      "istio_request_duration_milliseconds_bucket",
      "istio_requests_total",
      "nodejs_eventloop_lag_p99_seconds",
      "process_resident_memory_bytes",
    ]);
  });
});

describe("the dashboard", () => {
  const { panels } = dashboard("demo");

  it("has panels with unique ids that do not overlap and fit 24 columns", () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) => {
      expect(x + w).toBeLessThanOrEqual(24);
      return Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`);
    });
    expect(new Set(cells).size).toBe(cells.length);
    expect(panels.filter(({ type }) => type === "timeseries")).toHaveLength(13);
    expect(panels.filter(({ type }) => type === "row")).toHaveLength(4);
  });

  it("is a ConfigMap that Grafana's chart finds, in a file named after the mesh", async () => {
    const { resources } = await register(() => new MeshDashboard("board", { namespace: "demo" }));
    const [map, ...more] = resources;
    expect(more).toEqual([]);
    expect([map?.type, map?.name]).toEqual(["kubernetes:core/v1:ConfigMap", "board"]);
    const { metadata, data } = map?.inputs as { metadata: object; data: Record<string, string> };
    expect(metadata).toEqual({ name: "mesh-dashboard", namespace: "demo", labels: DASHBOARD_LABELS });
    expect(DASHBOARD_LABELS).toEqual({ grafana_dashboard: "1" });
    expect(Object.keys(data)).toEqual(["dubbo-mesh-demo.json"]);
    expect(JSON.parse(data["dubbo-mesh-demo.json"] ?? "")).toEqual(dashboard("demo"));
    expect(validateObject(map?.inputs)).toEqual([]);
  });
});
