/** Subject of a check. */
export type CheckName =
  | "ready"
  | "config"
  | "sync"
  | "scope"
  | "transport"
  | "authorization"
  | "routes"
  | "traffic policy"
  | "check settings"
  | "addresses"
  | "calls"
  | "outbound log"
  | "inbound log"
  | "health check"
  | "check log"
  | "mtls";

/** Result of one check. */
export interface Check {
  readonly check: CheckName;
  /** Object of the check: a Deployment, an application or an Envoy cluster. */
  readonly of: string;
  /** Observed state, with figures. */
  readonly seen: string;
  /** Expected state. */
  readonly expected: string;
  /** True if the observed state is as expected. */
  readonly ok: boolean;
}

const COMPARE = "`make drift` shows what differs from the stack, and the commands that undo it";

/** Remedy for each check that fails. */
export const FIXES: Readonly<Record<CheckName, string>> = {
  ready:
    "`kubectl describe pod` and `kubectl logs` tell why a pod is not ready; `make drift` shows a changed number of pods",
  config: "mend what the proxy's reason names, such as a host that its scope lacks",
  sync: "`istioctl proxy-status` names the proxies; `kubectl logs -n istio-system deployment/istiod` has the reason",
  scope: COMPARE,
  transport: COMPARE,
  authorization: COMPARE,
  routes: COMPARE,
  "traffic policy": COMPARE,
  "check settings": COMPARE,
  addresses: "look at `sync`; `kubectl get endpointslices` shows what Kubernetes has",
  calls: "the callee's log tells why calls fail; `make explain` shows the path of a call",
  "outbound log":
    "the response flags tell why: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
  "inbound log":
    "the response flags tell why: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
  "health check": "look at `check settings`, and whether the callee offers grpc.health.v1.Health",
  "check log": "look at `authorization` and `transport`",
  mtls: COMPARE,
};

/** Maximum number of list items to name in a table. */
const MAX_NAMED = 4;

/** Formats a list. Long lists end with the number of omitted items. */
export function list(items: readonly string[]): string {
  const named = items.slice(0, MAX_NAMED).join(", ");
  return items.length > MAX_NAMED ? `${named} and ${items.length - MAX_NAMED} more` : named;
}

/** Formats a number with its noun. */
export function count(number: number, thing: string, things = `${thing}s`): string {
  return `${number} ${number === 1 ? thing : things}`;
}
