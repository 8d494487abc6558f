import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { Health } from "../src/gen/health_pb.ts";
import type { DubboApplication } from "../src/application.ts";
import {
  application,
  client,
  eventually,
  failure,
  health,
  probe,
  provider,
  rawMethod,
  recorder,
  unary,
} from "./support.ts";

const SERVING = 1;
const NOT_SERVING = 2;
const SERVICE_UNKNOWN = 3;
const GREETER = "org.apache.dubbo.samples.Greeter";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
});

function owned(started: DubboApplication): DubboApplication {
  ending.push(() => started.drain());
  return started;
}

async function started(...args: Parameters<typeof application>): Promise<DubboApplication> {
  const app = owned(application(...args));
  await app.start();
  return app;
}

function watch(port: number, service: string): number[] {
  const { path, requestSerialize, responseDeserialize, frame } = rawMethod(Health.method.watch);
  const connection = client(port);
  const call = connection.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    frame({ service }),
  );
  const seen: number[] = [];
  call.on("data", ({ status }: { status: number }) => seen.push(status));
  call.on("status", ({ code }: { code: number }) => seen.push(-code));
  call.on("error", () => undefined);
  ending.push(() => {
    connection.close();
  });
  return seen;
}

test("reports the server and its services as SERVING, and other names as not found", async () => {
  const { port } = owned(await provider());
  expect(await health(port, "")).toBe(SERVING);
  expect(await health(port, GREETER)).toBe(SERVING);
  expect(await health(port, "no.such.Service")).toBe("5 NOT_FOUND: unknown service no.such.Service");
});

test("serves the health of an application without services", async () => {
  const { port } = await started();
  expect(await health(port, "")).toBe(SERVING);
  expect(await health(port, GREETER)).toBe(`5 NOT_FOUND: unknown service ${GREETER}`);
});

test("reports each change once to a watch, and ends the watch with the server", async () => {
  const app = owned(await provider());
  const known = watch(app.port, GREETER);
  const unknown = watch(app.port, "no.such.Service");
  await eventually("both watches", () => known.length === 1 && unknown.length === 1);
  await app.drain();
  await eventually("the ends", () => known.length === 3 && unknown.length === 2);
  expect(known).toEqual([SERVING, NOT_SERVING, -0]);
  expect(unknown).toEqual([SERVICE_UNKNOWN, -0]);
});

test("answers true to the probes while it serves, and not found to other paths", async () => {
  const { qosPort } = await started();
  expect(await probe(qosPort, "/live")).toBe("200 true");
  expect(await probe(qosPort, "/ready?x=1")).toBe("200 true");
  expect(await probe(qosPort, "/startup")).toBe("200 true");
  expect(await probe(qosPort, "/ready", "HEAD")).toBe("200 ");
  expect(await probe(qosPort, "/toString")).toBe(
    "404 no such command; commands: live, ready, startup, ls, online, onlineApp, onlineInterface, offline, offlineApp, " +
      "offlineInterface, gracefulShutdown, metrics, getConfig, version, help\n",
  );
  expect(await probe(qosPort, "/ready", "DELETE")).toBe("405 only GET and POST\n");
});

test("is live if the application's own check passes; a check that throws fails", async () => {
  let answer: () => boolean | Promise<boolean> = () => true;
  const { qosPort } = await started({}, { livenessChecks: [() => true, () => answer()] });
  expect(await probe(qosPort, "/live")).toBe("200 true");
  answer = () => Promise.resolve(false);
  expect(await probe(qosPort, "/live")).toBe("503 false");
  answer = () => {
    throw new Error("broken");
  };
  expect(await probe(qosPort, "/live")).toBe("503 false");
  expect(await probe(qosPort, "/ready")).toBe("200 true");
});

async function takenPort(): Promise<number> {
  const server = createServer().listen(0, "0.0.0.0");
  await once(server, "listening");
  ending.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

test("reports a port in use as one error that names its variable", async () => {
  const port = await takenPort();
  await expect(owned(application({ "dubbo.protocol.port": port })).start()).rejects.toThrow(
    `DUBBO_PROTOCOL_PORT is ${port}: cannot listen on 0.0.0.0:${port}: the port is in use`,
  );
  await expect(owned(application({ "dubbo.application.qos-port": port })).start()).rejects.toThrow(
    `DUBBO_APPLICATION_QOS_PORT is ${port}: cannot listen on 0.0.0.0:${port}: the port is in use`,
  );
});

test("is live, but not started or ready, before its services are exported", async () => {
  const app = owned(application({ "dubbo.protocol.port": await takenPort() }));
  await failure(app.start());
  expect(await probe(app.qosPort, "/live")).toBe("200 true");
  expect(await probe(app.qosPort, "/startup")).toBe("503 false");
  expect(await probe(app.qosPort, "/ready")).toBe("503 false");
});

test("reports that it drains and still answers calls; then stops listening", async () => {
  const { log, lines } = recorder();
  const app = await started({ "dubbo.service.shutdown.wait": 300 }, { log });
  const { port, qosPort } = app;
  const drained = app.drain();
  expect(app.drain()).toBe(drained);
  expect(await health(port, "")).toBe(NOT_SERVING);
  expect(await probe(qosPort, "/ready")).toBe("503 false");
  expect(await probe(qosPort, "/startup")).toBe("200 true");
  expect(await probe(qosPort, "/live")).toBe("200 true");
  await drained;
  expect(await failure(unary(port, Health.method.check, {}))).toMatch(/ECONNREFUSED/);
  expect(lines).toEqual([
    "main  INFO test: draining: no longer ready, closing in 300 ms",
    "main  INFO test: drained",
  ]);
});

test("answers a call in flight after GOAWAY", async () => {
  let answer: (() => void) | undefined;
  const app = await provider({
    greet: () =>
      new Promise((resolve) => {
        answer = () => {
          resolve({ message: "late" });
        };
      }),
  });
  const call = unary(app.port, Greeter.method.greet, {});
  const reply = await eventually("the call", () => answer);
  const drained = app.drain();
  await sleep(100);
  reply();
  expect((await call).message).toBe("late");
  await drained;
});

test("cuts off calls that do not end in time", async () => {
  const { log, lines } = recorder();
  const app = await started({ "dubbo.service.shutdown.timeout": 100 }, { log });
  await app.drain(new Promise(() => undefined));
  expect(lines).toEqual([
    "main  INFO test: draining: no longer ready, closing in 0 ms",
    "main  WARN test: calls in flight were cut off after 100 ms",
    "main  INFO test: drained",
  ]);
});
