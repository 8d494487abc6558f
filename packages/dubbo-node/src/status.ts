/** Status codes of gRPC. Source: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md */
export const status = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** A status code of gRPC. */
export type Status = (typeof status)[keyof typeof status];

const NAMES = Object.keys(status) as (keyof typeof status)[];

/** Returns the name of a status code. */
export function statusName(code: Status): keyof typeof status {
  return NAMES[code] ?? "UNKNOWN";
}

/** Returns the status code that a peer sent as text. Any other text is UNKNOWN. */
export function parseStatus(text: string): Status {
  const code = /^\d{1,2}$/.test(text) ? Number(text) : status.UNKNOWN;
  return code < NAMES.length ? (code as Status) : status.UNKNOWN;
}
