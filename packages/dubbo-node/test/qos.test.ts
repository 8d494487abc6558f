import { afterEach, expect, test } from "vitest";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import description from "../package.json" with { type: "json" };
import { Relay } from "../../../apps/gen/relay_pb.ts";
import { mayCall, type Access, type Command } from "../src/qos.ts";
import { type ApplicationSettings, referenceSettings } from "../src/settings.ts";
import { application, failure, health, probe, provider, unary } from "./support.ts";

const SERVING = 1;
const NOT_SERVING = 2;
const GREETER = "org.apache.dubbo.samples.Greeter";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
});

async function started(changed: Partial<ApplicationSettings> = {}) {
  const app = await provider({}, "v1", undefined, changed);
  ending.push(() => app.drain());
  return app;
}

test("reports offline everywhere and answers calls; online restores it", async () => {
  const { port, qosPort } = await started();
  expect(await probe(qosPort, "/offline")).toBe("200 OK");
  expect(await probe(qosPort, "/ready")).toBe("503 false");
  expect(await probe(qosPort, "/live")).toBe("200 true");
  expect(await probe(qosPort, "/startup")).toBe("200 true");
  expect([await health(port, ""), await health(port), await health(port, `${GREETER}:1.0.0`)]).toEqual([
    NOT_SERVING,
    NOT_SERVING,
    NOT_SERVING,
  ]);
  expect((await unary(port, Greeter.method.upperCaseGreet, { name: "a" })).message).toBe("A");
  expect(await probe(qosPort, "/online")).toBe("200 OK");
  expect(await probe(qosPort, "/ready")).toBe("200 true");
  expect([await health(port, ""), await health(port), await health(port, `${GREETER}:1.0.0`)]).toEqual([
    SERVING,
    SERVING,
    SERVING,
  ]);
});

async function twoServices() {
  const app = application();
  app.export(Relay, { relay: () => ({}) }, { group: "g" });
  const sample = Object.fromEntries(Greeter.methods.map(({ localName }) => [localName, () => ({})]));
  app.export(Greeter, sample as never);
  app.reference(
    Greeter,
    referenceSettings({ services: [Greeter], providedBy: "p", version: "2.0.0" }).parse({}),
  );
  await app.start();
  ending.push(() => app.drain());
  return app;
}

test("takes one of two services offline by its key; the application stays ready", async () => {
  const { port, qosPort } = await twoServices();
  expect(await probe(qosPort, `/offline/${GREETER}`)).toBe("200 service not found");
  expect(await probe(qosPort, `/offline?service=${GREETER}:1.0.0`)).toBe("200 OK");
  expect(await health(port, GREETER)).toBe(NOT_SERVING);
  expect(await health(port, "org.apache.dubbo.samples.Relay")).toBe(SERVING);
  expect(await health(port, "g/org.apache.dubbo.samples.Relay")).toBe(SERVING);
  expect(await probe(qosPort, "/ready")).toBe("200 true");
  expect(await probe(qosPort, "/offline/g%2F.*")).toBe("200 OK");
  expect(await probe(qosPort, "/ready")).toBe("503 false");
});

test("prints Dubbo's tables for ls: services with their state, and references", async () => {
  const { qosPort } = await twoServices();
  await probe(qosPort, "/offline/g%2F.*");
  expect(await probe(qosPort, "/ls")).toBe(`200 As Provider side:
+--------------------------------------+---------+
|         Provider Service Name        |   PUB   |
+--------------------------------------+---------+
|   g/org.apache.dubbo.samples.Relay   |mesh-I(N)|
+--------------------------------------+---------+
|org.apache.dubbo.samples.Greeter:1.0.0|mesh-I(Y)|
+--------------------------------------+---------+
As Consumer side:
+--------------------------------------+---+
|         Consumer Service Name        |NUM|
+--------------------------------------+---+
|org.apache.dubbo.samples.Greeter:2.0.0| 1 |
+--------------------------------------+---+
`);
});

async function post(qosPort: number, body: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${qosPort}/offline`, { method: "POST", body });
  return `${response.status} ${await response.text()}`;
}

test("takes arguments from a POST form, and rejects a form that is too long", async () => {
  const { qosPort } = await started();
  expect(await post(qosPort, "service=no.such.Service")).toBe("200 service not found");
  expect(await post(qosPort, `service=${"x".repeat(5000)}`)).toBe(
    "500 a POST needs a Content-Length of at most 4096 bytes\n",
  );
  expect(await probe(qosPort, "/ready")).toBe("200 true");
  expect(await post(qosPort, `service=${GREETER}%3A1.0.0`)).toBe("200 OK");
  expect(await probe(qosPort, "/ready")).toBe("503 false");
  expect(await probe(qosPort, "/offline/(")).toMatch(/^500 Invalid regular expression/);
});

test("counts calls on both sides, by method and status", async () => {
  const { port, qosPort } = await started();
  await unary(port, Greeter.method.upperCaseGreet, { name: "a" });
  await failure(unary(port, Greeter.method.greetException, {}));
  const lines = (await probe(qosPort, "/metrics")).split("\n");
  const labels = (method: string): string =>
    `interface="${GREETER}",method="${method}",group="",version="1.0.0"`;
  const application = 'application_name="provider-under-test"';
  expect(lines).toEqual(
    expect.arrayContaining([
      `dubbo_provider_requests_total{${labels("UpperCaseGreet")},${application}} 1`,
      `dubbo_provider_requests_succeed_total{${labels("UpperCaseGreet")},${application}} 1`,
      `dubbo_provider_requests_failed_total{${labels("greetException")},error="UNKNOWN",${application}} 1`,
      `dubbo_provider_requests_processing_total{${labels("greetException")},${application}} 0`,
      `dubbo_provider_rt_milliseconds_histogram_count{${application},${labels("UpperCaseGreet")}} 1`,
    ]),
  );
  expect(lines.some((line) => line.startsWith("process_resident_memory_bytes{"))).toBe(true);
});

test("serves calls without a QOS server if QOS is off", async () => {
  const { port, qosPort } = await started({ "dubbo.application.qos-enable": false });
  expect(qosPort).toBe(0);
  expect(await health(port)).toBe(SERVING);
});

test("onlineApp, offlineApp and their like do the same as online and offline", async () => {
  const { port, qosPort } = await started();
  for (const suffix of ["App", "Interface"]) {
    expect(await probe(qosPort, `/offline${suffix}/${GREETER}:1.0.0`)).toBe("200 OK");
    expect(await health(port)).toBe(NOT_SERVING);
    expect(await probe(qosPort, `/online${suffix}`)).toBe("200 OK");
    expect(await health(port)).toBe(SERVING);
  }
});

test("gracefulShutdown makes the application not ready for good, and calls go on", async () => {
  const { port, qosPort } = await started();
  expect(await probe(qosPort, "/gracefulShutdown")).toBe("200 OK");
  expect(await probe(qosPort, "/ready")).toBe("503 false");
  expect([await health(port, ""), await health(port)]).toEqual([NOT_SERVING, NOT_SERVING]);
  expect((await unary(port, Greeter.method.upperCaseGreet, { name: "a" })).message).toBe("A");
  expect(await probe(qosPort, "/online")).toBe("200 OK");
  expect(await probe(qosPort, "/ready")).toBe("503 false");
});

test("describes its commands, version and settings", async () => {
  const { qosPort } = await started({ "dubbo.consumer.timeout": 7 } as Partial<ApplicationSettings>);
  const lines = (await probe(qosPort, "/help")).split("\n");
  expect(lines[0]).toBe("200 live: true unless a check of the application fails");
  expect(lines.slice(1).map((line) => line.split(":")[0])).toEqual([
    ...["ready", "startup", "ls", "online", "onlineApp", "onlineInterface", "offline", "offlineApp"],
    ...["offlineInterface", "gracefulShutdown", "metrics", "getConfig", "version", "help", ""],
  ]);
  expect(await probe(qosPort, "/help/ls")).toBe("200 ls: lists provided and consumed services\n");
  expect(await probe(qosPort, "/version")).toBe(
    `200 dubbo-node version "${description.version}", Node.js ${process.version}\n`,
  );
  const config = (await probe(qosPort, "/getConfig")).slice("200 ".length);
  expect(JSON.parse(config)).toMatchObject({
    "dubbo.application.name": "provider-under-test",
    "dubbo.consumer.timeout": 7,
  });
});

test("says so if only Dubbo for Java has a command", async () => {
  const { qosPort } = await started();
  expect(await probe(qosPort, "/switchLogLevel?level=WARN")).toMatch(
    /^404 only Dubbo for Java has the command switchLogLevel; commands: live, ready, /,
  );
});

function command(level: Command["level"]): Command {
  return { level, summary: "", run: () => ({ body: "" }) };
}
const PROBE = command("PUBLIC");
const OTHER = command("PROTECTED");
const DEFAULT: Access = { acceptForeignIp: false, level: "PUBLIC", allowed: [] };

test.each([
  ["127.0.0.1", DEFAULT, true, true],
  ["::1", DEFAULT, true, true],
  ["::ffff:127.0.0.1", DEFAULT, true, true],
  // Requests of other pods come from this address of Istio's sidecar.
  ["127.0.0.6", DEFAULT, true, false],
  ["10.0.0.7", DEFAULT, true, false],
  [undefined, DEFAULT, true, false],
  ["10.0.0.7", { ...DEFAULT, level: "PROTECTED", allowed: ["ls"] }, true, false],
  ["10.0.0.7", { ...DEFAULT, level: "NONE" }, false, false],
  ["10.0.0.7", { ...DEFAULT, acceptForeignIp: true }, true, false],
  ["10.0.0.7", { ...DEFAULT, acceptForeignIp: true, level: "PROTECTED" }, true, true],
  ["10.0.0.7", { ...DEFAULT, acceptForeignIp: true, level: "PRIVATE" }, true, true],
  ["10.0.0.7", { ...DEFAULT, acceptForeignIp: true, level: "NONE" }, false, false],
  ["10.0.0.7", { ...DEFAULT, acceptForeignIp: true, allowed: ["ls"] }, true, true],
  ["10.0.0.7", { ...DEFAULT, acceptForeignIp: true, allowed: ["offline"] }, true, false],
] as [string | undefined, Access, boolean, boolean][])(
  "%s with %j may call the probes: %s, ls: %s",
  (address, access, probes, ls) => {
    expect(mayCall("ready", PROBE, address, access)).toBe(probes);
    expect(mayCall("ls", OTHER, address, access)).toBe(ls);
  },
);

test("lets only this machine call a PRIVATE command, unless the settings allow it", () => {
  const secret = command("PRIVATE");
  const from = (address: string, access: Partial<Access> = {}): boolean =>
    mayCall("getConfig", secret, address, { ...DEFAULT, ...access });
  expect(from("127.0.0.1")).toBe(true);
  expect(from("10.0.0.7", { acceptForeignIp: true, level: "PROTECTED" })).toBe(false);
  expect(from("10.0.0.7", { acceptForeignIp: true, level: "PRIVATE" })).toBe(true);
  expect(from("10.0.0.7", { acceptForeignIp: true, allowed: ["getConfig"] })).toBe(true);
});
