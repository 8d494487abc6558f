import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readmeText } from "../../../policy/readme.ts";
import { RULES } from "../../../policy/rules.ts";
import { ROOT } from "./support.ts";

it("the table of the rules is that of the rules", async () => {
  const readme = readFileSync(join(ROOT, "policy/README.md"), "utf8");
  expect(readme).toBe(await readmeText());
  expect(readme.split("\n").filter((line) => /^\| `[a-z-]+` /.test(line))).toHaveLength(RULES.length);
});
