import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const OTHERS = ["node_modules", "dist", "gen", "generated"].map((name) => `**/${name}`);
/** Widest comment, columns. */
const WIDEST = 100;

const sources = globSync("**/*.ts", { cwd: ROOT, exclude: OTHERS });

/** Returns the matching lines of all sources, each with its place. */
function linesLike(pattern: RegExp): string[] {
  return sources.flatMap((path) =>
    readFileSync(join(ROOT, path), "utf8")
      .split("\n")
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line}`] : [])),
  );
}

it("sources have no comment that switches a lint rule off", () => {
  expect(sources.length).toBeGreaterThan(300);
  expect(linesLike(/(eslint|oxlint)-(disable|enable)/)).toEqual([]);
});

it(`sources have no comment over ${WIDEST} columns`, () => {
  expect(linesLike(/^\s*(\/\/|\/?\*).*/).length).toBeGreaterThan(3000);
  expect(linesLike(new RegExp(`^(?=.{${WIDEST + 1}})\\s*(//|/?\\*)`))).toEqual([]);
});
