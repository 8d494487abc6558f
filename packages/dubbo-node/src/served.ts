import type { DescMethod } from "@bufbuild/protobuf";
import type { Tracer } from "@opentelemetry/api";
import { type AttachmentsInit, putAttachments } from "./attachments.ts";
import { type Call, serving } from "./call.ts";
import { atDeadline } from "./deadline.ts";
import { asRpcError, RpcError } from "./error.ts";
import type { HeaderFields } from "./headers.ts";
import type { End } from "./metrics.ts";
import type { Route, Router } from "./router.ts";
import type { AnyHandler, DubboService } from "./service.ts";
import { CallSpan } from "./spans.ts";
import { type Status, status } from "./status.ts";

/** Callbacks for the calls of a server. */
export interface CallObserver {
  /** Runs at the start of a call; the returned function runs at its end, with the status. */
  begin(service: DubboService, method: DescMethod): End;
  /** Runs when a handler throws an error other than an RpcError, or attachments cannot be sent. */
  failed(method: DescMethod, error: unknown): void;
}

/** Services of a server, and the options of its calls. */
export interface Serving {
  readonly router: Router;
  /** Observer of the calls. */
  readonly observer: CallObserver;
  /** Most bytes of a message. */
  readonly payload: number;
  /**
   * True if handlers make calls, which inherit trace headers and deadline of the incoming call.
   * Node.js then tracks every promise of a call, so it is false without references.
   */
  readonly propagatesContext: boolean;
  /** Makes a span of each call (default: none). */
  readonly tracer: Tracer | undefined;
}

/** Answers with a failure, and with headers that carry its attachments. */
type SendFailure = (error: RpcError, attachments: HeaderFields) => void;

function nothing(): void {
  // The call has not begun, or has ended.
}

/**
 * A call that a server serves, in any protocol. It ends once: answered, failed, cancelled or timed
 * out.
 */
export class ServedCall {
  readonly route: Route;
  readonly call: Call;
  readonly #serving: Serving;
  readonly #sendFailure: SendFailure;
  #ended: End = nothing;
  #timer: NodeJS.Timeout | undefined;
  #span: CallSpan | undefined;

  constructor(route: Route, call: Call, served: Serving, sendFailure: SendFailure) {
    this.route = route;
    this.call = call;
    this.#serving = served;
    this.#sendFailure = sendFailure;
  }

  /**
   * Starts the call, and returns its handler.
   * @throws RpcError UNIMPLEMENTED if no service has the version and group of the call
   */
  begin(): AnyHandler {
    const { service, handler } = this.route.resolve(this.call.headers);
    const { observer, tracer } = this.#serving;
    this.#ended = observer.begin(service, this.route.method);
    this.#span = tracer && CallSpan.served(tracer, this.call.headers, this.route.method, service);
    this.#timer = atDeadline(this.call.deadline, () => {
      this.#late();
    });
    return handler;
  }

  /** Runs a handler in the context of the call. */
  run<T>(handler: () => T): T {
    const span = this.#span;
    const work = span === undefined ? handler : (): T => span.run(handler);
    return this.#serving.propagatesContext ? serving(this.call, work) : work();
  }

  /**
   * Returns headers with attachments. One that cannot be sent is logged.
   * @throws RpcError INTERNAL that names it
   */
  headersOf(attachments: AttachmentsInit): HeaderFields {
    const fields: HeaderFields = {};
    try {
      putAttachments(fields, attachments);
    } catch (error) {
      this.#serving.observer.failed(this.route.method, error);
      throw error;
    }
    return fields;
  }

  /** Notes that the call has been answered. */
  succeed(): void {
    this.call.finish();
    this.#end(status.OK);
  }

  /** Answers with a failure, unless the call has ended. */
  fail(thrown: unknown): void {
    if (this.call.finished) return;
    const error = asRpcError(thrown);
    if (error !== thrown) this.#serving.observer.failed(this.route.method, thrown);
    this.call.finish();
    this.#end(error.code);
    this.#answer(error);
  }

  /** Cancels the call, unless it has ended. */
  cancel(): void {
    if (this.call.finished) return;
    this.#end(status.CANCELLED);
    this.call.cancel();
  }

  #late(): void {
    this.#end(status.DEADLINE_EXCEEDED);
    this.call.cancel();
    this.#answer(new RpcError(status.DEADLINE_EXCEEDED, "the deadline has passed"));
  }

  /** Answers with a failure. Attachments that cannot be sent are named in its message. */
  #answer(error: RpcError): void {
    let [sent, fields]: [RpcError, HeaderFields] = [error, {}];
    try {
      fields = this.headersOf(error.attachments);
    } catch (invalid) {
      sent = new RpcError(error.code, `${error.details} (${asRpcError(invalid).details})`);
    }
    this.#sendFailure(sent, fields);
  }

  #end(code: Status): void {
    clearTimeout(this.#timer);
    this.#ended(code);
    this.#ended = nothing;
    this.#span?.end(code);
    this.#span = undefined;
  }
}
