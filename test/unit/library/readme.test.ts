import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../../..");
const PAGES = ["README.md", "packages/dubbo-mesh/README.md"];
const EXAMPLE = join(ROOT, "packages/dubbo-mesh/examples/typescript/index.ts");

/** Returns the code blocks of a page that use the library. */
function examplesOf(page: string): string[] {
  const blocks = readFileSync(join(ROOT, page), "utf8").matchAll(/^```ts\n([^]*?)^```/gm);
  return [...blocks].map(([, text = ""]) => text).filter((text) => text.includes('from "dubbo-mesh"'));
}

/** Returns the options of the example's program, with the library's sources as the package. */
function exampleOptions(): ts.CompilerOptions {
  const file = ts.readConfigFile(join(EXAMPLE, "../tsconfig.json"), (path) => ts.sys.readFile(path));
  const { options } = ts.parseJsonConfigFileContent(file.config, ts.sys, join(EXAMPLE, ".."));
  const paths = { "dubbo-mesh": [join(ROOT, "packages/dubbo-mesh/index.ts")] };
  return { ...options, paths, allowImportingTsExtensions: true, skipLibCheck: true };
}

/** Checks the types of texts and of the example in one program. Returns their errors, by file. */
function typeErrors(texts: ReadonlyMap<string, string>): Record<string, string[]> {
  const options = exampleOptions();
  const base = ts.createCompilerHost(options);
  const host: ts.CompilerHost = {
    ...base,
    fileExists: (path) => texts.has(path) || base.fileExists(path),
    getSourceFile: (path, version, ...rest) => {
      const text = texts.get(path);
      if (text === undefined) return base.getSourceFile(path, version, ...rest);
      return ts.createSourceFile(path, text, version);
    },
  };
  const files = [...texts.keys(), EXAMPLE];
  const program = ts.createProgram(files, options, host);
  const errors = (file: string): string[] =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(file))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
  return Object.fromEntries(files.map((file) => [file, errors(file)]));
}

describe("the library's examples in the documentation", () => {
  it("compile as they are, and a misspelt key does not", { timeout: 120_000 }, () => {
    const examples = PAGES.map((page) => examplesOf(page));
    expect(examples.map((found) => found.length)).toEqual([1, 1]);
    const named = examples.flat().map((text, index) => [join(ROOT, `example-${index}.ts`), text] as const);
    const misspelt = join(ROOT, "example-misspelt.ts");
    const spoilt = (examples[1]?.[0] ?? "").replace("offers:", "offer:");
    const errors = typeErrors(new Map([...named, [misspelt, spoilt]]));
    expect(errors).toEqual({
      ...Object.fromEntries(named.map(([file]) => [file, []])),
      [EXAMPLE]: [],
      [misspelt]: [expect.stringContaining("'offer' does not exist in type 'ServiceArgs'")],
    });
  });
});
