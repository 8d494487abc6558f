import { describe, expect, it } from "vitest";
import { changesText, outputsText, previewText, repairText, table } from "../../../tools/report.ts";

describe("the text of changes", () => {
  it("is one line without changes", () => {
    expect(changesText([])).toBe("no change");
  });

  it("has a line and a sign for each change, and the details below", () => {
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

describe("the text of a preview", () => {
  const changes = [{ operation: "delete" as const, target: "Service/a" }];

  it("shows the changes", () => {
    expect(previewText("dev", { changes, warnings: [] })).toBe(changesText(changes));
  });

  it("shows what callers would notice, and how to confirm", () => {
    const warnings = [{ target: "Service/a", text: "a cannot be called any more; b calls it." }];
    expect(previewText("dev", { changes, warnings })).toBe(
      [
        "changes:",
        "  - delete  Service/a",
        "",
        "callers would notice this; `make up` requires CONFIRM=dev:",
        "  Service/a: a cannot be called any more; b calls it.",
      ].join("\n"),
    );
  });
});

describe("the text of a repair", () => {
  it("shows what was found, and how to continue", () => {
    const interrupted = ["updating kubernetes:apps/v1:Deployment provider-v1"];
    const changes = [{ operation: "delete" as const, target: "Role r" }];
    expect(repairText("dev", { unlocked: true, interrupted, changes })).toBe(
      [
        "the lock of an interrupted command was released",
        "interrupted:",
        "  updating kubernetes:apps/v1:Deployment provider-v1",
        "the state now matches the cluster; changes:",
        "  - delete  Role r",
        "continue with `make up STACK=dev`",
      ].join("\n"),
    );
  });

  it("says if nothing was interrupted", () => {
    expect(repairText("dev", { unlocked: false, interrupted: [], changes: [] })).toBe(
      "nothing was interrupted\nthe state matches the cluster\ncontinue with `make up STACK=dev`",
    );
  });
});

describe("a table", () => {
  it("has columns as wide as their widest cell, and no trailing spaces", () => {
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

describe("the text of outputs", () => {
  it("has a name and a value per line, and JSON for other types", () => {
    expect(outputsText({ namespace: "dubbo-demo", images: { provider: "p" }, replicas: 2 })).toBe(
      'namespace  dubbo-demo\nimages     {"provider":"p"}\nreplicas   2',
    );
    expect(outputsText({})).toBe("");
  });
});
