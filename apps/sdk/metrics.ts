import type { DescMethod } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { ServiceIdentity } from "./service.ts";

/** Bounds of the response times, milliseconds. */
const BUCKETS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000];

const LABELS = ["interface", "method", "group", "version"] as const;
type Labels = Record<(typeof LABELS)[number], string>;

/** Which end of a call is counted. */
type Side = "provider" | "consumer";

/** Called with a call's status when it has ended. */
export type End = (code: status) => void;

/** The counters of one end, under the names that Dubbo gives them. Source: Dubbo 3.3, MetricsKey. */
class CallMetrics {
  readonly #begun: Counter<keyof Labels>;
  readonly #succeeded: Counter<keyof Labels>;
  readonly #failed: Counter<keyof Labels | "error">;
  readonly #processing: Gauge<keyof Labels>;
  readonly #times: Histogram<keyof Labels>;

  constructor(side: Side, registry: Registry) {
    const registers = [registry];
    const labelNames = [...LABELS];
    const name = (suffix: string): string => `dubbo_${side}_${suffix}`;
    this.#begun = new Counter({ name: name("requests_total"), help: "calls begun", labelNames, registers });
    this.#succeeded = new Counter({
      name: name("requests_succeed_total"),
      help: "calls that ended OK",
      labelNames,
      registers,
    });
    this.#failed = new Counter({
      name: name("requests_failed_total"),
      help: "calls that ended otherwise, by gRPC status",
      labelNames: [...LABELS, "error"],
      registers,
    });
    this.#processing = new Gauge({
      name: name("requests_processing_total"),
      help: "calls that are being served now",
      labelNames,
      registers,
    });
    this.#times = new Histogram({
      name: name("rt_milliseconds_histogram"),
      help: "time from begin to end of a call, milliseconds",
      labelNames,
      buckets: BUCKETS,
      registers,
    });
  }

  begin(labels: Labels): End {
    const start = performance.now();
    this.#begun.inc(labels);
    this.#processing.inc(labels);
    return (code) => {
      this.#processing.dec(labels);
      this.#times.observe(labels, performance.now() - start);
      if (code === status.OK) this.#succeeded.inc(labels);
      else this.#failed.inc({ ...labels, error: status[code] });
    };
  }
}

/** What an application counts, for Prometheus: its calls at either end, and Node's own figures. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #sides: Readonly<Record<Side, CallMetrics>>;

  /** @param application Dubbo application name, a label of every figure */
  constructor(application: string) {
    this.#registry.setDefaultLabels({ application_name: application });
    this.#sides = {
      provider: new CallMetrics("provider", this.#registry),
      consumer: new CallMetrics("consumer", this.#registry),
    };
    collectDefaultMetrics({ register: this.#registry });
  }

  /** The type of {@link text}. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** A call has begun. */
  begin(side: Side, { parent, name }: DescMethod, { group = "", version = "" }: ServiceIdentity): End {
    return this.#sides[side].begin({ interface: parent.typeName, method: name, group, version });
  }

  /** Every figure, in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
