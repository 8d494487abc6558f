import { describe, expect, it } from "vitest";
import { logMessage, logMessages } from "../../../tools/log-line.ts";

const REPLY = 'consumer Unary reply <-message: "hello, \\u000a"';

describe("the message of a log line", () => {
  it("is the field of a JSON line", () => {
    const at = "2026-11-24T13:00:00.000Z";
    const line = { time: at, level: "INFO", logger: "action.GreetingServiceConsumer", message: REPLY };
    expect(logMessage(JSON.stringify(line))).toBe(REPLY);
    expect(logMessage(`${JSON.stringify(line)}\r`)).toBe(REPLY);
  });

  it.each([
    `[24/11/26 13:00:00:000 UTC] main  INFO action.GreetingServiceConsumer: ${REPLY}`,
    "",
    "{",
    "12",
    "null",
    '{"message":1}',
    '{"level":"INFO"}',
  ])("is the line itself if it is not such an object: %j", (line) => {
    expect(logMessage(line)).toBe(line);
  });

  it("is read line by line", () => {
    expect(logMessages('plain\n{"message":"a"}\n{"message":"b\\nc"}\n')).toEqual(["plain", "a", "b\nc", ""]);
  });
});
