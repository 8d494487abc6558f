/** Lease that a promotion holds in the stack's namespace. Nothing else then changes the stack. */
import { z } from "zod";
import { UserError } from "../common/errors.ts";
import type { ApiServer } from "../common/kubeconfig.ts";
import type { Settings } from "../settings/settings.ts";

/** Name of the Lease. A stack has one promotion at a time, since each `up` sets all weights. */
export const PROMOTION_LEASE = "dubbo-mesh-promotion";
/** Annotation of the Lease with a {@link Promoted}, as JSON. */
export const PROMOTED = "dubbo-mesh/promoted";
/** Variable with the Lease's holder, by which the program knows the promotion's own updates. */
export const HOLDER_VARIABLE = "DUBBO_MESH_PROMOTION";

/** Version that is promoted, and the weights that put it back. */
export const promotedSchema = z.object({
  service: z.string(),
  version: z.string(),
  /** Weights before the promotion, by version. */
  from: z.record(z.string(), z.number()),
  /** Weight of the last step that has held, or before the first one. */
  held: z.number(),
});
/** A {@link promotedSchema}. */
export type Promoted = z.infer<typeof promotedSchema>;

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const leaseSchema = z.object({
  metadata: z.object({
    annotations: z.object({ [PROMOTED]: z.string().transform(parseJson).pipe(promotedSchema) }),
    resourceVersion: z.string(),
    creationTimestamp: z.string(),
  }),
  spec: z.object({ holderIdentity: z.string() }),
});

/** A promotion that is under way or was interrupted. */
export interface FoundPromotion extends Promoted {
  /** Process that runs it: host name, process id and a random id, separated by spaces. */
  readonly holder: string;
  /** Time of its start. */
  readonly since: string;
  /** Version of the Lease, to replace no other one. */
  readonly resourceVersion: string;
}

/** Returns the promotion that a Lease describes. */
function promotionOf({ metadata, spec }: z.infer<typeof leaseSchema>): FoundPromotion {
  return {
    ...metadata.annotations[PROMOTED],
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
  return lease && promotionOf(lease);
}

/** Describes who runs a promotion. */
export function describePromotion({ service, version, holder, since }: FoundPromotion): string {
  const [host = "", pid = ""] = holder.split(" ");
  return `${version} of ${service} (process ${pid} on ${host}, since ${since})`;
}

/** Error of a promotion whose Lease another process has taken over, or removed. */
export class TakenOver extends UserError {
  constructor(namespace: string, options?: ErrorOptions) {
    super(
      `another process has taken over the promotion in namespace ${namespace}, or has ended it`,
      "This process changes nothing more. See what the other one did: `make promote` tells whether it still runs.",
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
    `Wait until it ends. If it was interrupted, run \`make promote STACK=${stack} CONTINUE=1\` to go on, or with BACK=1 to put the weights back.`,
  );
}
