import { status } from "@grpc/grpc-js";

/** A value as it arrives: text, or the bytes of a binary attachment. */
export type Attachment = string | Uint8Array;

/** What travels beside a message, by key; keys arrive in lower case unless the peer says how they were spelt. */
export type Attachments = ReadonlyMap<string, Attachment>;

/** What a failed call carries beside its status. */
export interface RpcErrorOptions extends ErrorOptions {
  /** Attachments that travel with the failure (default: none). */
  readonly attachments?: Attachments;
}

/**
 * The failure of a call. A handler throws it to answer with that status; a reference throws it when a call has failed.
 * Its message reads `UNAVAILABLE: no healthy upstream`.
 */
export class RpcError extends Error {
  override name = "RpcError";
  /** The gRPC status; never OK. */
  readonly code: status;
  /** What the status says, without its name. */
  readonly details: string;
  /** What travelled with the failure. */
  readonly attachments: Attachments;

  constructor(code: status, details: string, { attachments = new Map(), ...options }: RpcErrorOptions = {}) {
    super(`${status[code]}: ${details}`, options);
    this.code = code;
    this.details = details;
    this.attachments = attachments;
  }
}

/** Whatever a handler has thrown, as the status that its caller gets: that of an RpcError, else UNKNOWN with the error's message. */
export function asRpcError(thrown: unknown): RpcError {
  if (thrown instanceof RpcError) return thrown;
  const details = thrown instanceof Error ? thrown.message : String(thrown);
  return new RpcError(status.UNKNOWN, details, { cause: thrown });
}

/** A setting that is wrong or cannot be used: the message names it, and the application ends with it. */
export class SettingsError extends Error {
  override name = "SettingsError";
}
