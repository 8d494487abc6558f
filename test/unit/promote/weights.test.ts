import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { weightsAt } from "../../../tools/promote/weights.ts";

describe("the weights of a step", () => {
  it.each([
    [5, { v1: 100, v2: 0 }, { v1: 95, v2: 5 }],
    [25, { v1: 60, v2: 0, v3: 40 }, { v1: 45, v2: 25, v3: 30 }],
    [50, { v1: 33, v2: 33, v3: 34 }, { v1: 25, v2: 50, v3: 25 }],
    [5, { v1: 1, v2: 0, v3: 99 }, { v1: 1, v2: 5, v3: 94 }],
    [100, { v1: 60, v2: 10, v3: 30 }, { v1: 0, v2: 100, v3: 0 }],
  ])("are %i %% for v2, and the others share the rest: %j", (weight, from, weights) => {
    expect(weightsAt(weight, "v2", from)).toEqual(weights);
  });

  it("are whole percents that add up to 100, each within one of its exact share", () => {
    const shares = fc
      .array(fc.nat(1000), { minLength: 2, maxLength: 6 })
      .filter(([, ...others]) => others.some((share) => share > 0));
    fc.assert(
      fc.property(shares, fc.integer({ min: 1, max: 100 }), (given, weight) => {
        const from = Object.fromEntries(given.map((share, index) => [`v${index}`, share]));
        const weights = weightsAt(weight, "v0", from);
        const others = given.slice(1).reduce((sum, share) => sum + share, 0);
        expect(Object.values(weights).reduce((sum, share) => sum + share, 0)).toBe(100);
        expect(weights["v0"]).toBe(weight);
        for (const [name, share] of Object.entries(from).slice(1)) {
          const found = weights[name] ?? Number.NaN;
          expect(Number.isInteger(found)).toBe(true);
          expect(Math.abs(found - ((100 - weight) * share) / others)).toBeLessThan(1);
        }
      }),
    );
  });
});
