import { EventEmitter, once } from "node:events";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "./gen/health_pb.ts";
import type { Call } from "./call.ts";
import { RpcError } from "./error.ts";
import type { Readiness } from "./readiness.ts";
import { type DubboService, dubboService } from "./service.ts";
import { status } from "./status.ts";

/**
 * Implements `grpc.health.v1.Health`.
 * The empty name is SERVING while the application is ready. A service is SERVING while the
 * application takes calls and the service is online. Like Dubbo's Java provider, it accepts the
 * full name and the key of a service.
 */
export class HealthService {
  /** The health service, ready to export. */
  readonly service: DubboService;
  readonly #changes = new EventEmitter().setMaxListeners(0);
  readonly #readiness: Readiness;
  readonly #services: readonly DubboService[];
  #closed = false;

  /**
   * @param services services of the application
   * @param readiness source of their status
   */
  constructor(services: readonly DubboService[], readiness: Readiness) {
    this.#services = services;
    this.#readiness = readiness;
    readiness.onChange(() => this.#changes.emit("change"));
    this.service = dubboService(Health, {
      check: (request) => {
        const found = this.#status(request.service);
        if (found !== undefined) return { status: found };
        throw new RpcError(status.NOT_FOUND, `unknown service ${request.service}`);
      },
      watch: (request, call) => this.#watch(request.service, call),
    });
  }

  /** Ends the watches. Open watches would keep the server from closing. */
  close(): void {
    this.#closed = true;
    this.#changes.emit("change");
  }

  /** Returns the status of a service; undefined for an unknown service. */
  #status(name: string): ServingStatus | undefined {
    const keys = this.#services.filter((service) => service.name === name || service.key === name);
    if (name !== "" && keys.length === 0) return undefined;
    const serving =
      name === "" ? this.#readiness.ready : keys.some(({ key }) => this.#readiness.isServing(key));
    return serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  }

  async *#watch(name: string, { signal }: Call): AsyncGenerator<{ status: ServingStatus }> {
    let last: ServingStatus | undefined;
    while (!this.#closed && !signal.aborted) {
      // Subscribe before the status is read, so that no change is lost between the two. An abort
      // also ends the wait.
      const changed = once(this.#changes, "change", { signal }).catch(() => undefined);
      const current = this.#status(name) ?? ServingStatus.SERVICE_UNKNOWN;
      if (current !== last) yield { status: current };
      last = current;
      await changed;
    }
  }
}
