/**
 * Runs beside an Envoy, in its network namespace, and looks every 50 ms at one endpoint. Prints when it began, and when the endpoint is out
 * of the load balancing and why, one line of JSON each.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseClusters } from "../../tools/verify/envoy.ts";

const CLUSTERS = "http://127.0.0.1:15000/clusters?format=json";
const POLL_MS = 50;
const LIMIT_MS = 30_000;

const [address = ""] = process.argv.slice(2);

/** What is wrong with the endpoint, in the first of the clusters that has something to say. */
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
