import { create } from "@bufbuild/protobuf";
import { type ServerWritableStream, status } from "@grpc/grpc-js";
import {
  Health,
  type HealthCheckRequest,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthCheckResponseSchema,
} from "../gen/health_pb.ts";
import type { Readiness } from "./readiness.ts";
import { type DubboService, dubboService } from "./service.ts";

type Watcher = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

/** `grpc.health.v1.Health` of an application: its services, and "" for all of them, are SERVING while it is ready. */
export class HealthService {
  /** What the server exports. */
  readonly service: DubboService;
  readonly #watchers = new Set<Watcher>();
  readonly #readiness: Readiness;
  readonly #names: ReadonlySet<string>;

  /**
   * @param names full names of the application's services
   * @param readiness what their status follows
   */
  constructor(names: readonly string[], readiness: Readiness) {
    this.#names = new Set(["", ...names]);
    this.#readiness = readiness;
    this.service = dubboService(Health, {
      check: ({ request }, answer) => {
        if (this.#names.has(request.service)) answer(null, this.#response(request));
        else answer({ code: status.NOT_FOUND, details: `unknown service ${request.service}` });
      },
      watch: (call) => {
        this.#watch(call);
      },
    });
  }

  /** Ends the watches, which would keep the server open for ever. */
  close(): void {
    for (const watcher of this.#watchers) watcher.end();
  }

  #response({ service }: HealthCheckRequest): HealthCheckResponse {
    const known = this.#readiness.ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    return create(HealthCheckResponseSchema, {
      status: this.#names.has(service) ? known : ServingStatus.SERVICE_UNKNOWN,
    });
  }

  #watch(call: Watcher): void {
    let last: ServingStatus | undefined;
    const report = (): void => {
      const response = this.#response(call.request);
      if (response.status !== last) call.write(response);
      last = response.status;
    };
    const stop = this.#readiness.onChange(report);
    this.#watchers.add(call);
    const forget = (): void => {
      stop();
      this.#watchers.delete(call);
    };
    call.on("cancelled", forget).on("finish", forget);
    report();
  }
}
