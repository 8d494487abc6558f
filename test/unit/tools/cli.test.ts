import { cpSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { describe, expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "../../..");

const STACKS: Readonly<Record<string, string>> = {
  dev: "config:\n  dubbo-mesh:cluster: local\n",
  wrong: "config:\n  dubbo-mesh:healthCheck: { interval: 1m }\n  dubbo-mesh:helthCheck: { interval: 1s }\n",
};

/** Copy of the project with its own stacks, because the CLI reads those in its folder. */
function project(): string {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-project-"));
  for (const folder of ["common", "settings", "stack", "tools"]) {
    cpSync(join(ROOT, folder), join(directory, folder), { recursive: true });
  }
  for (const file of ["package.json", "tsconfig.json"]) {
    cpSync(join(ROOT, file), join(directory, file));
  }
  symlinkSync(join(ROOT, "node_modules"), join(directory, "node_modules"));
  for (const [stack, text] of Object.entries(STACKS)) {
    writeFileSync(join(directory, `Pulumi.${stack}.yaml`), text);
  }
  return directory;
}

interface Run {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

describe("the command line", () => {
  const directory = project();
  const run = async (...args: readonly string[]): Promise<Run> => {
    const { exitCode, stdout, stderr } = await execa("node", ["tools/cli.ts", ...args], {
      cwd: directory,
      // The CLI must not get vitest's options.
      env: { NODE_OPTIONS: "" },
      reject: false,
    });
    return { exitCode, stdout, stderr };
  };
  const HELP = "Run the command with --help, or run `make help`.";

  // Each run loads the CLI, and mostly the Pulumi SDK. Tests that need no process are elsewhere.
  it("reports wrong and unknown keys as one JSON object on standard output", async () => {
    const { exitCode, stdout, stderr } = await run("preview", "--stack", "wrong", "--json");
    expect({ exitCode, stderr, printed: JSON.parse(stdout) as unknown }).toEqual({
      exitCode: 1,
      stderr: "",
      printed: {
        error:
          "dubbo-mesh:healthCheck.interval: must be a duration in seconds such as 5s or 0.25s; dubbo-mesh:helthCheck: no such key",
        fix: expect.stringMatching(
          /^Correct the stack's configuration; the keys are cluster, context, .*, drain\.$/,
        ) as unknown,
      },
    });
  });

  it("reports an unknown stack as one error on standard error, without a stack trace", async () => {
    expect(await run("down", "--stack", "nope")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr:
        "error: stack nope has no file Pulumi.nope.yaml\n  fix: Choose one of the stacks dev, wrong (STACK=...), or write that file.",
    });
  });

  it("reports a wrong flag once, as JSON if requested", async () => {
    const { exitCode, stdout, stderr } = await run("up", "--engine", "foo", "--json");
    expect({ exitCode, stderr, printed: JSON.parse(stdout) as unknown }).toEqual({
      exitCode: 1,
      stderr: "",
      printed: {
        error: "unknown option '--engine'",
        fix: HELP,
      },
    });
  });

  it.each([
    ["an unknown option", ["up", "--nope"], "unknown option '--nope'"],
    ["a missing option", ["render"], "required option '--out <directory>' not specified"],
    [
      "contrary options",
      ["promote", "--continue", "--back"],
      "option '--continue' cannot be used with option '--back'",
    ],
  ])("reports %s as one error, without a stack trace", async (_what, args, error) => {
    expect(await run(...args)).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `error: ${error}\n  fix: ${HELP}`,
    });
  });

  it("shows the requested help with exit code 0", async () => {
    const { exitCode, stdout, stderr } = await run("up", "--help");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout.split("\n")[0]).toBe("Usage: dubbo-mesh up [options]");
  });

  it("shows help without a command, with another exit code", async () => {
    const { exitCode, stdout, stderr } = await run();
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr.split("\n")[0]).toBe("Usage: dubbo-mesh [options] [command]");
    expect(stderr).not.toContain("CommanderError");
  });
});
