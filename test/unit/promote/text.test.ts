import { describe, expect, it } from "vitest";
import { promotionText, stepHead, stepText } from "../../../tools/promote/text.ts";

describe("the table of steps", () => {
  it("has a line a step, below its head", () => {
    const version = { tries: 24, success: 100, p50: 2.1, p99: 23.8 };
    const others = { tries: 396, success: 99.74, p50: 1.1, p99: undefined };
    const step = { weight: 5, version, others, verdict: "held" as const, seconds: 21.5 };
    expect([stepHead(), stepText(step)].join("\n")).toBe(
      [
        "weight  tries   success  p50      p99      others' tries  success  p50      p99      verdict",
        "5 %     24      100 %    2.1 ms   23.8 ms  396            99.7 %   1.1 ms   -        held (21.5 s)",
      ].join("\n"),
    );
  });
});

describe("the end of a promotion", () => {
  const report = { service: "greeter", version: "v2", steps: [], written: true, weights: { v1: 0, v2: 100 } };

  it("says where the weights are", () => {
    expect(promotionText("prod", { ...report, outcome: "promoted" })).toBe(
      "v2 of greeter was promoted\nweights in the cluster and in Pulumi.prod.yaml: v1 0 %, v2 100 %",
    );
  });

  it("says why the version was rolled back", () => {
    const back = {
      ...report,
      outcome: "rolled back" as const,
      reason: "at 25 %: p50 310 ms",
      weights: { v1: 100, v2: 0 },
    };
    expect(promotionText("prod", back)).toBe(
      "v2 of greeter was rolled back: at 25 %: p50 310 ms\nweights in the cluster and in Pulumi.prod.yaml: v1 100 %, v2 0 %",
    );
  });

  it("has the change that is missing in the file", () => {
    const open = { ...report, outcome: "promoted" as const, written: false };
    expect(promotionText("prod", open)).toBe(
      "v2 of greeter was promoted\nweights in the cluster: v1 0 %, v2 100 %; write them to Pulumi.prod.yaml before the next `make up`",
    );
    expect(promotionText("prod", { ...open, change: "--- a/x\n" })).toBe(
      "v2 of greeter was promoted\nweights in the cluster: v1 0 %, v2 100 %; apply this change before the next `make up`:\n\n--- a/x\n",
    );
  });
});
