/** Subject of a check. */
export type CheckName =
  | "ready"
  | "config"
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
