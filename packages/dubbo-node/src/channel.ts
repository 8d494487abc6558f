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
 * Most calls on one connection, which has numbers for 2^30. The next call opens another connection,
 * while the calls in flight go on.
 */
const MOST_CALLS = 1_000_000;

/**
 * Carries calls to a provider, over one HTTP/2 connection at a time.
 * The mesh retries, routes and balances the calls; the connection only leads to the sidecar. It is
 * opened by the first call, and by the next one after it has ended.
 */
export class Channel {
  readonly #target: string;
  #session: ClientHttp2Session | undefined;
  /** Number of calls on the current connection. */
  #calls = 0;
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
    const session = this.#connection();
    this.#calls += 1;
    return session.request(headers, { endStream: false });
  }

  /** Ends the connection after the calls in flight. */
  close(): void {
    this.#closed = true;
    this.#session?.close();
  }

  #connection(): ClientHttp2Session {
    if (this.#calls >= MOST_CALLS) this.#session?.close();
    // A session is also closed once the peer has announced its end.
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed)
      return this.#session;
    this.#calls = 0;
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
