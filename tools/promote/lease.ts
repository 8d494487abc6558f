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
  PROMOTED,
  type Promoted,
  promotedSchema,
  PROMOTION_LEASE,
  TakenOver,
} from "../../stack/promotion.ts";
import { kubeConfig } from "../mesh.ts";

const RIGHTS =
  "Check that the context may get, create, update and delete Leases (kubectl auth can-i create leases). " +
  "If a promotion has begun, then run `make promote` with CONTINUE=1 or BACK=1.";

function unusable(namespace: string, error: unknown): UserError {
  const reason = messageOf(error).split("\n")[0] ?? "";
  return new UserError(`the promotion's Lease in namespace ${namespace} cannot be used: ${reason}`, RIGHTS, {
    cause: error,
  });
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
  const [, , id = ""] = holder.split(" ");
  return { name: `dubbo-mesh-promotion-${id}`, work: "running this promotion" };
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
      "Wait until it ends, or stop it (Ctrl-C), which puts the weights back.",
      { cause: error },
    );
  });
}

/** HTTP status of an error of the client library. */
function statusOf(error: unknown): unknown {
  return (error as { code?: unknown }).code;
}

/** The Lease of a stack's promotion. Only its holder changes the stack until it is released. */
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
   * @throws UserError if another process has taken it meanwhile, or if the account may not
   */
  async held<T>(promoted: Promoted, found: FoundPromotion | undefined, work: () => Promise<T>): Promise<T> {
    return exclusively(lockOf(this.#holder), async () => {
      this.#version = found?.resourceVersion;
      await (found === undefined
        ? this.#written(
            (body) => this.#api.createNamespacedLease({ namespace: this.#namespace, body }),
            promoted,
          )
        : this.hold(promoted));
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
   * Notes the weight of a step that has held.
   * @throws TakenOver if another process has the Lease
   */
  async hold(promoted: Promoted): Promise<void> {
    const name = PROMOTION_LEASE;
    await this.#written(
      (body) => this.#api.replaceNamespacedLease({ namespace: this.#namespace, name, body }),
      promoted,
    );
  }

  /**
   * Checks that this process still has the Lease.
   * @throws TakenOver if another process has it, or nobody
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

  async #written(write: (body: V1Lease) => Promise<V1Lease>, promoted: Promoted): Promise<void> {
    const annotations = { [PROMOTED]: JSON.stringify(promotedSchema.parse(promoted)) };
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
