import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HealthService } from "./health.ts";
import type { Logger } from "./logger.ts";
import { allHold, type LivenessCheck, probeServer } from "./probes.ts";
import { Readiness } from "./readiness.ts";
import type { DubboService } from "./service.ts";
import { SettingsError } from "./settings.ts";

/** Every interface: Dubbo peers dial the pod's address, and the sidecar's traffic arrives there as well. */
const HOST = "0.0.0.0";
/** Calls in flight may take this long after the drain, ms: 5 s less than the pods' time to finish. */
const FINISH_MS = 25_000;

/** What an application is made of. */
export interface ApplicationOptions {
  /** The services it exports beside its health; may be empty. */
  readonly services: readonly DubboService[];
  /** Port of the Triple server; 0 takes a free one. */
  readonly port: number;
  /** Port of the probes; 0 takes a free one. */
  readonly qosPort: number;
  /** Time from NOT_SERVING to GOAWAY, ms. */
  readonly shutdownWait: number;
  /** Time that calls in flight may take after that, ms (default: 25,000). */
  readonly finishWithin?: number;
  /** What `/live` asks (default: nothing, so it is true). */
  readonly livenessChecks?: readonly LivenessCheck[];
  /** Where the application logs. */
  readonly log: Logger;
}

function cannotListen(variable: string, port: number, error: Error): SettingsError {
  const taken = error.message.includes("EADDRINUSE") ? "the port is in use" : error.message;
  return new SettingsError(`${variable} is ${port}: cannot listen on ${HOST}:${port}: ${taken}`);
}

/** A Dubbo application: a Triple server with health service, and probes, that drains before it ends. */
export class DubboApplication {
  readonly #options: ApplicationOptions;
  readonly #readiness = new Readiness();
  readonly #server = new Server({ "grpc.enable_channelz": 0 });
  readonly #health: HealthService;
  readonly #probes = probeServer({
    "/live": () => allHold(this.#options.livenessChecks ?? []),
    "/ready": () => this.#readiness.ready,
    "/startup": () => this.#readiness.exported,
  });
  #port = 0;
  #starting: Promise<void> | undefined;
  #draining: Promise<void> | undefined;

  constructor(options: ApplicationOptions) {
    this.#options = options;
    this.#health = new HealthService(
      options.services.map(({ name }) => name),
      this.#readiness,
    );
    for (const { definition, implementation } of [...options.services, this.#health.service]) {
      this.#server.addService(definition, implementation);
    }
  }

  /** Port of the Triple server; 0 before it has started. */
  get port(): number {
    return this.#port;
  }

  /** Port of the probes; 0 before they have started. */
  get qosPort(): number {
    return (this.#probes.address() as AddressInfo | null)?.port ?? 0;
  }

  /**
   * Starts the probes, then the Triple server; when it resolves, every service is exported.
   * @throws SettingsError where a port cannot be had
   */
  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  /**
   * Ends the application without failing a call: not ready at once, closed to new calls after the shutdown wait, and done when
   * the calls in flight are, or when their time is over.
   * @param work what the application itself still has in flight, for example calls of its own
   */
  drain(work: Promise<unknown> = Promise.resolve()): Promise<void> {
    this.#draining ??= this.#drain(work);
    return this.#draining;
  }

  async #start(): Promise<void> {
    await this.#startProbes();
    await this.#startServer();
    this.#readiness.markExported();
  }

  async #startProbes(): Promise<void> {
    const { qosPort } = this.#options;
    this.#probes.listen(qosPort, HOST);
    try {
      await once(this.#probes, "listening");
    } catch (error) {
      throw cannotListen("DUBBO_APPLICATION_QOS_PORT", qosPort, error as Error);
    }
  }

  #startServer(): Promise<void> {
    const { port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(`${HOST}:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
        this.#port = bound;
        if (error === null) resolve();
        else reject(cannotListen("DUBBO_PROTOCOL_PORT", port, error));
      });
    });
  }

  async #drain(work: Promise<unknown>): Promise<void> {
    const { shutdownWait, finishWithin = FINISH_MS, log } = this.#options;
    this.#readiness.markDraining();
    log.info(`draining: not ready any more, closes in ${shutdownWait} ms`);
    await this.#starting?.catch(() => undefined);
    await sleep(shutdownWait);
    this.#health.close();
    const finished = Promise.all([this.#closeServer(), work]).then(() => true);
    const inTime = await Promise.race([finished, sleep(finishWithin, false, { ref: false })]);
    if (!inTime) {
      log.warn(`calls in flight were cut off after ${finishWithin} ms`);
      this.#server.forceShutdown();
    }
    this.#probes.close();
    this.#probes.closeAllConnections();
    log.info("drained");
  }

  /** Sends GOAWAY and waits for the calls in flight. */
  #closeServer(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.tryShutdown(() => {
        resolve();
      });
    });
  }
}
