import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const OTHERS = ["node_modules", "dist", "gen", "generated"].map((name) => `**/${name}`);

it("sources have no comment that switches a lint rule off", () => {
  const sources = globSync("**/*.ts", { cwd: ROOT, exclude: OTHERS });
  expect(sources.length).toBeGreaterThan(300);
  const disabled = /(eslint|oxlint)-(disable|enable)/;
  expect(sources.filter((path) => disabled.test(readFileSync(join(ROOT, path), "utf8")))).toEqual([]);
});
