import { describe, expect, it } from "vitest";
import { differences, leaves } from "../../../tools/verify/facts.ts";

describe("differences", () => {
  it("are the subjects with another value, missing ones and unknown ones", () => {
    expect(
      differences({ same: "1", other: "2", missing: "3" }, { same: "1", other: "9", foreign: "4" }),
    ).toEqual([
      { subject: "other", seen: "9", expected: "2" },
      { subject: "missing", seen: "none", expected: "3" },
      { subject: "foreign", seen: "4", expected: "none" },
    ]);
  });

  it("are none between equal facts", () => {
    expect(differences({ a: "1" }, { a: "1" })).toEqual([]);
  });
});

describe("leaves", () => {
  it("have paths, one form of durations, and no defaults", () => {
    const message = {
      interval: "0.500s",
      interval_jitter: "0s",
      interval_jitter_percent: 20,
      reuse_connection: true,
      always_log_health_check_failures: false,
      expected_statuses: [{ start: "200", end: "300" }],
      grpc_health_check: {},
      name: null,
    };
    expect(leaves(message)).toEqual({
      interval: "0.5s",
      interval_jitter_percent: "20",
      reuse_connection: "true",
      "expected_statuses.0.start": "200",
      "expected_statuses.0.end": "300",
    });
    expect(leaves({ interval: "0.5s", expected_statuses: [{ start: 200, end: 300 }] })).toEqual({
      interval: "0.5s",
      "expected_statuses.0.start": "200",
      "expected_statuses.0.end": "300",
    });
  });
});
