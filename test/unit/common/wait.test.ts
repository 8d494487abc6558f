import { describe, expect, it } from "vitest";
import { repeated, untilAborted } from "../../../common/wait.ts";

/** Returns work that fails some times, and a count of its tries. */
function failing(times: number): { work: () => Promise<string>; tries: () => number } {
  let tries = 0;
  const work = (): Promise<string> => {
    tries += 1;
    return tries > times ? Promise.resolve("done") : Promise.reject(new Error(`failure ${tries}`));
  };
  return { work, tries: () => tries };
}

describe("repeated work", () => {
  it("may fail twice", async () => {
    const { work, tries } = failing(2);
    expect(await repeated(work, { pauses: [1, 1] })).toBe("done");
    expect(tries()).toBe(3);
  });

  it("fails with its last error", async () => {
    const { work, tries } = failing(9);
    await expect(repeated(work, { pauses: [1] })).rejects.toThrow("failure 2");
    expect(tries()).toBe(2);
  });

  it("is not repeated after a final error", async () => {
    const { work, tries } = failing(9);
    await expect(repeated(work, { isFinal: () => true })).rejects.toThrow("failure 1");
    expect(tries()).toBe(1);
  });

  it("ends with the signal", async () => {
    const { work, tries } = failing(9);
    await expect(repeated(work, { signal: AbortSignal.abort(new Error("told")) })).rejects.toThrow("told");
    expect(tries()).toBe(1);
    await expect(repeated(work, { signal: AbortSignal.timeout(5) })).rejects.toThrow();
    expect(tries()).toBe(2);
  });
});

describe("work until a signal", () => {
  it("has its own result or error", async () => {
    const { signal } = new AbortController();
    expect(await untilAborted(Promise.resolve(1), signal)).toBe(1);
    await expect(untilAborted(Promise.reject(new Error("own")), signal)).rejects.toThrow("own");
  });

  it("throws the signal's reason before and during the work", async () => {
    const controller = new AbortController();
    const waiting = untilAborted(new Promise(() => undefined), controller.signal);
    controller.abort(new Error("told"));
    await expect(waiting).rejects.toThrow("told");
    await expect(untilAborted(Promise.resolve(1), controller.signal)).rejects.toThrow("told");
  });
});
