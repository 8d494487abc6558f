import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { Greeter, type GreeterReply } from "../../../apps/gen/greeter_pb.ts";
import { Relay } from "../../../apps/gen/relay_pb.ts";
import { hostAddress } from "../../../apps/provider/greeter.ts";
import { freePort } from "../../../packages/dubbo-node/bench/process.ts";
import {
  client,
  eventually,
  failure,
  health,
  probe,
  rawMethod,
  unary,
} from "../../../packages/dubbo-node/test/support.ts";
import { AppProcess } from "./app-process.ts";

const NOT_SERVING = 2;

const running: AppProcess[] = [];
afterEach(async () => {
  for (const app of running) app.signal("SIGKILL");
  await Promise.all(running.splice(0).map((app) => app.exit()));
});

async function start(name: string, environment: Record<string, string>): Promise<AppProcess> {
  const app = await AppProcess.start(name, environment);
  running.push(app);
  return app;
}

function startProvider(environment: Record<string, string> = {}): Promise<AppProcess> {
  return start("provider", { DUBBO_APPLICATION_NAME: "the-provider", ...environment });
}

test("a provider is not ready after SIGTERM, finishes its calls, and exits with 0", async () => {
  const app = await startProvider({ DUBBO_SERVICE_SHUTDOWN_WAIT: "400" });
  await app.line(/dubbo service started$/);
  const { path, requestSerialize, responseDeserialize, frame } = rawMethod(Greeter.method.greetStream);
  const connection = client(app.port);
  const call = connection.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  const ask = async (): Promise<string> => {
    call.write(frame({ name: "in flight" }));
    const [{ message }] = (await once(call, "data")) as [GreeterReply];
    return message;
  };
  expect(await ask()).toBe("in flight 1");
  app.signal("SIGTERM");
  await app.line(/draining/);
  expect(await health(app.port)).toBe(NOT_SERVING);
  expect(await probe(app.qosPort, "/ready")).toBe("503 false");
  expect(await ask()).toBe("in flight 2");
  await eventually("GOAWAY", async () => typeof (await health(app.port)) === "string");
  expect(await ask()).toBe("in flight 3");
  const ended = once(call, "status") as Promise<[{ code: number }]>;
  call.end();
  expect((await ended)[0].code).toBe(0);
  expect(await app.exit()).toBe(0);
  connection.close();
  expect(app.lines).toEqual([
    "main  INFO samples.ProviderBootstrap: dubbo service started",
    "main  INFO impl.GreeterImpl: in flight 1",
    "main  INFO samples.ProviderBootstrap: received SIGTERM",
    "main  INFO samples.ProviderBootstrap: draining: no longer ready, closing in 400 ms",
    "main  INFO impl.GreeterImpl: in flight 2",
    "main  INFO impl.GreeterImpl: in flight 3",
    "main  INFO impl.GreeterImpl: [greetStream] onCompleted",
    "main  INFO samples.ProviderBootstrap: drained",
  ]);
});

test("a second signal ends it at once", async () => {
  const app = await startProvider({ DUBBO_SERVICE_SHUTDOWN_WAIT: "60000" });
  await app.line(/dubbo service started$/);
  app.signal("SIGINT");
  await app.line(/draining/);
  app.signal("SIGTERM");
  expect(await app.exit()).toBe(1);
});

test.each([
  [
    "provider",
    { DUBBO_SERVICE_SHUTDOWN_WAIT: "soon" },
    'dubbo.application.name (DUBBO_APPLICATION_NAME) is not set; DUBBO_SERVICE_SHUTDOWN_WAIT is "soon": must be a whole number from 0 to 86400000',
  ],
  [
    "consumer",
    { DUBBO_APPLICATION_NAME: "c", DUBBO_REFERENCE_PROVIDED_BY: "a/b" },
    'DUBBO_REFERENCE_PROVIDED_BY is "a/b": must be a DNS name: lower-case letters, digits, dashes and dots',
  ],
] as const)(
  "a %s with wrong settings prints one line and exits with 1",
  async (name, environment, message) => {
    const app = await start(name, environment);
    expect(await app.exit()).toBe(1);
    expect(app.lines).toEqual([`main ERROR run: ${message}`]);
  },
);

test("a port in use is reported in one line", async () => {
  const first = await startProvider();
  await first.line(/dubbo service started$/);
  const second = await startProvider({ DUBBO_PROTOCOL_PORT: String(first.port) });
  expect(await second.exit()).toBe(1);
  expect(second.lines).toEqual([
    `main ERROR run: DUBBO_PROTOCOL_PORT is ${first.port}: cannot listen on 0.0.0.0:${first.port}: the port is in use`,
  ]);
});

test("a consumer waits for its provider, calls it, and drains", async () => {
  const port = await freePort();
  const consumer = await start("consumer", {
    DUBBO_APPLICATION_NAME: "the-consumer",
    DUBBO_REFERENCE_PROVIDED_BY: "the-provider",
    DUBBO_REFERENCE_PROVIDER_PORT: String(port),
    DUBBO_CONSUMER_INTERVAL: "50",
    POD_NAMESPACE: "demo",
    CLUSTER_DOMAIN: "cluster.test",
  });
  await consumer.line(
    new RegExp(
      `waits for org\\.apache\\.dubbo\\.samples\\.Greeter at the-provider\\.demo\\.svc\\.cluster\\.test:${port}: `,
    ),
  );
  expect(await health(consumer.port, "")).toBe(1);
  expect(await probe(consumer.qosPort, "/ready")).toBe("200 true");
  const provider = await startProvider({
    DUBBO_PROTOCOL_PORT: String(port),
    DUBBO_APPLICATION_VERSION: "v2",
  });
  await consumer.line(/^=+ dubbo invoke 2 end =+$/);
  const calls = consumer.lines.slice(consumer.lines.findIndex((line) => line.includes("is SERVING")) + 1);
  const message = `hello,service mesh, response from provider-v2: ${hostAddress()}:${port}, client: 127.0.0.1, local: the-provider, remote: the-consumer, isProviderSide: true`;
  expect(calls.slice(0, 2)).toEqual([
    `main  INFO action.GreetingServiceConsumer: consumer Unary reply <-message: "${message}"`,
    "==================== dubbo invoke 1 end ====================",
  ]);
  expect(provider.lines.slice(0, 2)).toEqual([
    "main  INFO samples.ProviderBootstrap: dubbo service started",
    'main  INFO impl.GreeterImpl: Server test dubbo tri k8s received greet request name: "service mesh"',
  ]);
  consumer.signal("SIGTERM");
  expect(await consumer.exit()).toBe(0);
  expect(consumer.lines.at(-1)).toBe("main  INFO action.GreetingServiceConsumer: drained");
  expect(consumer.lines.filter((line) => line.includes("ERROR"))).toEqual([]);
});

test("a provider continues after the reader of its log has gone", async () => {
  const app = await startProvider();
  await app.line(/dubbo service started$/);
  app.closeLog();
  expect(await failure(unary(app.port, Greeter.method.greet, { name: "unheard" }))).toBe(
    "the call was answered",
  );
  expect(await failure(unary(app.port, Greeter.method.greet, { name: "unheard" }))).toBe(
    "the call was answered",
  );
  app.signal("SIGTERM");
  expect(await app.exit()).toBe(0);
});

test("a relay calls the provider for its caller, and passes on the trace", async () => {
  const provider = await startProvider({ DUBBO_APPLICATION_LOG_FORMAT: "json" });
  await provider.line(/"message":"dubbo service started"/);
  const relay = await start("relay", {
    DUBBO_APPLICATION_NAME: "the-relay",
    DUBBO_REFERENCE_PROVIDER_PORT: String(provider.port),
  });
  await relay.line(/dubbo relay started$/);
  const reply = await unary(relay.port, Relay.method.relay, { name: "n" }, { "x-request-id": "1" });
  expect(reply).toMatchObject({
    via: "the-relay",
    message: expect.stringMatching(/^hello,n, .*remote: the-relay,/) as string,
  });
  expect(provider.lines).toContainEqual(
    expect.stringMatching(/"message":"Server test dubbo tri k8s received greet request name: \\"n\\""/),
  );
  expect(await probe(relay.qosPort, "/ls")).toContain("|org.apache.dubbo.samples.Greeter:1.0.0| 1 |");
});

test("a provider reads the sample's file, and warns of unknown settings", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dubbo-mesh-process-"));
  const path = join(folder, "dubbo-provider.properties");
  writeFileSync(
    path,
    "dubbo.application.name=from-the-file\ndubbo.application.qosEnable=true\ndubbo.protocol.nam=x\n",
  );
  const app = await start("provider", { DUBBO_PROPERTIES_FILE: path });
  await app.line(/dubbo service started$/);
  expect(app.lines[0]).toBe(
    "main  WARN samples.ProviderBootstrap: dubbo.protocol.nam is not a setting of this application and has no effect",
  );
  expect((await unary(app.port, Greeter.method.greet, {})).message).toContain("local: from-the-file,");
  rmSync(folder, { recursive: true });
});
