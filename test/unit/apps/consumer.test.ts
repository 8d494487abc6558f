import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { type Handlers, RpcError, status } from "dubbo-node";
import { DubboReference } from "dubbo-node/reference";
import { callForever } from "../../../apps/consumer/caller.ts";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { freePort } from "../../../packages/dubbo-node/bench/process.ts";
import { application, eventually, provider, recorder } from "../../../packages/dubbo-node/test/support.ts";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
});

interface Calls {
  readonly lines: string[];
  /** Returns the lines about calls, without those about the wait. */
  readonly calls: () => string[];
  readonly stop: () => Promise<void>;
}

function consume(port: number, { interval = 20, timeout = 5000 } = {}): Calls {
  const { log, lines } = recorder();
  const abort = new AbortController();
  const greeter = new DubboReference(Greeter, {
    version: "1.0.0",
    target: `127.0.0.1:${port}`,
    consumer: "consumer-under-test",
    timeout,
    log,
  });
  const done = callForever({ greeter, interval, log, signal: abort.signal });
  const stop = async (): Promise<void> => {
    abort.abort();
    await done;
    greeter.close();
  };
  ending.push(stop);
  return {
    lines,
    calls: () => lines.filter((line) => !line.includes("org.apache.dubbo.samples.Greeter at")),
    stop,
  };
}

async function providing(greet?: Handlers<typeof Greeter>["greet"]): Promise<number> {
  const started = await provider(greet && { greet });
  ending.push(() => started.drain());
  return started.port;
}

const reply = { message: "hello" };

test("logs each reply as the sample does, and counts calls from 1", async () => {
  const { calls } = consume(await providing());
  await eventually("two calls", () => calls().length >= 4);
  const message =
    "hello,service mesh, response from provider: 10.0.0.7:50052, client: 127.0.0.1, local: provider-under-test, remote: consumer-under-test, isProviderSide: true";
  expect(calls().slice(0, 4)).toEqual([
    `main  INFO test: consumer Unary reply <-message: "${message}"`,
    "==================== dubbo invoke 1 end ====================",
    `main  INFO test: consumer Unary reply <-message: "${message}"`,
    "==================== dubbo invoke 2 end ====================",
  ]);
});

test("sends its name and the interface's version", async () => {
  const seen: unknown[] = [];
  const port = await providing((_request, { headers }) => {
    seen.push([headers.get("tri-service-version"), headers.get("tri-consumer-appname")]);
    return reply;
  });
  consume(port);
  await eventually("a call", () => seen.length > 0);
  expect(seen[0]).toEqual(["1.0.0", "consumer-under-test"]);
});

test("logs a failed call with status and time, and continues", async () => {
  let count = 0;
  const port = await providing(() => {
    count += 1;
    if (count === 1) throw new RpcError(status.UNAVAILABLE, "no healthy\nupstream");
    return reply;
  });
  const { calls } = consume(port);
  await eventually("three lines", () => calls().length >= 3);
  expect(
    calls()
      .map((line) => line.replace(/\d+ ms/, "N ms"))
      .slice(0, 3),
  ).toEqual([
    "main ERROR test: dubbo invoke 1 failed after N ms: UNAVAILABLE: no healthy\\u000aupstream",
    'main  INFO test: consumer Unary reply <-message: "hello"',
    "==================== dubbo invoke 2 end ====================",
  ]);
});

test("fails a call without an answer at its deadline", async () => {
  // A deadline is a time in whole milliseconds, so it may come 1 ms early.
  const { calls } = consume(await providing(() => new Promise(() => undefined)), { timeout: 120 });
  await eventually("a failure", () => calls().length > 0);
  expect(calls()[0]).toMatch(
    /^main ERROR test: dubbo invoke 1 failed after [1-9]\d\d+ ms: DEADLINE_EXCEEDED: /,
  );
});

test("logs the time of a slow call, and starts the next one at once", async () => {
  const starts: number[] = [];
  const port = await providing(async () => {
    starts.push(performance.now());
    await sleep(starts.length === 1 ? 550 : 0);
    return reply;
  });
  const { calls } = consume(port, { interval: 500 });
  await eventually("three calls", () => calls().length >= 7);
  expect(calls()[1]).toMatch(/^main {2}WARN test: dubbo invoke 1 took [5-9]\d\d ms$/);
  const gaps = starts.slice(1).map((start, index) => start - (starts[index] ?? 0));
  // The next call starts after about 550 ms; one interval after the end would be 1050 ms.
  expect(gaps[0]).toBeGreaterThan(540);
  expect(gaps[0]).toBeLessThan(1000);
  // The interval is between the starts, so a late call is followed sooner.
  expect(gaps[1]).toBeGreaterThan(300);
});

test("waits for a provider that starts later, without counting a call", async () => {
  const port = await freePort();
  const { lines, calls } = consume(port);
  await eventually("two waits", () => lines.length >= 2);
  expect(lines[0]).toMatch(
    /^main {2}INFO test: waits for org\.apache\.dubbo\.samples\.Greeter at 127\.0\.0\.1:\d+: UNAVAILABLE: .*ECONNREFUSED.* \(\d+ ms so far\)/,
  );
  // A server that answers, but lacks the service.
  const stranger = application({ "dubbo.protocol.port": port });
  await stranger.start();
  await eventually("NOT_FOUND", () =>
    lines.some((line) => line.includes(": NOT_FOUND: unknown service org.apache.dubbo.samples.Greeter (")),
  );
  await stranger.drain();
  expect(calls()).toEqual([]);
});

test("stops while it waits, or after the call in flight", async () => {
  const waiting = consume(await freePort());
  await eventually("a wait", () => waiting.lines.length > 0);
  await waiting.stop();
  expect(waiting.calls()).toEqual([]);

  let answer: (() => void) | undefined;
  const port = await providing(
    () =>
      new Promise((resolve) => {
        answer = () => {
          resolve(reply);
        };
      }),
  );
  const calling = consume(port);
  const finish = await eventually("the call", () => answer);
  const stopped = calling.stop();
  await sleep(50);
  finish();
  await stopped;
  expect(calling.calls()).toEqual([
    'main  INFO test: consumer Unary reply <-message: "hello"',
    "==================== dubbo invoke 1 end ====================",
  ]);
});
