import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { DescService } from "@bufbuild/protobuf";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { commands } from "./commands.ts";
import { SettingsError } from "./error.ts";
import { HealthService } from "./health.ts";
import type { Logger } from "./logger.ts";
import { Metrics } from "./metrics.ts";
import { variableOf } from "./names.ts";
import { type LivenessCheck, qosServer } from "./qos.ts";
import { Readiness } from "./readiness.ts";
import { DubboReference } from "./reference.ts";
import { type CallObserver, exportServices } from "./server.ts";
import { type DubboService, dubboService, type Handlers, type ServiceIdentity } from "./service.ts";
import { type ApplicationSettings, referenceKeys, type ReferenceSettings } from "./settings.ts";

/** Every interface: Dubbo peers dial the pod's address, and the sidecar's traffic arrives there as well. */
const HOST = "0.0.0.0";

/** What an application is made of. */
export interface ApplicationOptions {
  /** Its settings; a port that is 0 takes a free one. */
  readonly settings: ApplicationSettings;
  /** What `/live` asks (default: nothing, so it is true). */
  readonly livenessChecks?: readonly LivenessCheck[];
  /** Where the application logs. */
  readonly log: Logger;
}

function cannotListen(property: keyof ApplicationSettings, port: number, error: Error): SettingsError {
  const taken = error.message.includes("EADDRINUSE") ? "the port is in use" : error.message;
  return new SettingsError(`${variableOf(property)} is ${port}: cannot listen on ${HOST}:${port}: ${taken}`);
}

/**
 * A Dubbo application: a Triple server with its services and their health, references to others', and a QOS server with probes, commands
 * and metrics. It drains before it ends.
 */
export class DubboApplication {
  readonly #settings: ApplicationSettings;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #services: DubboService[] = [];
  readonly #references: DubboReference<DescService>[] = [];
  readonly #readiness = new Readiness(() => this.#services.map(({ key }) => key));
  readonly #health = new HealthService(this.#services, this.#readiness);
  readonly #server: Server;
  readonly #qos: ReturnType<typeof qosServer> | undefined;
  #port = 0;
  #starting: Promise<void> | undefined;
  #draining: Promise<void> | undefined;

  constructor({ settings, livenessChecks = [], log }: ApplicationOptions) {
    this.#settings = settings;
    this.#log = log;
    this.#metrics = new Metrics(settings["dubbo.application.name"]);
    this.#server = new Server({
      "grpc.enable_channelz": 0,
      "grpc.max_receive_message_length": settings["dubbo.protocol.payload"],
      "grpc.max_send_message_length": settings["dubbo.protocol.payload"],
    });
    this.#qos = this.#qosServer(livenessChecks);
  }

  /** Port of the Triple server; 0 before it has started. */
  get port(): number {
    return this.#port;
  }

  /** Port of the QOS server; 0 where there is none, or before it has started. */
  get qosPort(): number {
    return (this.#qos?.address() as AddressInfo | null | undefined)?.port ?? 0;
  }

  /**
   * Adds a service to what the application exports when it starts.
   * @param service the generated service
   * @param handlers one a method
   * @param identity version and group of the interface (default: those of the settings)
   */
  export<S extends DescService>(service: S, handlers: Handlers<S>, identity?: ServiceIdentity): void {
    const { "dubbo.provider.version": version, "dubbo.provider.group": group } = this.#settings;
    this.#services.push(dubboService(service, handlers, identity ?? { version, group }));
  }

  /**
   * A reference to a provider's service, by the mesh's name for it, to be made before the application starts. The application counts its calls
   * and closes it when it has drained.
   * @param service the generated service
   * @param settings where the provider is, by this service's own settings or else by those of all references, and which of its versions and
   *   groups is asked for
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
   * Starts the QOS server, then the Triple server; when it resolves, every service is exported.
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
    });
    return qosServer(list, {
      acceptForeignIp: settings["dubbo.application.qos-accept-foreign-ip"],
      level: settings["dubbo.application.qos-anonymous-access-permission-level"],
      allowed: settings["dubbo.application.qos-anonymous-allow-commands"],
    });
  }

  async #start(): Promise<void> {
    const fallback = this.#settings["dubbo.rpc.tri.resolve-fallback-to-default"];
    const services = [...this.#services, this.#health.service];
    const carriesOn = this.#references.length > 0;
    exportServices(this.#server, services, { fallback, observer: this.#observer(), carriesOn });
    await this.#startQos();
    await this.#startServer();
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

  #startServer(): Promise<void> {
    const port = this.#settings["dubbo.protocol.port"];
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(`${HOST}:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
        this.#port = bound;
        if (error === null) resolve();
        else reject(cannotListen("dubbo.protocol.port", port, error));
      });
    });
  }

  async #drain(work: Promise<unknown>): Promise<void> {
    const wait = this.#settings["dubbo.service.shutdown.wait"];
    const timeout = this.#settings["dubbo.service.shutdown.timeout"];
    this.#readiness.markDraining();
    this.#log.info(`draining: not ready any more, closes in ${wait} ms`);
    await this.#starting?.catch(() => undefined);
    await sleep(wait);
    this.#health.close();
    const finished = Promise.all([this.#closeServer(), work]).then(() => true);
    const inTime = await Promise.race([finished, sleep(timeout, false, { ref: false })]);
    if (!inTime) {
      this.#log.warn(`calls in flight were cut off after ${timeout} ms`);
      this.#server.forceShutdown();
    }
    for (const reference of this.#references) reference.close();
    this.#qos?.close();
    this.#qos?.closeAllConnections();
    this.#log.info("drained");
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
