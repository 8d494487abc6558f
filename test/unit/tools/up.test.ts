import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { V1Pod } from "@kubernetes/client-node";
import { UserError } from "../../../common/errors.ts";
import type { Engine, UpResult } from "../../../tools/engine/engine.ts";
import type { Warning } from "../../../tools/engine/warnings.ts";
import { change } from "../../../tools/up.ts";
import { userError } from "./user-error.ts";

beforeEach(() => {
  vi.stubGlobal("process", { ...process, stdin: { isTTY: false } });
});
afterEach(() => {
  vi.unstubAllGlobals();
});

const DONE = { changes: [], outputs: {} };

/** An engine that records its calls. */
function engine(
  warnings: readonly Warning[],
  outputs?: UpResult["outputs"],
  lostImages: readonly string[] = [],
): {
  engine: Pick<Engine, "forecast" | "unprotect" | "up">;
  asked: string[];
} {
  const asked: string[] = [];
  const answer = <T>(verb: string, value: T) => {
    return (): Promise<T> => {
      asked.push(verb);
      return Promise.resolve(value);
    };
  };
  return {
    asked,
    engine: {
      forecast: answer("forecast", { warnings, lostImages, ...(outputs && { outputs }) }),
      unprotect: answer("unprotect", undefined),
      up: (images) => answer(["up", ...(images ?? [])].join(" "), DONE)(),
    },
  };
}

describe("a change", () => {
  const WARNINGS = [{ target: "Service/a", text: "a cannot be called any more; b calls it." }];

  it("is applied if no caller notices, without removing protection", async () => {
    const { engine: pulumi, asked } = engine([]);
    expect(await change({ stack: "prod" }, pulumi)).toBe(DONE);
    expect(asked).toEqual(["forecast", "up"]);
  });

  it("pushes lost images again", async () => {
    const { engine: pulumi, asked } = engine([], undefined, ["urn:a", "urn:b"]);
    await change({ stack: "dev" }, pulumi);
    expect(asked).toEqual(["forecast", "up urn:a urn:b"]);
  });

  it("is not applied if the preview finds none", async () => {
    const { engine: pulumi, asked } = engine([], { namespace: "demo" });
    expect(await change({ stack: "prod" }, pulumi)).toEqual({ changes: [], outputs: { namespace: "demo" } });
    expect(asked).toEqual(["forecast"]);
  });

  it.each([undefined, "", "staging"])(
    "is an error before anything is applied if callers would notice: CONFIRM=%s",
    async (confirmed) => {
      const { engine: pulumi, asked } = engine(WARNINGS);
      expect(await userError(change({ stack: "prod" }, pulumi, confirmed))).toEqual({
        message:
          "nothing was changed, because callers would notice:\n  Service/a: a cannot be called any more; b calls it.",
        fix: "Run `make up STACK=prod CONFIRM=prod` to confirm.",
      });
      expect(asked).toEqual(["forecast"]);
    },
  );

  const pending: unknown = {
    metadata: { name: "p" },
    status: { conditions: [{ type: "PodScheduled", status: "False", message: "0/1 nodes are available" }] },
  };
  const pods = (): Promise<V1Pod[]> => Promise.resolve([pending as V1Pod]);

  it("reports the pods' wait reasons if it fails", async () => {
    const failing = {
      ...engine([]).engine,
      up: () => Promise.reject(new UserError("timed out", "Mend it.")),
    };
    expect(await userError(change({ stack: "prod" }, failing, undefined, pods))).toEqual({
      message: "timed out\npods that are not ready: p: 0/1 nodes are available",
      fix: "Mend it.",
    });
  });

  it("reports them while it waits, too", async () => {
    const waits: (string | undefined)[] = [];
    const slow: Pick<Engine, "forecast" | "unprotect" | "up"> = {
      ...engine([]).engine,
      up: async (_images, waitsFor) => {
        waits.push(await waitsFor?.());
        return DONE;
      },
    };
    expect(await change({ stack: "prod" }, slow, undefined, pods)).toBe(DONE);
    expect(await change({ stack: "prod" }, slow)).toBe(DONE);
    expect(waits).toEqual(["pods that are not ready: p: 0/1 nodes are available", ""]);
  });

  it("reports no wait reasons if it is refused", async () => {
    const { message } = await userError(change({ stack: "prod" }, engine(WARNINGS).engine, undefined, pods));
    expect(message).not.toContain("pods that wait");
  });

  it("is applied with the stack's name, after removing protection", async () => {
    const { engine: pulumi, asked } = engine(WARNINGS);
    expect(await change({ stack: "prod" }, pulumi, "prod")).toBe(DONE);
    expect(asked).toEqual(["forecast", "unprotect", "up"]);
  });
});
