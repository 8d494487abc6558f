import { once } from "node:events";
import { Agent, type IncomingMessage, request as httpRequest } from "node:http";
import { text } from "node:stream/consumers";
import { isGreeting, path } from "../greeter.ts";
import { inParallel, type Scenario } from "../target.ts";

const MB = 1024 * 1024;
/** Calls that one connection carries, one after the other. */
const CALLS = 4;

interface Answer {
  readonly code: number | undefined;
  readonly body: string;
}

/** Sends a body to `greet`, over HTTP/1.1. */
async function send(port: number, agent: Agent, body: string, headers = {}): Promise<Answer> {
  const request = httpRequest({
    host: "127.0.0.1",
    port,
    path: path("greet"),
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    agent,
  });
  const answered = once(request, "response") as Promise<[IncomingMessage]>;
  // The provider may end a connection while the rest of a wrong request is sent.
  request.on("error", () => undefined);
  request.end(Buffer.from(body));
  const [response] = await answered;
  return { code: response.statusCode, body: await text(response) };
}

async function greet(port: number, agent: Agent, name: string): Promise<void> {
  const { code, body } = await send(port, agent, JSON.stringify({ name }));
  const { message } = JSON.parse(body) as { message: string };
  if (code !== 200 || !isGreeting(message, name))
    throw new Error(`JSON: status ${String(code)}, ${body.slice(0, 200)}`);
}

/** Checks that a request is refused with a status, and that the provider goes on. */
async function refused(port: number, agent: Agent, code: number, body: string, headers = {}): Promise<void> {
  const answer = await send(port, agent, body, headers);
  if (answer.code !== code)
    throw new Error(`JSON of ${body.length} bytes: status ${String(answer.code)} instead of ${code}`);
  await greet(port, agent, "after a wrong call");
}

/** Makes calls in JSON: many at a time, large ones, and wrong ones. */
export const json: Scenario = {
  title: "JSON over HTTP/1.1",
  async run({ port }, size) {
    const agent = new Agent({ keepAlive: true });
    try {
      await Promise.all(
        Array.from({ length: size.streams }, async (_, index) => {
          for (let call = 0; call < CALLS; call += 1) await greet(port, agent, `${index} ${call}`);
        }),
      );
      await greet(port, agent, "0123456789abcdef".repeat((4 * MB) / 16));
      await inParallel(size.garbage, 10, async () => {
        await refused(port, agent, 413, JSON.stringify({ name: "x".repeat(9 * MB) }));
        await refused(port, agent, 500, '{"name":');
        await refused(port, agent, 400, '{"name":{}}');
        await refused(port, agent, 415, "{}", { "content-type": "application/xml" });
        await refused(port, agent, 400, "{}", { "x-big": "y".repeat(100_000) });
      });
    } finally {
      agent.destroy();
    }
    return `${size.streams} connections with ${CALLS} calls each, 4 MiB came back whole, 5 kinds of wrong calls refused`;
  },
};
