import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from "node:http2";
import { RpcError } from "./error.ts";
import { SESSION_OPTIONS } from "./http.ts";
import { status } from "./status.ts";

/**
 * Carries calls to a provider, over one HTTP/2 connection at a time.
 * The mesh retries, routes and balances the calls; the connection only leads to the sidecar. It is
 * opened by the first call, and by the next one after it has ended.
 */
export class Channel {
  readonly #target: string;
  #session: ClientHttp2Session | undefined;
  #closed = false;

  /** @param target address of the provider, `host:port` */
  constructor(target: string) {
    this.#target = target;
  }

  /**
   * Opens a stream with these headers.
   * @throws RpcError UNAVAILABLE after {@link close}
   */
  open(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    if (this.#closed) throw new RpcError(status.UNAVAILABLE, "the reference is closed");
    return this.#connection().request(headers, { endStream: false });
  }

  /** Ends the connection after the calls in flight. */
  close(): void {
    this.#closed = true;
    this.#session?.close();
  }

  #connection(): ClientHttp2Session {
    // A session is also closed once the peer has announced its end.
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed)
      return this.#session;
    const session = connect(`http://${this.#target}`, {
      ...SESSION_OPTIONS,
      settings: { enablePush: false },
    });
    // The error also ends the calls on the connection.
    session.on("error", () => undefined);
    this.#session = session;
    return session;
  }
}
