import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { DescService } from "@bufbuild/protobuf";
import { commands } from "./commands.ts";
import { SettingsError } from "./error.ts";
import { HealthService } from "./health.ts";
import type { Logger } from "./logger.ts";
import { Metrics } from "./metrics.ts";
import { variableOf } from "./names.ts";
import { type LivenessCheck, qosServer } from "./qos.ts";
import { Readiness } from "./readiness.ts";
import { DubboReference } from "./reference.ts";
import { Router } from "./router.ts";
import type { CallObserver } from "./served.ts";
import { TripleServer } from "./server.ts";
import { type DubboService, dubboService, type Handlers, type ServiceIdentity } from "./service.ts";
import { tracer } from "./spans.ts";
import { type ApplicationSettings, referenceKeys, type ReferenceSettings } from "./settings.ts";

/**
 * Listen address: all network interfaces. Dubbo peers and the sidecar connect to the address of the
 * pod.
 */
const HOST = "0.0.0.0";

/** Options of a {@link DubboApplication}. */
export interface ApplicationOptions {
  /** Settings of the application; port 0 takes a free port. */
  readonly settings: ApplicationSettings;
  /** Checks behind `/live` (default: none, so `/live` is true). */
  readonly livenessChecks?: readonly LivenessCheck[];
  /** Logger of the application. */
  readonly log: Logger;
}

function cannotListen(property: keyof ApplicationSettings, port: number, error: Error): SettingsError {
  const taken = error.message.includes("EADDRINUSE") ? "the port is in use" : error.message;
  return new SettingsError(`${variableOf(property)} is ${port}: cannot listen on ${HOST}:${port}: ${taken}`);
}

/**
 * A Dubbo application.
 * It has a Triple server with its services and their health, and references to other services. A
 * QOS server offers probes, commands and metrics. The application drains before it ends.
 */
export class DubboApplication {
  readonly #settings: ApplicationSettings;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #services: DubboService[] = [];
  readonly #references: DubboReference<DescService>[] = [];
  readonly #readiness = new Readiness(() => this.#services.map(({ key }) => key));
  readonly #health = new HealthService(this.#services, this.#readiness);
  readonly #qos: ReturnType<typeof qosServer> | undefined;
  #server: TripleServer | undefined;
  #port = 0;
  #starting: Promise<void> | undefined;
  #draining: Promise<void> | undefined;

  constructor({ settings, livenessChecks = [], log }: ApplicationOptions) {
    this.#settings = settings;
    this.#log = log;
    this.#metrics = new Metrics(settings["dubbo.application.name"]);
    this.#qos = this.#qosServer(livenessChecks);
  }

  /** Port of the Triple server; 0 before the start. */
  get port(): number {
    return this.#port;
  }

  /** Port of the QOS server; 0 before the start or without a QOS server. */
  get qosPort(): number {
    return (this.#qos?.address() as AddressInfo | null | undefined)?.port ?? 0;
  }

  /**
   * Exports a service at the start. Call it before {@link start}.
   * @param service the generated service
   * @param handlers one handler for each method
   * @param identity version and group of the interface (default: those of the settings)
   */
  export<S extends DescService>(service: S, handlers: Handlers<S>, identity?: ServiceIdentity): void {
    const { "dubbo.provider.version": version, "dubbo.provider.group": group } = this.#settings;
    this.#services.push(dubboService(service, handlers, identity ?? { version, group }));
  }

  /**
   * Returns a reference to a service of a provider. Call it before {@link start}.
   * The application counts the calls of the reference, and closes it after the drain.
   * @param service the generated service
   * @param settings address of the provider, and the wanted version and group; settings of this
   *   service take precedence over those of all references
   */
  reference<S extends DescService>(service: S, settings: ReferenceSettings): DubboReference<S> {
    const named = referenceKeys(service);
    const provider = settings[named.providedBy] ?? settings["dubbo.reference.provided-by"];
    const port = settings[named.providerPort] ?? settings["dubbo.reference.provider-port"];
    const reference = new DubboReference(service, {
      version: settings["dubbo.consumer.version"],
      group: settings["dubbo.consumer.group"],
      target: `${provider}.${settings.POD_NAMESPACE}.svc.${settings.CLUSTER_DOMAIN}:${port}`,
      consumer: this.#settings["dubbo.application.name"],
      timeout: settings["dubbo.consumer.timeout"],
      payload: this.#settings["dubbo.protocol.payload"],
      begin: (method, of) => this.#metrics.begin("consumer", method, of),
      log: this.#log,
    });
    this.#references.push(reference);
    return reference;
  }

  /**
   * Starts the QOS server, then the Triple server. Every service is exported when it resolves.
   * @throws SettingsError if a port is not available
   */
  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  /**
   * Drains and ends the application, so that no call fails.
   * The application becomes not ready at once, and refuses new calls after the shutdown wait. The
   * drain ends with the last call in flight, or at the shutdown timeout.
   * @param work other work in flight, for example calls that the application makes
   */
  drain(work: Promise<unknown> = Promise.resolve()): Promise<void> {
    this.#draining ??= this.#drain(work);
    return this.#draining;
  }

  #observer(): CallObserver {
    return {
      begin: (service, method) => this.#metrics.begin("provider", method, service),
      failed: ({ parent, name }, error) => {
        const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
        this.#log.error(`${parent.typeName}/${name} threw ${what}`);
      },
    };
  }

  #qosServer(livenessChecks: readonly LivenessCheck[]): ReturnType<typeof qosServer> | undefined {
    const settings = this.#settings;
    if (!settings["dubbo.application.qos-enable"]) return undefined;
    const list = commands({
      provided: () => this.#services.map(({ key }) => key),
      consumed: () => this.#references.map(({ key }) => key),
      readiness: this.#readiness,
      metrics: this.#metrics,
      livenessChecks,
      log: this.#log,
      settings,
    });
    return qosServer(list, {
      acceptForeignIp: settings["dubbo.application.qos-accept-foreign-ip"],
      level: settings["dubbo.application.qos-anonymous-access-permission-level"],
      allowed: settings["dubbo.application.qos-anonymous-allow-commands"],
    });
  }

  async #start(): Promise<void> {
    const own = [...this.#services, this.#health.service];
    const services = this.#settings["dubbo.tri.builtin.service.init"]
      ? [...own, ...(await import("./reflection.ts")).reflectionServices(own)]
      : own;
    const router = new Router(services, this.#settings["dubbo.rpc.tri.resolve-fallback-to-default"]);
    await this.#startQos();
    await this.#startServer(router);
    this.#readiness.markExported();
  }

  async #startQos(): Promise<void> {
    const port = this.#settings["dubbo.application.qos-port"];
    this.#qos?.listen(port, HOST);
    try {
      if (this.#qos !== undefined) await once(this.#qos, "listening");
    } catch (error) {
      throw cannotListen("dubbo.application.qos-port", port, error as Error);
    }
  }

  async #startServer(router: Router): Promise<void> {
    const port = this.#settings["dubbo.protocol.port"];
    const served = {
      router,
      observer: this.#observer(),
      payload: this.#settings["dubbo.protocol.payload"],
      propagatesContext: this.#references.length > 0,
      tracer: tracer(),
    };
    this.#server = new TripleServer(served, this.#log);
    try {
      this.#port = await this.#server.listen(port, HOST);
    } catch (error) {
      throw cannotListen("dubbo.protocol.port", port, error as Error);
    }
  }

  async #drain(work: Promise<unknown>): Promise<void> {
    const wait = this.#settings["dubbo.service.shutdown.wait"];
    const timeout = this.#settings["dubbo.service.shutdown.timeout"];
    this.#readiness.markDraining();
    this.#log.info(`draining: no longer ready, closing in ${wait} ms`);
    await this.#starting?.catch(() => undefined);
    await sleep(wait);
    this.#health.close();
    const finished = Promise.all([this.#server?.close(), work]).then(() => true);
    const inTime = await Promise.race([finished, sleep(timeout, false, { ref: false })]);
    if (!inTime) {
      this.#log.warn(`calls in flight were cut off after ${timeout} ms`);
      this.#server?.destroy();
    }
    for (const reference of this.#references) reference.close();
    this.#qos?.close();
    this.#qos?.closeAllConnections();
    this.#log.info("drained");
  }
}
