import { z } from "zod";
import { messageOf } from "../../common/errors.ts";
import { ISTIO_NAMESPACE } from "../../settings/istio.ts";
import { type Check, count, list } from "./check.ts";
import type { MeshReader } from "./proxy.ts";
import { podSample } from "./sample.ts";

/** The methods of Istio's namespace that the check needs. */
export type ControlPlane = Pick<MeshReader, "pods" | "exec">;

/** State of the connections between istiod and the proxies. */
export interface SyncSample {
  /** Number of istiod pods that are ready. */
  readonly istiods: number;
  /** Types of configuration that each connected proxy has not accepted, by `pod.namespace`. */
  readonly proxies: ReadonlyMap<string, readonly string[]>;
  /** Reason why istiod could not be read; undefined if it could. */
  readonly unread?: string;
}

// For each type TYPE of configuration, istiod shows the versions TYPE_sent and TYPE_acked. Source:
// Istio's pilot/pkg/xds/debug.go, SyncStatus
const syncStatuses = z.array(z.looseObject({ proxy: z.string() })).nullable();
const SENT = "_sent";

/** Returns the types of configuration that a proxy has not accepted. */
function staleTypes(status: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(status).flatMap(([key, sent]) => {
    const type = key.slice(0, -SENT.length);
    return key.endsWith(SENT) && (status[`${type}_acked`] ?? "") !== sent ? [type] : [];
  });
}

/** Parses istiod's `/debug/syncz`. */
export function parseSync(json: string): ReadonlyMap<string, readonly string[]> {
  const statuses = syncStatuses.parse(JSON.parse(json)) ?? [];
  return new Map(statuses.map((status) => [status.proxy, staleTypes(status)]));
}

const REQUEST = ["pilot-discovery", "request", "GET", "/debug/syncz"];
const FORBIDDEN = /\b403\b|forbidden/i;

/**
 * Asks every istiod which proxies are connected to it and what they have accepted.
 * @throws UserError if the cluster does not answer
 */
export async function sampleSync(istio: ControlPlane): Promise<SyncSample> {
  try {
    const pods = (await istio.pods("istiod")).map(podSample).filter(({ ready }) => ready);
    const answers = await Promise.all(pods.map(({ name }) => istio.exec(name, "discovery", REQUEST)));
    const proxies = new Map(answers.flatMap((answer) => [...parseSync(answer)]));
    return { istiods: pods.length, proxies };
  } catch (error) {
    if (!FORBIDDEN.test(messageOf(error))) throw error;
    return { istiods: 0, proxies: new Map(), unread: messageOf(error) };
  }
}

/**
 * Checks that each proxy is connected to an istiod and has accepted its last configuration.
 * Envoy refuses a whole update if it refuses one cluster, and then keeps the old configuration.
 * @param pods names of the pods whose proxies run
 */
export function syncCheck(
  { istiods, proxies, unread }: SyncSample,
  pods: readonly string[],
  namespace: string,
): Check {
  const row = { check: "sync", of: "istiod", expected: "each proxy has accepted what istiod sent" } as const;
  if (unread !== undefined)
    return { ...row, seen: `unknown: the account may not run commands in ${ISTIO_NAMESPACE}`, ok: true };
  if (istiods === 0) return { ...row, seen: `no istiod is ready in ${ISTIO_NAMESPACE}`, ok: false };
  const found = pods.map((pod) => ({ pod, stale: proxies.get(`${pod}.${namespace}`) }));
  const problems = found.flatMap(({ pod, stale }) => {
    if (stale === undefined) return [`${pod} is not connected`];
    return stale.length === 0 ? [] : [`${pod} has not accepted its ${stale.join(", ")}`];
  });
  const fine = `${count(pods.length, "proxy", "proxies")}, connected and in step`;
  return { ...row, seen: problems.length === 0 ? fine : list(problems), ok: problems.length === 0 };
}
