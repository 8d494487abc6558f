import { type Status, status, statusName } from "./status.ts";

/** Value of an attachment: text, or the bytes of a binary one. */
export type Attachment = string | Uint8Array;

/**
 * Attachments beside a message, by key. Keys are in lower case unless the peer sends their original
 * spelling.
 */
export type Attachments = ReadonlyMap<string, Attachment>;

/** Options of an {@link RpcError}. */
export interface RpcErrorOptions extends ErrorOptions {
  /** Attachments of the failure (default: none). */
  readonly attachments?: Attachments;
}

/**
 * Failure of a call.
 * A handler throws it to answer with its status, and a reference throws it for a failed call. The
 * message reads `UNAVAILABLE: no healthy upstream`.
 */
export class RpcError extends Error {
  override name = "RpcError";
  /** The gRPC status; never OK. */
  readonly code: Status;
  /** Message of the status, without its name. */
  readonly details: string;
  /** Attachments of the failure. */
  readonly attachments: Attachments;

  constructor(code: Status, details: string, { attachments = new Map(), ...options }: RpcErrorOptions = {}) {
    super(`${statusName(code)}: ${details}`, options);
    this.code = code;
    this.details = details;
    this.attachments = attachments;
  }
}

/**
 * Converts a thrown value to the status that the caller gets.
 * An RpcError stays unchanged. Any other value becomes UNKNOWN with the error's message.
 */
export function asRpcError(thrown: unknown): RpcError {
  if (thrown instanceof RpcError) return thrown;
  const details = thrown instanceof Error ? thrown.message : String(thrown);
  return new RpcError(status.UNKNOWN, details, { cause: thrown });
}

/**
 * A wrong or unusable setting. The message names the setting. `run` logs it, and exits with code 1.
 */
export class SettingsError extends Error {
  override name = "SettingsError";
}
