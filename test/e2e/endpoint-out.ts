/**
 * Runs beside an Envoy, in its network namespace, and reads the state of one endpoint every 50 ms.
 * Prints one line of JSON at the start, and one when the endpoint leaves the load balancing, with
 * the reason.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseClusters } from "../../tools/verify/envoy.ts";

const CLUSTERS = "http://127.0.0.1:15000/clusters?format=json";
const POLL_MS = 50;
const LIMIT_MS = 30_000;

const [address = ""] = process.argv.slice(2);

/** Returns the problems of the endpoint in the first cluster that reports any. */
async function problems(): Promise<string> {
  const text = await (await fetch(CLUSTERS)).text();
  const hosts = parseClusters(text, (name) => name.startsWith("outbound|")).flatMap(({ hosts }) => hosts);
  const found = hosts.filter((host) => host.address.startsWith(`${address}:`));
  if (found.length === 0) throw new Error(`Envoy has no endpoint ${address}`);
  return found.find((host) => host.problems.length > 0)?.problems.join(" ") ?? "";
}

function print(state: string): void {
  process.stdout.write(`${JSON.stringify({ at: Date.now(), state })}\n`);
}

const end = performance.now() + LIMIT_MS;
let state = await problems();
print(state);
while (state === "" && performance.now() < end) {
  await sleep(POLL_MS);
  state = await problems();
}
print(state);
