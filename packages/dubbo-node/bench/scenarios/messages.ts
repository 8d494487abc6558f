import { once } from "node:events";
import { status } from "../../src/status.ts";
import { Connection, framed } from "../connection.ts";
import { GreeterClient, path, request } from "../greeter.ts";
import type { Scenario } from "../target.ts";

const MB = 1024 * 1024;
const STREAMED = 3;

async function streamed(client: GreeterClient, name: string): Promise<void> {
  const stream = client.greetStream();
  for (let count = 1; count <= STREAMED; count += 1) {
    stream.write(name);
    const [message] = (await once(stream, "data")) as [string];
    if (message !== `${name} ${count}`) throw new Error(`message ${count} of the stream came back changed`);
  }
  const ended = once(stream, "status");
  stream.end();
  await ended;
}

/** Sends a message above the limit, then one below it on the same connection. */
async function tooBig(port: number, method: string): Promise<void> {
  const connection = await Connection.open(port);
  try {
    const answer = await connection.call(path(method), framed(request("x".repeat(9 * MB))));
    if (answer.status !== status.RESOURCE_EXHAUSTED) {
      throw new Error(
        `9 MiB to ${method} got status ${String(answer.status)} ${answer.details}, reset ${answer.reset}`,
      );
    }
    await connection.greet("after the big one");
  } finally {
    connection.close();
  }
}

/**
 * Sends big messages. Up to the limit they arrive unchanged. Above it the call fails, and the
 * connection stays usable.
 */
export const messages: Scenario = {
  title: "big messages",
  async run({ port }) {
    const client = new GreeterClient(port);
    try {
      const name = "0123456789abcdef".repeat((4 * MB) / 16);
      await client.greet(name);
      await streamed(client, name);
    } finally {
      client.close();
    }
    for (const method of ["greet", "greetStream", "greetServerStream"]) await tooBig(port, method);
    return `4 MiB unary and ${STREAMED} streamed came back whole; 9 MiB got RESOURCE_EXHAUSTED, and the connection went on`;
  },
};
