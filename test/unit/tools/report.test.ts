import { describe, expect, it } from "vitest";
import { changesText, outputsText, previewText, repairText, table } from "../../../tools/report.ts";

describe("changes for people", () => {
  it("are one line where there is none", () => {
    expect(changesText([])).toBe("no change");
  });

  it("are a line each with its sign, and their details below", () => {
    expect(
      changesText([
        { operation: "create", target: "Service/a" },
        { operation: "update", target: "Deployment/b", detail: "-  replicas: 1\n+  replicas: 2" },
        { operation: "replace", target: "Deployment/c", detail: "spec" },
        { operation: "delete", target: "Role/d" },
      ]),
    ).toBe(
      [
        "changes:",
        "  + create  Service/a",
        "  ~ update  Deployment/b",
        "      -  replicas: 1",
        "      +  replicas: 2",
        "  ! replace Deployment/c",
        "      spec",
        "  - delete  Role/d",
      ].join("\n"),
    );
  });
});

describe("a preview for people", () => {
  const changes = [{ operation: "delete" as const, target: "Service/a" }];

  it("is its changes where no call feels them", () => {
    expect(previewText("dev", { changes, warnings: [] })).toBe(changesText(changes));
  });

  it("says what calls would feel, and how it is allowed", () => {
    const warnings = [{ target: "Service/a", text: "a cannot be called any more; b calls it." }];
    expect(previewText("dev", { changes, warnings })).toBe(
      [
        "changes:",
        "  - delete  Service/a",
        "",
        "calls would feel this; `make up` does it only with CONFIRM=dev:",
        "  Service/a: a cannot be called any more; b calls it.",
      ].join("\n"),
    );
  });
});

describe("a repair for people", () => {
  it("says what was found, and how to go on", () => {
    const interrupted = ["updating kubernetes:apps/v1:Deployment provider-v1"];
    const changes = [{ operation: "delete" as const, target: "Role r" }];
    expect(repairText("dev", { unlocked: true, interrupted, changes })).toBe(
      [
        "the lock of an interrupted command is released",
        "interrupted:",
        "  updating kubernetes:apps/v1:Deployment provider-v1",
        "the state now fits the cluster; changes:",
        "  - delete  Role r",
        "`make up STACK=dev` goes on",
      ].join("\n"),
    );
  });

  it("says so where there was nothing", () => {
    expect(repairText("dev", { unlocked: false, interrupted: [], changes: [] })).toBe(
      "nothing was interrupted\nthe state fits the cluster\n`make up STACK=dev` goes on",
    );
  });
});

describe("a table for people", () => {
  it("has columns as wide as their widest cell, and no space at a line's end", () => {
    expect(
      table([
        ["a", "long cell", "x"],
        ["longer", "b", ""],
        ["c", "", ""],
      ]),
    ).toBe("a       long cell  x\nlonger  b\nc");
    expect(table([])).toBe("");
  });
});

describe("outputs for people", () => {
  it("are a name and a value a line, and what is not text as JSON", () => {
    expect(outputsText({ namespace: "dubbo-demo", images: { provider: "p" }, replicas: 2 })).toBe(
      'namespace  dubbo-demo\nimages     {"provider":"p"}\nreplicas   2',
    );
    expect(outputsText({})).toBe("");
  });
});
