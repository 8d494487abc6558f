import type { IncomingMessage } from "node:http";
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Readable, Writable } from "node:stream";
import type { Headers } from "./headers.ts";

/** An HTTP/2 stream that a caller has opened. */
export interface Incoming {
  readonly stream: ServerHttp2Stream;
  /** Headers as Node.js reads them: parsed already, with the values of a repeated field joined. */
  readonly fields: IncomingHttpHeaders;
  /** Headers as Java reads them. */
  readonly headers: Headers;
  /** IP address of the caller. */
  readonly remoteAddress: string;
}

/** Does nothing: an error of a stream also closes it, which ends its call. */
export function ignored(): void {
  // Without a listener, the error would end the process.
}

/**
 * Time that a peer has to see an early answer or the end of a connection, and to end its side, ms.
 */
const PATIENCE_MS = 1000;

/** Waits until a stream takes more, or has closed. */
export function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done).off("close", done);
      resolve();
    };
    stream.on("drain", done).on("close", done);
  });
}

/** Runs `work` after {@link PATIENCE_MS}, unless the stream has closed by then. */
export function later(stream: Readable, work: () => void): void {
  const timer = setTimeout(work, PATIENCE_MS).unref();
  stream.once("close", () => {
    clearTimeout(timer);
  });
}

/**
 * Tells the caller of an answered call to stop sending requests. It does so later, because an
 * immediate reset could arrive before the answer.
 * @param code code of the reset (default: NO_ERROR)
 */
export function closeLater(stream: ServerHttp2Stream, code: number = constants.NGHTTP2_NO_ERROR): void {
  later(stream, () => {
    stream.close(code);
  });
}

/** Ends the connection of an answered request over HTTP/1.1 whose body goes on. */
export function endLater(request: IncomingMessage): void {
  later(request, () => {
    request.socket.destroySoon();
  });
}
