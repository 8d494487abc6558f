import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import yaml from "js-yaml";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { fakeCommand } from "./tools/fake-command.ts";
import { MARKER } from "../../tools/ci-comment.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const FOLDER = join(ROOT, ".github/workflows");

const concurrency = z.object({ group: z.string(), "cancel-in-progress": z.boolean() });
const step = z.looseObject({
  name: z.string().optional(),
  if: z.string().optional(),
  uses: z.string().optional(),
  run: z.string().optional(),
  with: z.record(z.string(), z.unknown()).optional(),
});
const job = z.looseObject({
  if: z.string().optional(),
  environment: z.string().optional(),
  permissions: z.record(z.string(), z.string()).optional(),
  concurrency: concurrency.optional(),
  uses: z.string().optional(),
  with: z.record(z.string(), z.string()).optional(),
  needs: z.union([z.string(), z.array(z.string())]).optional(),
  "timeout-minutes": z.number().optional(),
  steps: z.array(step).optional(),
});
const workflow = z.looseObject({
  on: z.unknown(),
  permissions: z.record(z.string(), z.string()),
  concurrency: concurrency.optional(),
  jobs: z.record(z.string(), job),
});
type Job = z.infer<typeof job>;

const NAMES = readdirSync(FOLDER).sort();
const texts = new Map(NAMES.map((name) => [name, readFileSync(join(FOLDER, name), "utf8")]));
const workflows = new Map([...texts].map(([name, text]) => [name, workflow.parse(yaml.load(text))]));
const jobs = [...workflows].flatMap(([file, { jobs: all }]) =>
  Object.entries(all).map(([name, value]) => ({ title: `${file} ${name}`, file, ...value })),
);
const jobOf = (file: string, name: string): Job => {
  const found = workflows.get(file)?.jobs[name];
  if (found === undefined) throw new Error(`${file} has no job ${name}`);
  return found;
};
const runs = jobs.flatMap(({ steps = [] }) => steps.flatMap(({ run }) => run ?? []));

const OWN_BRANCH = "github.event.pull_request.head.repo.full_name == github.repository";

describe("the workflows", () => {
  it("are listed here", () => {
    expect(NAMES).toEqual([
      "destroy.yml",
      "drift.yml",
      "main.yml",
      "promote.yml",
      "pull-request.yml",
      "review.yml",
      "stack.yml",
    ]);
  });

  it("pin actions by full commit, with the version, and one commit per action", () => {
    const uses = [...texts.values()].flatMap((text) => text.match(/^.*\buses:.*$/gm) ?? []);
    const foreign = uses.filter((line) => !line.includes("uses: ./.github/workflows/"));
    expect(foreign.length).toBeGreaterThan(15);
    for (const line of foreign) expect(line).toMatch(/uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    const pins = new Set(foreign.map((line) => line.replace(/^.*uses: /, "")));
    expect(new Set([...pins].map((pin) => pin.split("@")[0])).size).toBe(pins.size);
  });

  it.each([...workflows])("%s may only read the code, and runs one at a time", (name, file) => {
    expect(file.permissions).toEqual({ contents: "read" });
    // The concurrency of a called workflow is set at its job.
    const { group } = file.concurrency ?? file.jobs["stack"]?.concurrency ?? { group: "" };
    expect(group, name).not.toBe("");
  });

  it("do not cancel a command on a stack", () => {
    const interruptible = [...workflows].filter(
      ([, { concurrency: c }]) => c?.["cancel-in-progress"] === true,
    );
    expect(interruptible.map(([name]) => name)).toEqual(["pull-request.yml"]);
    expect(jobOf("stack.yml", "stack").concurrency).toEqual({
      group: "stack-${{ inputs.stack }}",
      "cancel-in-progress": false,
    });
  });

  it("let only one job write, which runs nothing of a pull request", () => {
    const writing = jobs.filter(({ permissions }) => permissions !== undefined);
    expect(writing.map(({ title, permissions }) => [title, permissions])).toEqual([
      ["pull-request.yml comment", { "pull-requests": "write" }],
    ]);
    const steps = writing[0]?.steps ?? [];
    expect(steps.map(({ uses }) => uses?.split("@")[0])).toEqual(["actions/download-artifact", undefined]);
    expect(steps[1]?.run).not.toMatch(/\b(make|npm|node)\b/);
  });

  it("never run for a foreign event with this repository's rights", () => {
    for (const text of texts.values())
      expect(text).not.toMatch(/pull_request_target|workflow_run|issue_comment/);
  });

  it("give secrets only to pull requests of this repository's branches", () => {
    const requests = jobs.filter(({ file }) => ["pull-request.yml", "review.yml"].includes(file));
    const secret = requests.filter((value) => /secrets[.:]|"secrets"/.test(JSON.stringify(value)));
    expect(secret.map(({ title }) => title)).toEqual(["pull-request.yml engine", "review.yml review"]);
    for (const value of secret) {
      expect(value.if).toContain(OWN_BRANCH);
      expect(value.if).toContain("github.actor != 'dependabot[bot]'");
    }
    expect(jobOf("pull-request.yml", "comment").if).toContain(OWN_BRANCH);
  });

  it("pass text of an event to a script only as a variable", () => {
    expect(runs.length).toBeGreaterThan(15);
    for (const run of runs) expect(run).not.toContain("${{");
  });

  it("have a timeout, and leave no token in the checkout", () => {
    for (const { title, steps, ...rest } of jobs) {
      if (steps === undefined) continue;
      expect(rest["timeout-minutes"], title).toBeLessThanOrEqual(60);
      for (const { uses, with: args } of steps) {
        if (uses?.startsWith("actions/checkout@") === true)
          expect(args?.["persist-credentials"], title).toBe(false);
      }
    }
  });

  it("call make's targets with known variables", () => {
    const makefile = readFileSync(join(ROOT, "Makefile"), "utf8");
    const targets = new Set([...makefile.matchAll(/^([a-z0-9-]+):/gm)].map(([, target]) => target));
    const calls = runs.flatMap((run) => [...run.matchAll(/\bmake ([a-z-]+)((?: [A-Z]+=\S+)*)/g)]);
    expect(calls.map(([, target]) => target).sort()).toEqual(
      [
        ...[
          "actionlint",
          "actionlint",
          "ci-preview",
          "ci-preview",
          "down",
          "drift",
          "promote",
          "review-stack",
        ],
        ...["test", "test", "up", "up", "verify", "verify"],
      ].sort(),
    );
    for (const [, target = "", variables = ""] of calls) {
      expect(targets).toContain(target);
      for (const [, name] of variables.matchAll(/([A-Z]+)=/g)) expect(makefile).toContain(`$(${name ?? ""})`);
    }
  });

  it("install the CLI in the SDK's version", () => {
    const versions = jobs.flatMap(({ steps = [] }) =>
      steps.flatMap(({ uses, with: args }) =>
        uses?.startsWith("pulumi/actions@") === true ? [args?.["pulumi-version"]] : [],
      ),
    );
    const { dependencies } = z
      .object({ dependencies: z.record(z.string(), z.string()) })
      .parse(JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")));
    const version = dependencies["@pulumi/pulumi"];
    expect(versions).toEqual([version, version, version]);
  });

  it("deploy merged changes to dev, staging and prod, each with its environment", () => {
    const steps = ["dev", "staging", "prod"].map((name) => jobOf("main.yml", name));
    expect(steps.map(({ needs }) => needs)).toEqual(["test", "dev", "staging"]);
    expect(steps.map(({ with: args }) => args?.["environment"])).toEqual([undefined, "staging", "prod"]);
    expect(jobOf("stack.yml", "stack").environment).toBe("${{ inputs.environment }}");
  });
});

describe("the step that writes the comment", () => {
  const script = jobOf("pull-request.yml", "comment").steps?.[1]?.run ?? "";

  async function post(comments: string, ...parts: readonly string[]): Promise<readonly string[][]> {
    const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
    for (const part of parts) {
      mkdirSync(join(directory, `comments/comment-${part}`), { recursive: true });
      writeFileSync(join(directory, `comments/comment-${part}/comment.md`), part);
    }
    const gh = fakeCommand("gh", [{ stdout: comments }, {}], false);
    const env = { PATH: `${gh.folder}:/usr/bin:/bin`, REPOSITORY: "o/r", NUMBER: "7" };
    await execa("bash", ["-e", "-c", script], { cwd: directory, env, extendEnv: false });
    return gh.calls().map(({ args }) => [...args]);
  }

  it("finds its earlier comment by its first line", async () => {
    const [look] = await post("", "manifests");
    expect(look?.slice(0, 4)).toEqual(["api", "--paginate", "repos/o/r/issues/7/comments", "--jq"]);
    expect(look?.[4]).toContain(`startswith("${MARKER}")`);
  });

  it("writes a new comment", async () => {
    const calls = await post("", "manifests");
    const body = "body=@comments/comment-manifests/comment.md";
    expect(calls[1]).toEqual([
      "api",
      "--silent",
      "--method",
      "POST",
      "repos/o/r/issues/7/comments",
      "--field",
      body,
    ]);
  });

  it("replaces its first comment, with the engine's previews", async () => {
    const calls = await post("11\n12\n", "manifests", "engine");
    const body = "body=@comments/comment-engine/comment.md";
    expect(calls[1]).toEqual([
      "api",
      "--silent",
      "--method",
      "PATCH",
      "repos/o/r/issues/comments/11",
      "--field",
      body,
    ]);
    expect(calls).toHaveLength(2);
  });
});
