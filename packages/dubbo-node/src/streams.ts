import type { IncomingMessage } from "node:http";
import { constants, type ServerHttp2Stream } from "node:http2";
import type { Readable, Writable } from "node:stream";

/** Time in which a caller can see an early answer and stop sending requests, ms. */
const DISCARD_MS = 1000;

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

/** Runs `work` after {@link DISCARD_MS}, unless the request has closed by then. */
function later(request: Readable, work: () => void): void {
  const timer = setTimeout(work, DISCARD_MS).unref();
  request.once("close", () => {
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
