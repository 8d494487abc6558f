import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { writeReviewStack } from "../../../tools/review-stack.ts";
import { SCHEMA_LINE } from "../../../tools/stack-schema.ts";
import { readStackFile } from "../../../stack/stack-file.ts";
import { isEphemeral } from "../../../stack/files.ts";
import { userError } from "./user-error.ts";

const newFolder = (): string => mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));

describe("a pull request's stack", () => {
  it("is ephemeral, in its own namespace", async () => {
    const directory = newFolder();
    const target = { context: "review", registry: "r.test/org" };
    const stack = await writeReviewStack(directory, "7", target);
    expect(stack).toBe("pr-7");
    expect(isEphemeral(stack)).toBe(true);
    const text = readFileSync(join(directory, "Pulumi.pr-7.yaml"), "utf8");
    expect(text.startsWith(SCHEMA_LINE)).toBe(true);
    const { raw } = await readStackFile(directory, stack);
    expect(raw).toEqual({ ...target, namespace: "dubbo-pr-7" });
  });

  it("uses the local cluster without a context", async () => {
    const directory = newFolder();
    const { raw } = await readStackFile(directory, await writeReviewStack(directory, "12", {}));
    expect(raw).toEqual({ cluster: "local", namespace: "dubbo-pr-12" });
  });

  it.each(["", "0", "x", "7/../../dev", "7\n"])("is an error for the number %j", async (number) => {
    expect(await userError(writeReviewStack(newFolder(), number, {}))).toEqual({
      message: `${number} is not the number of a pull request`,
      fix: "Set it, as in PR=7.",
    });
  });
});
