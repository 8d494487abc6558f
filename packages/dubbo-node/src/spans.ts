import {
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import type { DescMethod } from "@bufbuild/protobuf";
import type { HeaderFields, Headers } from "./headers.ts";
import type { ServiceIdentity } from "./service.ts";
import { type Status, status, statusName } from "./status.ts";

/**
 * Statuses that make the provider's span an error. Source: OpenTelemetry's conventions for gRPC.
 */
const FAULTS_OF_PROVIDER: ReadonlySet<Status> = new Set([
  status.UNKNOWN,
  status.DEADLINE_EXCEEDED,
  status.UNIMPLEMENTED,
  status.INTERNAL,
  status.UNAVAILABLE,
  status.DATA_LOSS,
]);

/**
 * Returns the tracer of OpenTelemetry's SDK; undefined without an SDK, so that calls cost nothing.
 * Register the SDK before the application starts, for example in a module that `node --import`
 * loads.
 */
export function tracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  // Without an SDK, the API's own provider has no delegate tracer.
  if ("getDelegateTracer" in provider) {
    const { getDelegateTracer } = provider as { getDelegateTracer: (name: string) => Tracer | undefined };
    if (getDelegateTracer.call(provider, "dubbo-node") === undefined) return undefined;
  }
  return provider.getTracer("dubbo-node");
}

/** Span of one call. */
export class CallSpan {
  readonly #span: Span;
  readonly #context: Context;
  readonly #kind: SpanKind;

  private constructor(
    from: Tracer,
    kind: SpanKind,
    parent: Context,
    method: DescMethod,
    of: ServiceIdentity,
  ) {
    const service = method.parent.typeName;
    this.#kind = kind;
    this.#span = from.startSpan(
      `${service}/${method.name}`,
      {
        kind,
        // Source: https://opentelemetry.io/docs/specs/semconv/rpc/
        attributes: {
          "rpc.system": "apache_dubbo",
          "rpc.service": service,
          "rpc.method": method.name,
          ...(of.version !== undefined && { "dubbo.version": of.version }),
          ...(of.group !== undefined && { "dubbo.group": of.group }),
        },
      },
      parent,
    );
    this.#context = trace.setSpan(parent, this.#span);
  }

  /** Starts the span of a call that is served, as a child of the span in its headers. */
  static served(from: Tracer, headers: Headers, method: DescMethod, of: ServiceIdentity): CallSpan {
    const parent = propagation.extract(ROOT_CONTEXT, Object.fromEntries(headers.entries()));
    return new CallSpan(from, SpanKind.SERVER, parent, method, of);
  }

  /**
   * Starts the span of an outgoing call, as a child of the current span, and adds the trace
   * headers.
   */
  static made(from: Tracer, headers: HeaderFields, method: DescMethod, of: ServiceIdentity): CallSpan {
    const span = new CallSpan(from, SpanKind.CLIENT, context.active(), method, of);
    propagation.inject(span.#context, headers);
    return span;
  }

  /** Runs `work` with this span as the current one. */
  run<T>(work: () => T): T {
    return context.with(this.#context, work);
  }

  /** Ends the span with the status of the call. */
  end(code: Status): void {
    this.#span.setAttribute("rpc.grpc.status_code", code);
    const failed = this.#kind === SpanKind.CLIENT ? code !== status.OK : FAULTS_OF_PROVIDER.has(code);
    if (failed) this.#span.setStatus({ code: SpanStatusCode.ERROR, message: statusName(code) });
    this.#span.end();
  }
}
