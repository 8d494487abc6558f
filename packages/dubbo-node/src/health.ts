import { EventEmitter, once } from "node:events";
import { status } from "@grpc/grpc-js";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "./gen/health_pb.ts";
import type { Call } from "./call.ts";
import { RpcError } from "./error.ts";
import type { Readiness } from "./readiness.ts";
import { type DubboService, dubboService } from "./service.ts";

/**
 * `grpc.health.v1.Health` of an application. "" is SERVING while the application is ready, and each service while it is online; a service is
 * known by its full name and by its key, as with Dubbo's Java provider.
 */
export class HealthService {
  /** What the server exports. */
  readonly service: DubboService;
  readonly #changes = new EventEmitter().setMaxListeners(0);
  readonly #readiness: Readiness;
  readonly #services: readonly DubboService[];
  #closed = false;

  /**
   * @param services the application's services
   * @param readiness what their status follows
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

  /** Ends the watches, which would keep the server open for ever. */
  close(): void {
    this.#closed = true;
    this.#changes.emit("change");
  }

  /** The status of a service; undefined where there is no such service. */
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
      // Listens before it looks, so that no change falls between the two; an abort wakes it as well.
      const changed = once(this.#changes, "change", { signal }).catch(() => undefined);
      const current = this.#status(name) ?? ServingStatus.SERVICE_UNKNOWN;
      if (current !== last) yield { status: current };
      last = current;
      await changed;
    }
  }
}
