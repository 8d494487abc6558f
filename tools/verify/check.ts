/** What a check is about. */
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

/** One thing that was looked at. */
export interface Check {
  /** What was looked at. */
  readonly check: CheckName;
  /** Of what: a Deployment, an application, a cluster of Envoy. */
  readonly of: string;
  /** What was seen, with figures. */
  readonly seen: string;
  /** What should be seen. */
  readonly expected: string;
  /** Whether it was. */
  readonly ok: boolean;
}

/** How many of a list are named in a table. */
const NAMED = 4;

/** A list for people. */
export function list(items: readonly string[]): string {
  const named = items.slice(0, NAMED).join(", ");
  return items.length > NAMED ? `${named} and ${items.length - NAMED} more` : named;
}

/** A number of things, for people. */
export function count(number: number, thing: string, things = `${thing}s`): string {
  return `${number} ${number === 1 ? thing : things}`;
}
