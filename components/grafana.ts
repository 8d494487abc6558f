/** Prometheus query of a panel, and the legend of its lines. */
interface Query {
  readonly query: string;
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  /** Grafana's name of the unit. */
  readonly unit: "reqps" | "ops" | "percentunit" | "ms" | "s" | "short" | "bytes";
  readonly description: string;
  readonly queries: readonly Query[];
}

/** Heading and the panels below it. */
export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

const WINDOW = "[$__rate_interval]";
const QUANTILES = [0.5, 0.95, 0.99];

function rate(by: string, series: string): string {
  return `sum by (${by}) (rate(${series}${WINDOW}))`;
}

function quantiles(by: string, buckets: string, legend: string): Query[] {
  return QUANTILES.map((quantile) => ({
    query: `histogram_quantile(${quantile}, ${rate(`le, ${by}`, buckets)})`,
    legend: `p${quantile * 100} ${legend}`,
  }));
}

/**
 * Returns the panels of calls that the callers' proxies count. These metrics need Istio's build of
 * Envoy.
 * Source: https://istio.io/latest/docs/reference/config/metrics/
 */
function meshRow(namespace: string): Row {
  const calls = `reporter="source", destination_service_namespace="${namespace}"`;
  const by = "source_workload, destination_service_name";
  const legend = "{{source_workload}} to {{destination_service_name}}";
  const all = rate(by, `istio_requests_total{${calls}}`);
  const failed = rate(by, `istio_requests_total{${calls}, grpc_response_status!~"0?"}`);
  return {
    title: "Calls, by caller and callee",
    panels: [
      {
        title: "Calls a second",
        unit: "reqps",
        description: "counted by the callers' proxies, without retries",
        queries: [{ query: all, legend }],
      },
      {
        title: "Failed calls",
        unit: "percentunit",
        description: "share of the calls whose gRPC status is not OK",
        queries: [{ query: `${failed} / ${all}`, legend }],
      },
      {
        title: "Time of a call",
        unit: "ms",
        description: "from the callers' proxies",
        queries: quantiles(by, `istio_request_duration_milliseconds_bucket{${calls}}`, legend),
      },
    ],
  };
}

/**
 * Returns the panels of calls by method. Only the applications count by method.
 * Source: packages/dubbo-node/src/metrics.ts
 */
function methodRow(namespace: string): Row {
  const where = `namespace="${namespace}"`;
  const by = "application_name, interface, method";
  const legend = "{{application_name}} {{interface}}/{{method}}";
  const side = (name: "consumer" | "provider"): Query[] => [
    { query: rate(by, `dubbo_${name}_requests_total{${where}}`), legend: `${name}: ${legend}` },
  ];
  return {
    title: "Calls, by method",
    panels: [
      {
        title: "Calls a second",
        unit: "reqps",
        description: "started by consumers and by providers",
        queries: [...side("consumer"), ...side("provider")],
      },
      {
        title: "Failed calls a second",
        unit: "reqps",
        description: "of consumers, by gRPC status",
        queries: [
          {
            query: rate(`${by}, error`, `dubbo_consumer_requests_failed_total{${where}}`),
            legend: `${legend} {{error}}`,
          },
        ],
      },
      {
        title: "Time of a call",
        unit: "ms",
        description: "measured by the consumers, retries included",
        queries: quantiles(by, `dubbo_consumer_rt_milliseconds_histogram_bucket{${where}}`, legend),
      },
      {
        title: "Calls in flight",
        unit: "short",
        description: "which providers are answering now",
        queries: [{ query: `sum by (${by}) (dubbo_provider_requests_processing_total{${where}})`, legend }],
      },
    ],
  };
}

/**
 * Returns the panels of the providers' health, as the callers' Envoys see it. PROXY_CONFIG enables
 * these statistics.
 * Source: Envoy's cluster_stats
 */
function healthRow(namespace: string): Row {
  const where = `namespace="${namespace}", cluster_name=~"outbound.*"`;
  const checks = (what: string): Query => ({
    query: rate("cluster_name", `envoy_cluster_health_check_${what}{${where}}`),
    legend: `${what} {{cluster_name}}`,
  });
  const endpoints = (what: string): Query => ({
    query: `min by (cluster_name) (envoy_cluster_${what}{${where}})`,
    legend: `${what} {{cluster_name}}`,
  });
  return {
    title: "Health of the providers, by cluster",
    panels: [
      {
        title: "Active checks a second",
        unit: "ops",
        description: "passed and failed checks, and the failed ones without a connection",
        queries: ["success", "failure", "network_failure"].map(checks),
      },
      {
        title: "Endpoints",
        unit: "short",
        description: "healthy endpoints and all endpoints, by the caller with the fewest",
        queries: ["membership_healthy", "membership_total"].map(endpoints),
      },
      {
        title: "Ejected by outlier detection",
        unit: "short",
        description: "endpoints that are ejected now because of failed calls",
        queries: [
          {
            query: `max by (cluster_name) (envoy_cluster_outlier_detection_ejections_active{${where}})`,
            legend: "{{cluster_name}}",
          },
        ],
      },
      {
        title: "Retries a second",
        unit: "reqps",
        description: "by the callers' proxies",
        queries: [
          {
            query: rate("cluster_name", `envoy_cluster_upstream_rq_retry{${where}}`),
            legend: "{{cluster_name}}",
          },
        ],
      },
    ],
  };
}

/**
 * Returns the panels of the applications' memory and event loop. Source: prom-client's default
 * metrics.
 */
function processRow(namespace: string): Row {
  const of = (metric: string): Query => ({
    query: `max by (application_name, pod) (${metric}{namespace="${namespace}"})`,
    legend: "{{application_name}} {{pod}}",
  });
  return {
    title: "Processes",
    panels: [
      {
        title: "Memory",
        unit: "bytes",
        description: "resident memory of the application",
        queries: [of("process_resident_memory_bytes")],
      },
      {
        title: "Event loop lag, p99",
        unit: "s",
        description: "time in which the application's event loop is blocked",
        queries: [of("nodejs_eventloop_lag_p99_seconds")],
      },
    ],
  };
}

/** Returns the panels of a mesh's dashboard. */
export function dashboardRows(namespace: string): Row[] {
  return [meshRow(namespace), methodRow(namespace), healthRow(namespace), processRow(namespace)];
}

const COLUMNS = 24;
const HEIGHT = 8;

/** Data source: its type, and its id or the variable that holds the id. */
interface DataSource {
  readonly type: string;
  readonly uid: string;
}

/** Query of a panel, in Grafana's format. */
interface Target {
  readonly refId: string;
  readonly datasource: DataSource;
  readonly expr: string;
  readonly legendFormat: string;
}

/** Position and size of a panel, in Grafana's columns and lines. */
interface GridPosition {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

/** Heading of the panels below it. */
interface RowPanel {
  readonly id: number;
  readonly type: "row";
  readonly title: string;
  readonly collapsed: boolean;
  readonly gridPos: GridPosition;
  readonly panels: readonly [];
}

/** Graph of one or more queries. */
interface GraphPanel {
  readonly id: number;
  readonly type: "timeseries";
  readonly title: string;
  readonly description: string;
  readonly datasource: DataSource;
  readonly gridPos: GridPosition;
  readonly fieldConfig: {
    readonly defaults: { readonly unit: string; readonly min: number };
    readonly overrides: readonly [];
  };
  readonly targets: readonly Target[];
}

/**
 * Fields of Grafana's dashboard that this project uses.
 * Source:
 * https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
 */
export interface Dashboard {
  readonly title: string;
  readonly tags: readonly string[];
  readonly editable: boolean;
  readonly schemaVersion: number;
  readonly refresh: string;
  readonly time: { readonly from: string; readonly to: string };
  readonly templating: {
    readonly list: readonly {
      readonly name: string;
      readonly label: string;
      readonly type: "datasource";
      readonly query: string;
    }[];
  };
  readonly panels: readonly (RowPanel | GraphPanel)[];
}

const DATASOURCE: DataSource = { type: "prometheus", uid: "${datasource}" };

function targetsOf({ queries }: Panel): Target[] {
  return queries.map(({ query, legend }, index) => ({
    refId: String.fromCharCode("A".charCodeAt(0) + index),
    datasource: DATASOURCE,
    expr: query,
    legendFormat: legend,
  }));
}

/** Returns a row's heading and its panels side by side, from line `y` on, in Grafana's layout. */
function rowPanels({ title, panels }: Row, y: number, firstId: number): (RowPanel | GraphPanel)[] {
  const width = Math.floor(COLUMNS / panels.length);
  const heading: RowPanel = {
    id: firstId,
    type: "row",
    title,
    collapsed: false,
    gridPos: { x: 0, y, w: COLUMNS, h: 1 },
    panels: [],
  };
  const graphs = panels.map((panel, index): GraphPanel => ({
    id: firstId + 1 + index,
    type: "timeseries",
    title: panel.title,
    description: panel.description,
    datasource: DATASOURCE,
    gridPos: { x: index * width, y: y + 1, w: width, h: HEIGHT },
    fieldConfig: { defaults: { unit: panel.unit, min: 0 }, overrides: [] },
    targets: targetsOf(panel),
  }));
  return [heading, ...graphs];
}

/**
 * Returns a Grafana dashboard of a mesh. The viewer selects the Prometheus data source in the
 * dashboard. This Prometheus must scrape pods by their annotations, and set the labels `namespace`
 * and `pod`. The configurations of Istio and of Prometheus' chart do so.
 */
export function dashboard(namespace: string): Dashboard {
  const rows = dashboardRows(namespace);
  let id = 1;
  const panels = rows.flatMap((row, index) => {
    const laid = rowPanels(row, index * (HEIGHT + 1), id);
    id += laid.length;
    return laid;
  });
  return {
    title: `Dubbo mesh ${namespace}`,
    tags: ["dubbo", "istio"],
    editable: true,
    schemaVersion: 39,
    refresh: "30s",
    time: { from: "now-1h", to: "now" },
    templating: {
      list: [{ name: "datasource", label: "Prometheus", type: "datasource", query: "prometheus" }],
    },
    panels,
  };
}
