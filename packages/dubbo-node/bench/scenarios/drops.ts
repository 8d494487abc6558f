import { framed } from "../connection.ts";
import { path, request } from "../greeter.ts";
import { inParallel, type Scenario } from "../target.ts";
import { callHeaders, END_HEADERS, FRAME, frame, OPENING, PREFACE, RawSocket } from "../wire.ts";

const CONCURRENCY = 100;
/**
 * One in ten connections ends in an orderly way. Each orderly end leaves a port in TIME_WAIT, and
 * there are too few ports for all.
 */
const ORDERLY = 10;

/** Bytes that a connection sends before it is dropped. */
const SENT: readonly Buffer[] = [
  Buffer.alloc(0),
  PREFACE.subarray(0, 7),
  OPENING,
  Buffer.concat([OPENING, frame(FRAME.headers, END_HEADERS, 1, callHeaders(path("greet")))]),
  Buffer.concat([
    OPENING,
    frame(FRAME.headers, END_HEADERS, 1, callHeaders(path("greetStream"))),
    frame(FRAME.data, 0, 1, framed(request("dropped"))),
  ]),
  Buffer.from("POST /x HTTP/1.1\r\nHo"),
  Buffer.from(
    `POST ${path("greet")} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name":`,
  ),
];

/**
 * Opens and drops connections: before, in and after the preface, before a request, in a stream, and
 * in a request of HTTP/1.1.
 */
export const drops: Scenario = {
  title: "dropped connections",
  async run({ port }, size) {
    await inParallel(size.connections, CONCURRENCY, async (index) => {
      const socket = await RawSocket.open(port);
      const bytes = SENT[index % SENT.length];
      if (bytes !== undefined && bytes.length > 0) await socket.send(bytes);
      await socket.drop(Math.floor(index / SENT.length) % ORDERLY !== 0);
    });
    return `${size.connections} connections opened and dropped at ${SENT.length} points, ${CONCURRENCY} at a time`;
  },
};
