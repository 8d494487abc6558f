import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { toYaml } from "../../../common/yaml.ts";

/** A git repository with stack files. */
export interface Repository {
  readonly directory: string;
  /** Writes a stack's file. */
  readonly stack: (name: string, config: Readonly<Record<string, unknown>>) => void;
  readonly git: (...args: readonly string[]) => Promise<string>;
  /** Commits all files. */
  readonly commit: () => Promise<void>;
}

const WHO = ["-c", "user.name=test", "-c", "user.email=test@r.test", "-c", "commit.gpgsign=false"];

/** Creates an empty repository in a new folder. */
export async function newRepository(): Promise<Repository> {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  const git = async (...args: readonly string[]): Promise<string> =>
    (await execa("git", [...WHO, ...args], { cwd: directory })).stdout;
  await git("init", "--quiet", "--initial-branch=main");
  return {
    directory,
    git,
    stack: (name, config) => {
      const entries = Object.entries(config).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
      writeFileSync(
        join(directory, `Pulumi.${name}.yaml`),
        toYaml({ config: Object.fromEntries(entries) as object }),
      );
    },
    commit: async () => {
      await git("add", "--all");
      await git("commit", "--quiet", "--message", "a step");
    },
  };
}
