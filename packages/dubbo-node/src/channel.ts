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
 * Most calls on one connection. HTTP/2 has stream numbers for 2^30 calls. The next call opens a new
 * connection, and the calls in flight finish on the old one.
 */
const MOST_CALLS = 1_000_000;

/**
 * Carries calls to a provider, over one HTTP/2 connection at a time. The mesh retries, routes and
 * balances the calls; the connection only leads to the sidecar. The first call opens the
 * connection. After it ends, the next call opens a new one.
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
   * @param signal cancels the stream
   * @throws RpcError UNAVAILABLE after {@link close}
   */
  open(headers: OutgoingHttpHeaders, signal: AbortSignal): ClientHttp2Stream {
    if (this.#closed) throw new RpcError(status.UNAVAILABLE, "the reference is closed");
    const session = this.#connection();
    this.#calls += 1;
    return session.request(headers, { endStream: false, signal });
  }

  /** Ends the connection after the calls in flight. */
  close(): void {
    this.#closed = true;
    const session = this.#session;
    // Closing it earlier would fail the calls that wait for the connection.
    if (session?.connecting === true) {
      session.once("connect", () => {
        setImmediate(() => {
          session.close();
        });
      });
    } else session?.close();
  }

  #connection(): ClientHttp2Session {
    if (this.#calls >= MOST_CALLS) this.#session?.close();
    // `closed` is also true after the peer has sent GOAWAY.
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed)
      return this.#session;
    this.#calls = 0;
    const session = connect(`http://${this.#target}`, {
      ...SESSION_OPTIONS,
      settings: { enablePush: false },
    });
    session.once("connect", (_session, socket) => {
      socket.setKeepAlive(true);
    });
    // The error also ends the calls on the connection.
    session.on("error", () => undefined);
    this.#session = session;
    return session;
  }
}
