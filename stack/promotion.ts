/** Lease that a promotion holds in the stack's namespace. Other updates then refuse to run. */
import { z } from "zod";
import { UserError } from "../common/errors.ts";
import { type ApiServer, parseJson } from "../common/kubeconfig.ts";
import type { Settings } from "../settings/settings.ts";

/** Name of the Lease. A stack has one promotion at a time, since each update sets all weights. */
export const PROMOTION_LEASE = "dubbo-mesh-promotion";
/** Annotation of the Lease with a {@link PromotionRecord}, as JSON. */
export const RECORD = "dubbo-mesh/promotion";
/** Variable with the Lease's holder. It marks the updates of the promotion itself. */
export const HOLDER_VARIABLE = "DUBBO_MESH_PROMOTION";

/** Version that is promoted, and the weights to restore. */
export const promotionRecord = z.object({
  service: z.string(),
  version: z.string(),
  /** Weights before the promotion, by version. */
  from: z.record(z.string(), z.number()),
  /** Weight of the last step that has held; at first, the original weight. */
  held: z.number(),
});
/** A {@link promotionRecord}. */
export type PromotionRecord = z.infer<typeof promotionRecord>;

const leaseSchema = z.object({
  metadata: z.object({
    annotations: z.object({ [RECORD]: z.string().transform(parseJson).pipe(promotionRecord) }),
    resourceVersion: z.string(),
    creationTimestamp: z.string(),
  }),
  spec: z.object({ holderIdentity: z.string() }),
});

/** A promotion that is under way or was interrupted. */
export interface FoundPromotion extends PromotionRecord {
  /** Process that runs it: host name, process id and a random id, separated by spaces. */
  readonly holder: string;
  /** Time of its start. */
  readonly since: string;
  /** Version of the Lease. An update fails if the Lease has another one. */
  readonly resourceVersion: string;
}

/** Returns the promotion that a Lease describes. */
function fromLease({ metadata, spec }: z.infer<typeof leaseSchema>): FoundPromotion {
  return {
    ...metadata.annotations[RECORD],
    holder: spec.holderIdentity,
    since: metadata.creationTimestamp,
    resourceVersion: metadata.resourceVersion,
  };
}

/**
 * Returns the promotion of a namespace, if there is one.
 * @throws Forbidden if the account may not read Leases; UserError if the cluster does not answer
 */
export async function findPromotion(
  server: Pick<ApiServer, "object">,
  namespace: string,
): Promise<FoundPromotion | undefined> {
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${PROMOTION_LEASE}`;
  const lease = await server.object(leaseSchema, path);
  return lease && fromLease(lease);
}

/** Returns the parts of a holder's name. */
export function processOf(holder: string): Readonly<Record<"host" | "pid" | "id", string>> {
  const [host = "", pid = "", id = ""] = holder.split(" ");
  return { host, pid, id };
}

/** Describes who runs a promotion. */
export function describePromotion({ service, version, holder, since }: FoundPromotion): string {
  const { host, pid } = processOf(holder);
  return `${version} of ${service} (started ${since}; process ${pid} on ${host})`;
}

/** Error of a promotion that does not have its Lease: another process has it, or removed it. */
export class TakenOver extends UserError {
  constructor(namespace: string, options?: ErrorOptions) {
    super(
      `another process holds or has ended the promotion in namespace ${namespace}`,
      "This process stops. `make preview` names a promotion that is under way, or shows what is left to deploy.",
      options,
    );
  }
}

/**
 * Rejects changes of a stack by others than its promotion.
 * @throws UserError if there is a promotion, and this process does not belong to it, or if this
 *   process belongs to an earlier one
 */
export async function rejectPromotion(
  server: Pick<ApiServer, "object">,
  stack: string,
  { namespace }: Settings,
): Promise<void> {
  const found = await findPromotion(server, namespace);
  const holder = process.env[HOLDER_VARIABLE] ?? "";
  if ((found?.holder ?? "") === holder) return;
  if (found === undefined || holder !== "") throw new TakenOver(namespace);
  throw new UserError(
    `a promotion is under way or was interrupted: ${describePromotion(found)}`,
    `Run \`make promote STACK=${stack}\` on the machine that started it: it says whether the promotion still runs. If it does not, add CONTINUE=1 to go on, or BACK=1 to restore the weights.`,
  );
}
