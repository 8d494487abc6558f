import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { step } from "../../../common/steps.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Runs a step of 40 s and returns its lines. */
async function linesOf(waitsFor?: () => Promise<string>, fails = false): Promise<string[]> {
  const lines: string[] = [];
  const work = async (): Promise<number> => {
    await new Promise((done) => setTimeout(done, 40_000));
    if (fails) throw new Error("no good");
    return 7;
  };
  const running = step("deploy", work, (line) => lines.push(line), waitsFor).catch((error: unknown) => error);
  await vi.runAllTimersAsync();
  expect(await running).toEqual(fails ? new Error("no good") : 7);
  await vi.advanceTimersByTimeAsync(60_000);
  return lines;
}

describe("a long step", () => {
  it("reports its time every 15 s and at its end", async () => {
    const beats = ["..    deploy (15.0 s)", "..    deploy (30.0 s)"];
    expect(await linesOf()).toEqual([...beats, "ok    deploy (40.0 s)"]);
    expect(await linesOf(undefined, true)).toEqual([...beats, "FAIL  deploy (40.0 s)"]);
  });

  it("says what it waits for, as far as that is known", async () => {
    let asked = 0;
    const waitsFor = (): Promise<string> => {
      asked += 1;
      return asked === 1 ? Promise.resolve("pod p: no image") : Promise.reject(new Error("no cluster"));
    };
    expect(await linesOf(waitsFor)).toEqual([
      "..    deploy (15.0 s): pod p: no image",
      "..    deploy (30.0 s)",
      "ok    deploy (40.0 s)",
    ]);
  });

  it("reports nothing after its end, however late the answer is", async () => {
    const late = (): Promise<string> => new Promise((done) => setTimeout(done, 30_000, "too late"));
    expect(await linesOf(late)).toEqual(["ok    deploy (40.0 s)"]);
  });
});
