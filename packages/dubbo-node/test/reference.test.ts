import dns from "node:dns";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { Relay } from "../../../apps/gen/relay_pb.ts";
import { type Environment, readSettings, referenceSettings } from "../src/settings.ts";
import { application, provider } from "./support.ts";

const GREETER = "org.apache.dubbo.samples.Greeter";
const GREETER_VARIABLES = "DUBBO_REFERENCE_ORG_APACHE_DUBBO_SAMPLES_GREETER";
const RELAY_VARIABLES = "DUBBO_REFERENCE_ORG_APACHE_DUBBO_SAMPLES_RELAY";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
  vi.restoreAllMocks();
});

/** A provider of the greeter and one of the relay, on this machine. */
async function twoProviders() {
  const greeter = await provider({ greet: () => ({ message: "greeted" }) });
  const relay = application();
  relay.export(Relay, { relay: () => ({ message: "relayed" }) });
  await relay.start();
  ending.push(
    () => greeter.drain(),
    () => relay.drain(),
  );
  return { greeter: String(greeter.port), relay: String(relay.port) };
}

/** Returns the replies to an application with two references, and the hosts that it looked up. */
async function callBoth(environment: Environment) {
  const hosts: string[] = [];
  type Answer = (error: null, addresses: dns.LookupAddress[]) => void;
  vi.spyOn(dns, "lookup").mockImplementation(((host: string, _options: dns.LookupOptions, answer: Answer) => {
    hosts.push(host);
    answer(null, [{ address: "127.0.0.1", family: 4 }]);
  }) as typeof dns.lookup);
  const schema = referenceSettings({ services: [Greeter, Relay], providedBy: "nobody", version: "1.0.0" });
  const { settings, unknown } = readSettings(schema, { POD_NAMESPACE: "shop", ...environment });
  const app = application();
  ending.push(() => app.drain());
  const greeter = app.reference(Greeter, settings);
  const relay = app.reference(Relay, settings);
  const replies = [await greeter.call.greet({}), await relay.call.relay({})];
  return { replies: replies.map(({ message }) => message), hosts: [...new Set(hosts)].sort(), unknown };
}

const BOTH = {
  replies: ["greeted", "relayed"],
  hosts: ["greeters.shop.svc.cluster.local", "relays.shop.svc.cluster.local"],
  unknown: [],
};

test("resolves two references by their own settings", async () => {
  const ports = await twoProviders();
  const environment = {
    [`${GREETER_VARIABLES}_PROVIDED_BY`]: "greeters",
    [`${GREETER_VARIABLES}_PROVIDER_PORT`]: ports.greeter,
    [`${RELAY_VARIABLES}_PROVIDED_BY`]: "relays",
    [`${RELAY_VARIABLES}_PROVIDER_PORT`]: ports.relay,
  };
  expect(await callBoth(environment)).toEqual(BOTH);
});

test("resolves one reference by its own settings, the other by the common ones", async () => {
  const ports = await twoProviders();
  const folder = mkdtempSync(join(tmpdir(), "dubbo-mesh-reference-"));
  ending.push(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, "dubbo.properties");
  writeFileSync(
    path,
    `dubbo.reference.${GREETER}.provided-by=greeters\n` +
      `dubbo.reference.${GREETER}.providerPort=${ports.greeter}\n` +
      `dubbo.reference.provided-by=relays\ndubbo.reference.provider-port=${ports.relay}\n`,
  );
  expect(await callBoth({ DUBBO_PROPERTIES_FILE: path })).toEqual(BOTH);
});

test("resolves a reference that sets only its own port", async () => {
  const ports = await twoProviders();
  const environment = {
    DUBBO_REFERENCE_PROVIDED_BY: "all",
    DUBBO_REFERENCE_PROVIDER_PORT: ports.greeter,
    [`${RELAY_VARIABLES}_PROVIDER_PORT`]: ports.relay,
  };
  expect(await callBoth(environment)).toEqual({ ...BOTH, hosts: ["all.shop.svc.cluster.local"] });
});
