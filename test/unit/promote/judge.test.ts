import { describe, expect, it } from "vitest";
import { promotionSettings } from "../../../settings/promotion.ts";
import { type Bin, type Counts, NONE } from "../../../tools/promote/counts.ts";
import { figuresOf, judge, percent, quantile, type Verdict } from "../../../tools/promote/judge.ts";

/** Returns times in bins of 1 ms, by ms. */
function times(calls: Readonly<Record<number, number>>): Bin[] {
  return Object.entries(calls).map(([from, count]) => ({ from: Number(from), width: 1, calls: count }));
}

const OTHERS = figuresOf({ succeeded: 1000, failed: 0, unaccounted: 0, times: times({ 2: 990, 40: 10 }) });
const BOUNDS = promotionSettings.parse({ calls: 100, minSuccess: 99 });

function verdict(counts: Partial<Counts>, bounds: object = {}): Verdict | undefined {
  return judge({ ...NONE, ...counts }, OTHERS, { ...BOUNDS, ...bounds });
}

describe("the figures of calls", () => {
  it("are rates and times; none without calls", () => {
    expect(figuresOf({ ...NONE, succeeded: 99, failed: 1, times: times({ 1: 50, 10: 49, 300: 1 }) })).toEqual(
      {
        tries: 100,
        success: 99,
        p50: 2,
        p99: 11,
      },
    );
    expect(figuresOf(NONE)).toEqual({
      tries: 0,
      success: undefined,
      p50: undefined,
      p99: undefined,
    });
  });

  it("interpolate within a bin", () => {
    expect(quantile([{ from: 10, width: 10, calls: 4 }], 0.5)).toBe(15);
  });

  it("count calls that were given up, beyond the error of a reading", () => {
    const failures = (succeeded: number, unaccounted: number): number =>
      figuresOf({ ...NONE, succeeded, unaccounted }).tries - succeeded;
    expect([-2, 0, 2, 3, 7].map((unaccounted) => failures(20, unaccounted))).toEqual([0, 0, 0, 1, 5]);
    expect([10, 11, 60].map((unaccounted) => failures(1000, unaccounted))).toEqual([0, 1, 50]);
  });

  it("count calls that Envoy answered without a try, but no failed connection twice", () => {
    expect(figuresOf({ ...NONE, succeeded: 80, unaccounted: -30 }).tries).toBe(80 + 28);
    expect(figuresOf({ ...NONE, succeeded: 80, failed: 30, unaccounted: -30 }).tries).toBe(110);
  });

  it("show 100 % only without a failure", () => {
    expect([100, 99.99, 0, undefined].map(percent)).toEqual(["100 %", "99.9 %", "0 %", "-"]);
  });
});

describe("a version", () => {
  it("is judged after enough answered calls, not before", () => {
    expect(verdict({ succeeded: 100, times: times({ 2: 99 }) })).toBeUndefined();
    // Two of the times are of calls in the step before.
    expect(verdict({ succeeded: 98, times: times({ 2: 100 }) })).toBeUndefined();
    expect(verdict({ succeeded: 100, times: times({ 2: 100 }) })).toEqual({ verdict: "held" });
  });

  it("may fail as often as the bound allows", () => {
    expect(verdict({ succeeded: 99, failed: 1, times: times({ 2: 100 }) })).toEqual({ verdict: "held" });
    const bounds = { calls: 1000, minSuccess: 99.9 };
    expect(verdict({ succeeded: 999, failed: 1, times: times({ 2: 1000 }) }, bounds)).toEqual({
      verdict: "held",
    });
  });

  it("is worse at the first failure that no later success makes up for", () => {
    expect(verdict({ succeeded: 3, failed: 1 })).toBeUndefined();
    expect(verdict({ succeeded: 3, failed: 2 })).toEqual({
      verdict: "worse",
      reason: "success 60 % (2 of 5 tries failed); minSuccess is 99 %; the others have 100 %",
    });
    expect(verdict({ succeeded: 10, failed: 1, times: times({ 2: 11 }) }, { minSuccess: 100 })).toMatchObject(
      {
        verdict: "worse",
      },
    );
  });

  it("is worse if callers give up calls", () => {
    expect(verdict({ succeeded: 95, unaccounted: 5, times: times({ 2: 95 }) })).toMatchObject({
      verdict: "worse",
    });
  });

  it("is worse if half of its calls are slower than allowed", () => {
    expect(verdict({ succeeded: 100, times: times({ 100: 100 }) })).toEqual({ verdict: "held" });
    expect(verdict({ succeeded: 100, times: times({ 2: 49, 110: 51 }) })).toEqual({
      verdict: "worse",
      reason: "p50 110 ms; the others have 2.5 ms; at most 100 ms more is allowed",
    });
  });

  it("is judged by its p99 from 500 calls on", () => {
    expect(verdict({ succeeded: 499, times: times({ 2: 400, 900: 99 }) })).toEqual({ verdict: "held" });
    expect(verdict({ succeeded: 500, times: times({ 2: 490, 900: 10 }) })).toEqual({
      verdict: "worse",
      reason: "p99 900.5 ms; the others have 3 ms; at most 100 ms more is allowed",
    });
  });

  it("is not judged by its p99 if the others have too few calls", () => {
    const few = figuresOf({ ...NONE, succeeded: 499, times: times({ 2: 499 }) });
    const counts = { ...NONE, succeeded: 500, times: times({ 2: 490, 900: 10 }) };
    expect(judge(counts, few, BOUNDS)).toEqual({ verdict: "held" });
  });

  it("is not judged without others to compare with", () => {
    const none = figuresOf(NONE);
    const counts = { ...NONE, succeeded: 100, times: times({ 2: 100 }) };
    expect(judge(counts, none, BOUNDS)).toBeUndefined();
    expect(judge({ ...counts, failed: 5 }, none, BOUNDS)).toMatchObject({ verdict: "worse" });
  });
});
