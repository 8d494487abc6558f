import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { confirmRemoval, confirmWarnings } from "../../../tools/confirm.ts";
import { userError } from "./user-error.ts";

beforeEach(() => {
  vi.stubGlobal("process", { ...process, stdin: { isTTY: false } });
});
afterEach(() => {
  vi.unstubAllGlobals();
});

describe("a production stack", () => {
  it.each(["prod", "staging"])("is removed only with its name: %s", async (stack) => {
    const file = { stack, settings: { production: true } };
    for (const typed of [undefined, "", "dev", "Prod"]) {
      expect(await userError(confirmRemoval(file, typed))).toEqual({
        message: `${stack} is production: its removal needs confirmation`,
        fix: `Run \`make down STACK=${stack} CONFIRM=${stack}\` to confirm.`,
      });
    }
    await expect(confirmRemoval(file, stack)).resolves.toBeUndefined();
  });

  it("is defined by its settings, not by its name", async () => {
    const file = { stack: "prod", settings: { production: false } };
    await expect(confirmRemoval(file, undefined)).resolves.toBeUndefined();
  });
});

describe("changes that callers notice", () => {
  const warnings = [
    { target: "Service/a", text: "a cannot be called any more; b calls it." },
    { target: "Deployment/c", text: "c ends." },
  ];

  it("need the stack's name, and are listed otherwise", async () => {
    for (const typed of [undefined, "", "prod", "yes"]) {
      expect(await userError(confirmWarnings({ stack: "dev" }, warnings, typed))).toEqual({
        message:
          "nothing was changed, because callers would notice:\n" +
          "  Service/a: a cannot be called any more; b calls it.\n  Deployment/c: c ends.",
        fix: "Run `make up STACK=dev CONFIRM=dev` to confirm.",
      });
    }
    await expect(confirmWarnings({ stack: "dev" }, warnings, "dev")).resolves.toBeUndefined();
  });

  it("need no name if there are none", async () => {
    await expect(confirmWarnings({ stack: "prod" }, [], undefined)).resolves.toBeUndefined();
  });
});
