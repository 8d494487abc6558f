import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { CoordinationV1Api, type V1Lease } from "@kubernetes/client-node";
import { messageOf, UserError } from "../../common/errors.ts";
import { ApiServer } from "../../common/kubeconfig.ts";
import { isAlive } from "../../common/process.ts";
import type { Settings } from "../../settings/settings.ts";
import {
  describePromotion,
  findPromotion,
  type FoundPromotion,
  HOLDER_VARIABLE,
  PROMOTED,
  type Promoted,
  promotedSchema,
  PROMOTION_LEASE,
} from "../../stack/promotion.ts";
import { kubeConfig } from "../mesh.ts";

/** Returns the promotion of a stack that runs now or was interrupted, if there is one. */
export async function foundPromotion(settings: Settings): Promise<FoundPromotion | undefined> {
  return findPromotion(await ApiServer.of(settings), settings.namespace);
}

/**
 * Rejects a promotion whose process still runs on this machine. Processes on other machines cannot
 * be checked.
 * @throws UserError if it runs
 */
export function rejectRunning(found: FoundPromotion): void {
  const [host, pid] = found.holder.split(" ");
  if (host !== hostname() || !isAlive(Number(pid))) return;
  throw new UserError(
    `a promotion is under way: ${describePromotion(found)}`,
    "Wait until it ends, or stop it (Ctrl-C), which puts the weights back.",
  );
}

/** The Lease of a stack's promotion. Only its holder changes the stack until it is released. */
export class PromotionLease {
  readonly #api: CoordinationV1Api;
  readonly #namespace: string;
  readonly #holder = [hostname(), process.pid, randomUUID()].join(" ");
  #lease: V1Lease = {};

  constructor(settings: Settings) {
    this.#api = kubeConfig(settings).makeApiClient(CoordinationV1Api);
    this.#namespace = settings.namespace;
  }

  /**
   * Takes the Lease, or takes it over from an interrupted promotion.
   * @throws UserError if another process has taken it meanwhile, or if the account may not
   */
  async take(promoted: Promoted, found?: FoundPromotion): Promise<void> {
    const body = this.#body(promoted, found?.resourceVersion);
    this.#lease = await this.#written(found === undefined ? this.#create(body) : this.#replace(body));
    // Updates of this process, and of the engine that it starts, are the promotion's own.
    process.env[HOLDER_VARIABLE] = this.#holder;
  }

  /** Notes the weight of a step that has held. */
  async hold(promoted: Promoted): Promise<void> {
    const body = this.#body(promoted, this.#lease.metadata?.resourceVersion);
    this.#lease = await this.#written(this.#replace(body));
  }

  /** Ends the promotion. */
  async release(): Promise<void> {
    await this.#written(
      this.#api.deleteNamespacedLease({ namespace: this.#namespace, name: PROMOTION_LEASE }),
    );
    Reflect.deleteProperty(process.env, HOLDER_VARIABLE);
  }

  #body(promoted: Promoted, resourceVersion?: string): V1Lease {
    return {
      metadata: {
        name: PROMOTION_LEASE,
        annotations: { [PROMOTED]: JSON.stringify(promotedSchema.parse(promoted)) },
        ...(resourceVersion !== undefined && { resourceVersion }),
      },
      spec: { holderIdentity: this.#holder },
    };
  }

  async #create(body: V1Lease): Promise<V1Lease> {
    return this.#api.createNamespacedLease({ namespace: this.#namespace, body });
  }

  async #replace(body: V1Lease): Promise<V1Lease> {
    return this.#api.replaceNamespacedLease({ namespace: this.#namespace, name: PROMOTION_LEASE, body });
  }

  async #written<T>(request: Promise<T>): Promise<T> {
    return request.catch((error: unknown) => {
      const code = (error as { code?: unknown }).code;
      if (code === 409 || code === 404) {
        throw new UserError(
          `another process has taken over the promotion in namespace ${this.#namespace}`,
          "Wait until it ends, then run the command again.",
          { cause: error },
        );
      }
      throw new UserError(
        `the promotion's Lease in namespace ${this.#namespace} cannot be written: ${messageOf(error).split("\n")[0] ?? ""}`,
        "Check that the context may create, update and delete Leases (kubectl auth can-i create leases).",
        { cause: error },
      );
    });
  }
}
