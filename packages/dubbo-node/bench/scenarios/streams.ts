import { once } from "node:events";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { GreeterClient } from "../greeter.ts";
import type { Scenario } from "../target.ts";

const CONNECTIONS = 4;
const MESSAGES = 4;

type Stream = ClientDuplexStream<string, string>;

/**
 * Sends one message on every stream before it waits for the answers, so that all streams are open
 * at once.
 */
async function round(streams: readonly Stream[], count: number): Promise<void> {
  const answers = streams.map(async (stream, index) => {
    const [message] = (await once(stream, "data")) as [string];
    if (message !== `stream ${index} ${count}`) throw new Error(`stream ${index} answered ${message}`);
  });
  streams.forEach((stream, index) => stream.write(`stream ${index}`));
  await Promise.all(answers);
}

async function finish(stream: Stream): Promise<void> {
  const ended = once(stream, "status") as Promise<[{ code: number }]>;
  stream.end();
  const [{ code }] = await ended;
  if (code !== 0) throw new Error(`a stream has ended with status ${code}`);
}

/** Opens many streams at a time, and exchanges messages on each. */
export const streams: Scenario = {
  title: "concurrent streams",
  async run({ port }, size) {
    const clients = Array.from({ length: CONNECTIONS }, () => new GreeterClient(port));
    try {
      const open = clients.flatMap((client) =>
        Array.from({ length: size.streams / CONNECTIONS }, () => client.greetStream()),
      );
      for (let count = 1; count <= MESSAGES; count += 1) await round(open, count);
      await Promise.all(open.map(finish));
      return `${open.length} streams on ${CONNECTIONS} connections, ${MESSAGES} messages each, all answered`;
    } finally {
      for (const client of clients) client.close();
    }
  },
};
