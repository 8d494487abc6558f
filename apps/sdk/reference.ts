import { setTimeout as sleep } from "node:timers/promises";
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type DescService,
  type MessageShape,
} from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../gen/health_pb.ts";
import type { Logger } from "./logger.ts";
import { CONSUMER_HEADER, methodDefinition, VERSION_HEADER } from "./service.ts";

/** Deadline of one look at the provider's health, ms. */
const CHECK_TIMEOUT_MS = 2000;
/** Wait after the first and after each later look at the provider's health, ms: doubled each time. */
const BACKOFF_MS = { first: 100, most: 500 };

/** The mesh retries, routes and balances; the channel only carries calls to the sidecar, and reconnects soon. */
const CHANNEL_OPTIONS = {
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0,
  "grpc.initial_reconnect_backoff_ms": BACKOFF_MS.first,
  "grpc.max_reconnect_backoff_ms": BACKOFF_MS.most,
  "grpc.dns_min_time_between_resolutions_ms": BACKOFF_MS.most,
};

/** What a reference to a provider's service is made of. */
export interface ReferenceOptions {
  /** The generated service. */
  readonly service: DescService;
  /** Version of the interface that is asked for. */
  readonly version: string;
  /** Where the provider is, `host:port`. */
  readonly target: string;
  /** The caller's Dubbo application name. */
  readonly consumer: string;
  /** Deadline of a call, ms. */
  readonly timeout: number;
  /** Where the reference logs. */
  readonly log: Logger;
}

/** A failed call in one line: `UNAVAILABLE: no healthy upstream`. */
export function describeFailure(error: unknown): string {
  const { code, details } = error as Partial<ServiceError>;
  if (code === undefined) return String(error);
  return `${status[code]}: ${details ?? ""}`;
}

/** A Dubbo reference: calls a service of a provider, by one channel. */
export class DubboReference {
  readonly #options: ReferenceOptions;
  readonly #client: Client;

  constructor(options: ReferenceOptions) {
    this.#options = options;
    this.#client = new Client(options.target, credentials.createInsecure(), CHANNEL_OPTIONS);
  }

  /**
   * Calls a unary method.
   * @throws ServiceError with the gRPC status
   */
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    timeout = this.#options.timeout,
  ): Promise<MessageShape<O>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    const deadline = Date.now() + timeout;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        this.#metadata(method.parent),
        { deadline },
        (error, reply) => {
          if (reply === undefined) reject(error ?? new Error(`${path} answered nothing`));
          else resolve(reply);
        },
      );
    });
  }

  /**
   * Waits until the provider's health service says that the service is SERVING: Envoy does not retry a call for which it has
   * no healthy endpoint, and a consumer often starts before its provider.
   * @param signal ends the wait without an error
   */
  async waitUntilServing(signal: AbortSignal): Promise<void> {
    const { service, target, log } = this.#options;
    const start = performance.now();
    let backoff = BACKOFF_MS.first;
    while (!signal.aborted) {
      const answer = await this.#health();
      const waited = Math.round(performance.now() - start);
      if (answer === "SERVING") {
        log.info(`${service.typeName} at ${target} is SERVING, waited ${waited} ms`);
        return;
      }
      log.info(`waits for ${service.typeName} at ${target} since ${waited} ms: ${answer}`);
      await sleep(backoff, undefined, { signal }).catch(() => undefined);
      backoff = Math.min(backoff * 2, BACKOFF_MS.most);
    }
  }

  /** Closes the channel. */
  close(): void {
    this.#client.close();
  }

  async #health(): Promise<string> {
    const request = create(HealthCheckRequestSchema, { service: this.#options.service.typeName });
    try {
      const response = await this.unary(Health.method.check, request, CHECK_TIMEOUT_MS);
      return response.status === ServingStatus.SERVING ? "SERVING" : "NOT_SERVING";
    } catch (error) {
      return describeFailure(error);
    }
  }

  // The version is that of the reference's interface; the health service has none.
  #metadata(service: DescService): Metadata {
    const metadata = new Metadata();
    metadata.set(CONSUMER_HEADER, this.#options.consumer);
    if (service.typeName === this.#options.service.typeName) {
      metadata.set(VERSION_HEADER, this.#options.version);
    }
    return metadata;
  }
}
