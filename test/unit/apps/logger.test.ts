import { afterEach, expect, test, vi } from "vitest";
import { logger } from "../../../apps/sdk/logger.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("lines have the seed's format, in UTC", () => {
  vi.useFakeTimers({ now: Date.UTC(2022, 6, 5, 1, 7, 9, 50) });
  const lines: string[] = [];
  const log = logger("impl.GreeterImpl", (line) => lines.push(line));
  log.info("one");
  log.warn("two");
  log.error("three");
  log.plain("four");
  expect(lines).toEqual([
    "[05/07/22 01:07:09:050 UTC] main  INFO impl.GreeterImpl: one\n",
    "[05/07/22 01:07:09:050 UTC] main  WARN impl.GreeterImpl: two\n",
    "[05/07/22 01:07:09:050 UTC] main ERROR impl.GreeterImpl: three\n",
    "four\n",
  ]);
});

test("what a peer sent cannot make a line of its own or steer a terminal", () => {
  const lines: string[] = [];
  logger("test", (line) => lines.push(line)).plain("a\nb\r\u001b[2J\u009bü");
  expect(lines).toEqual(["a\\u000ab\\u000d\\u001b[2J\\u009bü\n"]);
});
