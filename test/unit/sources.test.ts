import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const GENERATED = ["node_modules/", "/node_modules/", "/dist/", "gen/", "generated/"];

it("sources have no comment that switches a lint rule off", () => {
  const sources = globSync("**/*.ts", { cwd: ROOT, exclude: ["**/node_modules"] }).filter(
    (path) => !GENERATED.some((folder) => path.includes(folder)),
  );
  expect(sources.length).toBeGreaterThan(300);
  const disabled = new RegExp("(eslint|oxlint)-" + "(disable|enable)");
  expect(sources.filter((path) => disabled.test(readFileSync(join(ROOT, path), "utf8")))).toEqual([]);
});
