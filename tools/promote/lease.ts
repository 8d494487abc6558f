import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { CoordinationV1Api, type V1Lease } from "@kubernetes/client-node";
import { messageOf, UserError } from "../../common/errors.ts";
import { ApiServer, Forbidden } from "../../common/kubeconfig.ts";
import { exclusively, type Lock } from "../../common/lock.ts";
import { repeated } from "../../common/wait.ts";
import type { Settings } from "../../settings/settings.ts";
import {
  describePromotion,
  findPromotion,
  type FoundPromotion,
  HOLDER_VARIABLE,
  RECORD,
  type PromotionRecord,
  promotionRecord,
  processOf,
  PROMOTION_LEASE,
  TakenOver,
} from "../../stack/promotion.ts";
import { kubeConfig } from "../mesh.ts";

function unusable(namespace: string, error: unknown): UserError {
  const reason = messageOf(error).split("\n")[0] ?? "";
  const isForbidden = error instanceof Forbidden || statusOf(error) === 403;
  const fix = isForbidden
    ? `The account needs get, create, update and delete on Leases: kubectl auth can-i update leases -n ${namespace}.`
    : "Check the connection to the cluster, then run the command again.";
  const message = `the promotion's Lease in namespace ${namespace} cannot be used: ${reason}`;
  return new UserError(message, fix, { cause: error });
}

/**
 * Returns the promotion of a stack that runs now or was interrupted, if there is one.
 * @throws UserError if the account may not read Leases, or the cluster does not answer
 */
export async function foundPromotion(settings: Settings): Promise<FoundPromotion | undefined> {
  const { namespace } = settings;
  return findPromotion(await ApiServer.of(settings), namespace).catch((error: unknown) => {
    throw error instanceof Forbidden ? unusable(namespace, error) : error;
  });
}

/** Lock of this machine that a promotion holds while its process runs. */
function lockOf(holder: string): Lock {
  // The name of a socket has at most 107 bytes.
  return { name: `dubbo-mesh-promotion-${processOf(holder).id}`, work: "running this promotion" };
}

/**
 * Rejects a promotion whose process still runs on this machine. Processes on other machines, or on
 * another system than Linux, cannot be checked.
 * @throws UserError if it runs
 */
export async function rejectRunning(found: FoundPromotion): Promise<void> {
  const isFree = exclusively(lockOf(found.holder), () => Promise.resolve());
  await isFree.catch((error: unknown) => {
    throw new UserError(
      `a promotion is under way: ${describePromotion(found)}`,
      `Wait until it ends. To stop it and restore the weights, run \`kill ${processOf(found.holder).pid}\`.`,
      { cause: error },
    );
  });
}

/** HTTP status of an error of the client library. */
function statusOf(error: unknown): unknown {
  return (error as { code?: unknown }).code;
}

/** The Lease of a stack's promotion. Until it is released, updates of others refuse to run. */
export class PromotionLease {
  readonly #settings: Settings;
  readonly #api: CoordinationV1Api;
  readonly #namespace: string;
  readonly #holder = [hostname(), process.pid, randomUUID()].join(" ");
  #version: string | undefined;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#api = kubeConfig(settings).makeApiClient(CoordinationV1Api);
    this.#namespace = settings.namespace;
  }

  /**
   * Takes the Lease, or takes it over from an interrupted promotion, and runs `work`. It does not
   * release the Lease.
   * @throws TakenOver if another process has taken it meanwhile; UserError if it cannot be written
   */
  async during<T>(
    promoted: PromotionRecord,
    found: FoundPromotion | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    return exclusively(lockOf(this.#holder), async () => {
      this.#version = found?.resourceVersion;
      await (found === undefined
        ? this.#written(
            (body) => this.#api.createNamespacedLease({ namespace: this.#namespace, body }),
            promoted,
          )
        : this.record(promoted));
      // Updates of this process, and of the engine that it starts, are the promotion's own.
      process.env[HOLDER_VARIABLE] = this.#holder;
      try {
        return await work();
      } finally {
        Reflect.deleteProperty(process.env, HOLDER_VARIABLE);
      }
    });
  }

  /**
   * Records the weight of a step that has held.
   * @throws TakenOver if another process has the Lease
   */
  async record(promoted: PromotionRecord): Promise<void> {
    const name = PROMOTION_LEASE;
    await this.#written(
      (body) => this.#api.replaceNamespacedLease({ namespace: this.#namespace, name, body }),
      promoted,
    );
  }

  /**
   * Checks that this process still has the Lease.
   * @throws TakenOver if another process has it, or if it is gone
   */
  async confirm(): Promise<void> {
    const found = await repeated(() => foundPromotion(this.#settings));
    if (found?.holder !== this.#holder) throw new TakenOver(this.#namespace);
  }

  /** Ends the promotion. */
  async release(): Promise<void> {
    const preconditions = { resourceVersion: this.#version ?? "" };
    const lease = { namespace: this.#namespace, name: PROMOTION_LEASE, body: { preconditions } };
    await this.#request(() => this.#api.deleteNamespacedLease(lease));
  }

  async #written(write: (body: V1Lease) => Promise<V1Lease>, promoted: PromotionRecord): Promise<void> {
    const annotations = { [RECORD]: JSON.stringify(promotionRecord.parse(promoted)) };
    const version = this.#version === undefined ? {} : { resourceVersion: this.#version };
    const metadata = { name: PROMOTION_LEASE, annotations, ...version };
    const lease = await this.#request(() => write({ metadata, spec: { holderIdentity: this.#holder } }));
    this.#version = lease.metadata?.resourceVersion;
  }

  async #request<T>(request: () => Promise<T>): Promise<T> {
    const isFinal = (error: unknown): boolean => [403, 404, 409].includes(Number(statusOf(error)));
    return repeated(request, { isFinal }).catch((error: unknown) => {
      const status = statusOf(error);
      if (status === 409 || status === 404) throw new TakenOver(this.#namespace, { cause: error });
      throw unusable(this.#namespace, error);
    });
  }
}
