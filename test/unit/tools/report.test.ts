import { describe, expect, it } from "vitest";
import { changesText, outputsText, table } from "../../../tools/report.ts";

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
