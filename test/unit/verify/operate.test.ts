import { describe, expect, it } from "vitest";
import { UserError } from "../../../lib/errors.ts";
import { choosePod, logsText, shell } from "../../../tools/operate.ts";
import { podSample } from "../../../tools/verify/sample.ts";
import { userError } from "../tools/user-error.ts";
import { recording, SETTINGS } from "./recorded.ts";

const PODS = recording("good", "after").pods.map(podSample);

describe("a pod by its name", () => {
  it("is that pod, and without a name the first", () => {
    expect(choosePod(PODS, PODS[2]?.name)).toBe(PODS[2]);
    expect(choosePod(PODS)).toBe(PODS[0]);
  });

  it("that is wrong is an error that lists the pods", () => {
    const fix =
      "Choose one of dubbo-samples-mesh-consumer-5cf59dcb4b-z42cp, dubbo-samples-mesh-provider-v1-cc5f8654d-cw9kq, " +
      "dubbo-samples-mesh-provider-v1-cc5f8654d-zhb2j (POD=NAME).";
    expect(() => choosePod(PODS, "web")).toThrow(new UserError("the stack has no pod web", fix));
    expect(() => choosePod([], "web")).toThrow(
      new UserError("the stack has no pods", "Run `make up` first."),
    );
  });
});

describe("logs", () => {
  it("name the pod of each line where there are several", () => {
    const log = (pod: string): { pod: string; container: string; lines: string[] } => ({
      pod,
      container: "app",
      lines: ["one", "two"],
    });
    expect(logsText([log("a"), log("b")])).toBe("a  one\na  two\nb  one\nb  two");
    expect(logsText([log("a")])).toBe("one\ntwo");
  });
});

describe("a shell", () => {
  it("needs a terminal", async () => {
    const file = {
      stack: "dev",
      directory: "",
      path: "",
      overridden: false,
      raw: {},
      encrypted: [],
      settings: SETTINGS,
    };
    expect(process.stdin.isTTY).toBeFalsy();
    expect(await userError(shell(file))).toEqual({
      message: "a shell needs a terminal, and standard input is none",
      fix: "Run `make shell` in a terminal.",
    });
  });
});
