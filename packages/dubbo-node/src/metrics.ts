import type { DescMethod } from "@bufbuild/protobuf";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { ServiceIdentity } from "./service.ts";
import { type Status, status, statusName } from "./status.ts";

/** Bucket bounds of the response times, milliseconds. */
const BUCKETS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000];

const LABELS = ["interface", "method", "group", "version"] as const;
type Labels = Record<(typeof LABELS)[number], string>;

/** Side of a call that is counted. */
type Side = "provider" | "consumer";

/** Callback for the end of a call, with its status. */
export type End = (code: Status) => void;

/**
 * Calls of one method, counted in plain numbers. A metric object would look up its labels on every
 * call.
 */
class MethodCalls {
  readonly labels: Labels;
  begun = 0;
  ended = 0;
  readonly failed = new Map<Status, number>();

  constructor(labels: Labels) {
    this.labels = labels;
  }

  end(code: Status): void {
    this.ended += 1;
    if (code !== status.OK) this.failed.set(code, (this.failed.get(code) ?? 0) + 1);
  }

  get succeeded(): number {
    return this.ended - [...this.failed.values()].reduce((sum, count) => sum + count, 0);
  }
}

/** Counters of one side, under Dubbo's names. Source: Dubbo 3.3, MetricsKey. */
class CallMetrics {
  // Keyed by service and method, which are stable objects. A text key would have to be built on
  // every call.
  readonly #methods = new Map<ServiceIdentity, Map<DescMethod, MethodCalls>>();
  readonly #times: Histogram<keyof Labels>;

  constructor(side: Side, registry: Registry) {
    const registers = [registry];
    const all = (): MethodCalls[] => [...this.#methods.values()].flatMap((methods) => [...methods.values()]);
    const name = (suffix: string): string => `dubbo_${side}_${suffix}`;
    const counter = (suffix: string, help: string, value: (calls: MethodCalls) => number): void => {
      new Counter({
        name: name(suffix),
        help,
        labelNames: LABELS,
        registers,
        collect() {
          this.reset();
          for (const calls of all()) this.inc(calls.labels, value(calls));
        },
      });
    };
    counter("requests_total", "calls started", ({ begun }) => begun);
    counter("requests_succeed_total", "calls that ended with status OK", ({ succeeded }) => succeeded);
    new Counter({
      name: name("requests_failed_total"),
      help: "calls that failed, by gRPC status",
      labelNames: [...LABELS, "error"],
      registers,
      collect() {
        this.reset();
        for (const { labels, failed } of all()) {
          for (const [code, count] of failed) this.inc({ ...labels, error: statusName(code) }, count);
        }
      },
    });
    new Gauge({
      name: name("requests_processing_total"),
      help: "calls in flight",
      labelNames: LABELS,
      registers,
      collect() {
        this.reset();
        for (const { labels, begun, ended } of all()) this.inc(labels, begun - ended);
      },
    });
    this.#times = new Histogram({
      name: name("rt_milliseconds_histogram"),
      help: "time from start to end of a call, milliseconds",
      labelNames: LABELS,
      buckets: BUCKETS,
      registers,
    });
  }

  begin(method: DescMethod, identity: ServiceIdentity): End {
    const calls = this.#methods.get(identity)?.get(method) ?? this.#add(method, identity);
    const start = performance.now();
    calls.begun += 1;
    return (code) => {
      calls.end(code);
      this.#times.observe(calls.labels, performance.now() - start);
    };
  }

  #add(method: DescMethod, identity: ServiceIdentity): MethodCalls {
    const { group = "", version = "" } = identity;
    const calls = new MethodCalls({ interface: method.parent.typeName, method: method.name, group, version });
    const methods = this.#methods.get(identity) ?? new Map<DescMethod, MethodCalls>();
    this.#methods.set(identity, methods.set(method, calls));
    return calls;
  }
}

/**
 * Metrics of an application in Prometheus format: calls on both sides, and the default metrics of
 * Node.js.
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #sides: Readonly<Record<Side, CallMetrics>>;

  /** @param application Dubbo application name, a label of every metric */
  constructor(application: string) {
    this.#registry.setDefaultLabels({ application_name: application });
    this.#sides = {
      provider: new CallMetrics("provider", this.#registry),
      consumer: new CallMetrics("consumer", this.#registry),
    };
    collectDefaultMetrics({ register: this.#registry });
  }

  /** Media type of {@link text}. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Counts the start of a call. The returned function counts its end. */
  begin(side: Side, method: DescMethod, identity: ServiceIdentity): End {
    return this.#sides[side].begin(method, identity);
  }

  /** Returns all metrics in the text format of Prometheus. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
