import { describe, expect, it } from "vitest";
import { UserError } from "../../../common/errors.ts";
import { choosePod } from "../../../tools/qos.ts";

const PODS = ["consumer-z42cp", "provider-v1-cw9kq", "provider-v1-zhb2j"];

describe("a pod by its name", () => {
  it("is that pod; without a name, the first one", () => {
    expect(choosePod(PODS, "provider-v1-zhb2j")).toBe("provider-v1-zhb2j");
    expect(choosePod(PODS)).toBe("consumer-z42cp");
  });

  it("is an error that lists the pods if it is wrong", () => {
    const fix = "Choose one of consumer-z42cp, provider-v1-cw9kq, provider-v1-zhb2j (POD=NAME).";
    expect(() => choosePod(PODS, "web")).toThrow(new UserError("the stack has no pod web", fix));
    expect(() => choosePod([], "web")).toThrow(
      new UserError("the stack has no pods", "Run `make up` first."),
    );
  });
});
