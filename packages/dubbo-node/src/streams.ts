import { constants, type ServerHttp2Stream } from "node:http2";
import type { Writable } from "node:stream";

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

/**
 * Tells the caller of an answered call to stop sending requests. It does so later, because an
 * immediate reset could arrive before the answer.
 * @param code code of the reset (default: NO_ERROR)
 */
export function closeLater(stream: ServerHttp2Stream, code: number = constants.NGHTTP2_NO_ERROR): void {
  const timer = setTimeout(() => {
    stream.close(code);
  }, DISCARD_MS).unref();
  stream.once("close", () => {
    clearTimeout(timer);
  });
}
