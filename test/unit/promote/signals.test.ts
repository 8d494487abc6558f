import { describe, expect, it } from "vitest";
import { untilSignal } from "../../../tools/promote/promote.ts";

describe("work until a signal", () => {
  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "gets %s as an abort, and keeps running",
    async (name) => {
      const listeners = process.listenerCount(name);
      const told = await untilSignal(async (signal) => {
        process.emit(name, name);
        await new Promise((resolve) => setImmediate(resolve));
        return (signal.reason as Error).message;
      });
      expect(told).toBe(`the command got ${name}`);
      expect(process.listenerCount(name)).toBe(listeners);
    },
  );

  it("keeps running when its terminal is closed", async () => {
    const closed = new Error("write EIO");
    const done = await untilSignal(() => {
      process.stdout.emit("error", closed);
      process.stderr.emit("error", closed);
      return Promise.resolve("done");
    });
    expect(done).toBe("done");
  });
});
