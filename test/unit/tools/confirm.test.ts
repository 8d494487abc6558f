import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { confirmRemoval, confirmWarnings } from "../../../tools/confirm.ts";
import { userError } from "./user-error.ts";

beforeEach(() => {
  vi.stubGlobal("process", { ...process, stdin: { isTTY: false } });
});
afterEach(() => {
  vi.unstubAllGlobals();
});

describe("a stack that is production", () => {
  it.each(["prod", "staging"])("is removed only with its name typed: %s", async (stack) => {
    const file = { stack, settings: { production: true } };
    for (const typed of [undefined, "", "dev", "Prod"]) {
      expect(await userError(confirmRemoval(file, typed))).toEqual({
        message: `${stack} is production: it is removed only with its name typed`,
        fix: `Run \`make down STACK=${stack} CONFIRM=${stack}\` if you mean it.`,
      });
    }
    await expect(confirmRemoval(file, stack)).resolves.toBeUndefined();
  });

  it("is one by its settings, not by its name", async () => {
    const file = { stack: "prod", settings: { production: false } };
    await expect(confirmRemoval(file, undefined)).resolves.toBeUndefined();
  });
});

describe("what calls would feel", () => {
  const warnings = [
    { target: "Service/a", text: "a cannot be called any more; b calls it." },
    { target: "Deployment/c", text: "c ends." },
  ];

  it("is done only with the stack's name typed, and named else", async () => {
    for (const typed of [undefined, "", "prod", "yes"]) {
      expect(await userError(confirmWarnings({ stack: "dev" }, warnings, typed))).toEqual({
        message:
          "nothing is changed, since calls would feel it:\n" +
          "  Service/a: a cannot be called any more; b calls it.\n  Deployment/c: c ends.",
        fix: "Run `make up STACK=dev CONFIRM=dev` if you mean it.",
      });
    }
    await expect(confirmWarnings({ stack: "dev" }, warnings, "dev")).resolves.toBeUndefined();
  });

  it("needs no name where it is nothing", async () => {
    await expect(confirmWarnings({ stack: "prod" }, [], undefined)).resolves.toBeUndefined();
  });
});
