import { once } from "node:events";
import { type ClientHttp2Stream, connect } from "node:http2";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { framed } from "../connection.ts";
import { path, replyMessage, request } from "../greeter.ts";
import type { Scenario, Target } from "../target.ts";

const MB = 1024 * 1024;
/** Number of replies to one request. */
const REPLIES = 10;
/** A message of 64 KiB, and the number of them in 10 MiB. */
const MIDDLE = "m".repeat(64 * 1024);
const MESSAGES = 160;
/** Memory that does not depend on the number of readers, MiB. */
const REST = 32;
/** Time without any reading, ms. */
const STALL_MS = 1000;
/** Time without data after which a stream counts as broken, ms. */
const PATIENCE_MS = 30_000;
/** Time between two reads of the provider's memory, ms. */
const LOOK_MS = 200;

/**
 * Opens a stream that is not read. It uses the client of Node.js, because that of grpc-js reads
 * ahead without a limit.
 */
function stalled(port: number, method: string, requests: readonly string[]): ClientHttp2Stream {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  const stream = session.request({
    ":method": "POST",
    ":path": path(method),
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.pause();
  stream.on("close", () => {
    session.close();
  });
  // Errors show when the replies are read. A session accepts at most 10 MB at once, so the requests
  // wait for each other.
  stream.on("error", () => undefined);
  Readable.from(requests.map((name) => framed(request(name)))).pipe(stream);
  return stream;
}

async function readAll(stream: ClientHttp2Stream, replies: readonly string[]): Promise<void> {
  stream.setTimeout(PATIENCE_MS, () => stream.destroy(new Error(`nothing came for ${PATIENCE_MS} ms`)));
  const trailers = once(stream, "trailers") as Promise<[Record<string, string>]>;
  const bytes = await buffer(stream);
  let offset = 0;
  for (const [index, reply] of replies.entries()) {
    const end = offset + 5 + bytes.readUInt32BE(offset + 1);
    if (replyMessage(bytes.subarray(offset + 5, end)) !== reply)
      throw new Error(`reply ${index} came changed`);
    offset = end;
  }
  const [{ "grpc-status": status }] = await trailers;
  if (offset !== bytes.length || status !== "0")
    throw new Error(`status ${String(status)} after ${bytes.length} bytes`);
}

/**
 * Returns the bytes that the provider holds: the heap after full collections, and external buffers.
 */
async function held({ server }: Target): Promise<number> {
  const { heapUsed, external } = await server.heap();
  return heapUsed + external;
}

/** Requests of readers of one kind, and their expected replies. */
interface Reading {
  readonly method: string;
  readonly requests: readonly string[];
  readonly replies: readonly string[];
  /** Most memory that the provider may hold for each stopped reader, MiB. */
  readonly mostStopped: number;
  /**
   * Most memory for each reader that goes on, MiB. It covers messages in transit, but not a copy of
   * all that was sent.
   */
  readonly mostGoing: number;
}

/** Returns the most memory per reader that is seen until the work is done, MiB. */
async function mostHeld(work: Promise<unknown>, each: () => Promise<number>): Promise<number> {
  const over = work.then(() => true);
  let most = 0;
  do most = Math.max(most, await each());
  while (!(await Promise.race([over, sleep(LOOK_MS, false)])));
  return most;
}

/** Stops reading for a while, then reads all replies. */
async function stop(target: Target, count: number, reading: Reading): Promise<string> {
  const { method, requests, replies, mostStopped, mostGoing } = reading;
  const before = await held(target);
  const each = async (): Promise<number> => ((await held(target)) - before) / MB / count;
  const open = Array.from({ length: count }, () => stalled(target.port, method, requests));
  try {
    await sleep(STALL_MS);
    const stopped = await each();
    // If the provider holds nothing, it has sent everything, and the readers are not slow.
    if (stopped < 0.2)
      throw new Error(`${method}: nothing is held, so the handler does not wait for the reader`);
    const going = await mostHeld(Promise.all(open.map((stream) => readAll(stream, replies))), each);
    const text = `${method} ${stopped.toFixed(1)} MiB each, then at most ${going.toFixed(1)} MiB`;
    if (stopped > mostStopped || going > mostGoing + REST / count) {
      throw new Error(`held for slow readers of ${text}; allowed ${mostStopped} and ${mostGoing}`);
    }
    return text;
  } finally {
    for (const stream of open) stream.session?.destroy();
  }
}

const BIG = "r".repeat(MB);
const READINGS: readonly Reading[] = [
  {
    method: "greetServerStream",
    requests: [BIG],
    replies: Array.from({ length: REPLIES }, (_, index) => `${BIG}--${index}`),
    // Enough for the request as bytes and as text, and for one reply as text, as bytes and with a
    // prefix. All ten replies would take 12 MiB or more.
    mostStopped: 6,
    mostGoing: 12,
  },
  {
    method: "greetStream",
    requests: Array.from({ length: MESSAGES }, () => MIDDLE),
    replies: Array.from({ length: MESSAGES }, (_, index) => `${MIDDLE} ${index + 1}`),
    mostStopped: 2,
    mostGoing: 8,
  },
];

/**
 * Stops reading on many streams. The provider must wait with little memory, and go on when the
 * readers do.
 */
export const readers: Scenario = {
  title: "slow readers",
  async run(target, size) {
    const seen: string[] = [];
    for (const reading of READINGS) seen.push(await stop(target, size.readers, reading));
    return `${size.readers} at a time stopped reading 10 MiB; held: ${seen.join(", ")}; all replies came`;
  },
};
