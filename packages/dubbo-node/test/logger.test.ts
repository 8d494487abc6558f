import { afterEach, expect, test, vi } from "vitest";
import { logger } from "../src/logger.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("logs lines in the sample's format, in UTC", () => {
  vi.useFakeTimers({ now: Date.UTC(2022, 6, 5, 1, 7, 9, 50) });
  const lines: string[] = [];
  const log = logger("impl.GreeterImpl", "text", (line) => lines.push(line));
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

test("logs each line as one JSON object if configured, including the sample's bare lines", () => {
  vi.useFakeTimers({ now: Date.UTC(2022, 6, 5, 1, 7, 9, 50) });
  const lines: string[] = [];
  const log = logger("impl.GreeterImpl", "json", (line) => lines.push(line));
  log.warn('two "2"\n\u009b');
  log.plain("four");
  const event = { time: "2022-07-05T01:07:09.050Z", level: "INFO", logger: "impl.GreeterImpl" };
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    { ...event, level: "WARN", message: 'two "2"\n\u009b' },
    { ...event, message: "four" },
  ]);
  expect(lines.join("")).toMatch(/^[^\p{Cc}]+\n[^\p{Cc}]+\n$/u);
});

test("escapes line breaks and terminal controls from a peer", () => {
  const lines: string[] = [];
  logger("test", "text", (line) => lines.push(line)).plain("a\nb\r\u001b[2J\u009bü");
  expect(lines).toEqual(["a\\u000ab\\u000d\\u001b[2J\\u009bü\n"]);
});

test("truncates a long message from a peer, and logs its length", () => {
  const lines: string[] = [];
  const log = logger("test", "text", (line) => lines.push(line));
  log.plain("x".repeat(2000));
  log.plain("x".repeat(5000));
  expect(lines).toEqual([`${"x".repeat(2000)}\n`, `${"x".repeat(2000)}... (5000 characters)\n`]);
});
