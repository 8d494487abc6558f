import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Finding } from "../../../policy/rules.ts";
import { ciComment, COMMENT_LIMIT, MARKER } from "../../../tools/ci-comment.ts";
import { ciPreview, type CiPreview, findingChanges, objectChanges } from "../../../tools/ci-preview.ts";
import type { KubernetesObject } from "../../../common/kubernetes-object.ts";
import { writeGolden } from "../../../tools/golden.ts";
import { newRepository, type Repository } from "./repository.ts";
import { userError } from "./user-error.ts";

function service(port: number): KubernetesObject {
  return { apiVersion: "v1", kind: "Service", metadata: { name: "a" }, spec: { ports: [{ port }] } };
}

const FINDING: Finding = {
  rule: "port-names",
  severity: "error",
  object: "Service n/a",
  message: "the port has no name.",
  fix: "Name it.",
  source: "https://r.test",
};

const NONE = { fresh: [], mended: [], staying: [] };

describe("changed objects", () => {
  it("are new, changed or removed, each with its diff", () => {
    const before = new Map([
      ["a.yaml", service(1)],
      ["b.yaml", service(1)],
      ["c.yaml", service(1)],
    ]);
    const after = new Map([
      ["a.yaml", service(1)],
      ["b.yaml", service(2)],
      ["d.yaml", service(1)],
    ]);
    const changes = objectChanges(before, after);
    expect(changes.map(({ operation, file }) => `${operation} ${file}`)).toEqual([
      "update b.yaml",
      "delete c.yaml",
      "create d.yaml",
    ]);
    expect(changes[0]?.diff).toBe(
      "@@ -4,4 +4,4 @@\n   name: a\n spec:\n   ports:\n-    - port: 1\n+    - port: 2",
    );
    expect(changes[2]?.diff.split("\n")).toHaveLength(8);
  });
});

describe("findings", () => {
  it("are compared by rule, object and path, not by message", () => {
    const said = { ...FINDING, message: "said otherwise." };
    const elsewhere = { ...FINDING, path: "spec.ports[1]" };
    const other = { ...FINDING, rule: "other" };
    expect(findingChanges([FINDING, other], [said, elsewhere])).toEqual({
      fresh: [elsewhere],
      mended: [other],
      staying: [said],
    });
  });
});

// The test renders many times and calls git, which takes long on a busy machine.
describe("ci-preview", { timeout: 120_000 }, () => {
  async function committed(): Promise<Repository> {
    const repository = await newRepository();
    repository.stack("a", { cluster: "local" });
    repository.stack("b", { cluster: "local" });
    await repository.commit();
    await writeGolden(repository.directory);
    await repository.commit();
    return repository;
  }
  const told = ({ environments }: CiPreview): unknown =>
    environments.map(({ stack, changes }) => [
      stack,
      changes.map(({ operation, file }) => `${operation} ${file}`),
    ]);

  it("shows the changes since the merge base, committed or not", async () => {
    const repository = await committed();
    const { directory } = repository;
    expect(told(await ciPreview(directory, "main"))).toEqual([
      ["a", []],
      ["b", []],
    ]);
    await repository.git("checkout", "--quiet", "-b", "work");
    repository.stack("a", { cluster: "local", accessLogs: false });
    const preview = await ciPreview(directory, "main");
    expect(told(preview)).toEqual([
      ["a", ["update telemetry-access-logs.yaml"]],
      ["b", []],
    ]);
    expect(preview.base).toBe(await repository.git("rev-parse", "main"));

    // Changes that others merged since are not part of this branch.
    await writeGolden(directory);
    await repository.commit();
    await repository.git("checkout", "--quiet", "main");
    repository.stack("b", { cluster: "local", accessLogs: false });
    await writeGolden(directory);
    await repository.commit();
    await repository.git("checkout", "--quiet", "work");
    expect(await ciPreview(directory, "main")).toEqual(preview);
  });

  it("reports a new and a removed stack, with their findings", async () => {
    const repository = await committed();
    await repository.git("checkout", "--quiet", "-b", "work");
    rmSync(join(repository.directory, "Pulumi.b.yaml"));
    repository.stack("c", { cluster: "local", security: { mtls: "PERMISSIVE" } });
    await repository.commit();
    const { environments } = await ciPreview(repository.directory, "main");
    expect(
      environments.map(({ stack, changes }) => [
        stack,
        changes.length,
        ...new Set(changes.map(({ operation }) => operation)),
      ]),
    ).toEqual([
      ["a", 0],
      ["b", 18, "delete"],
      ["c", 18, "create"],
    ]);
    const [a, , c] = environments;
    expect(a?.findings).toEqual(NONE);
    expect(c?.findings.fresh.map(({ object }) => object)).toContain("PeerAuthentication dubbo-demo/default");
    expect([c?.findings.mended, c?.findings.staying]).toEqual([[], []]);
  });

  it("names the stack, and the committed object, that is wrong", async () => {
    const repository = await committed();
    const { directory } = repository;
    repository.stack("b", { cluster: "local", namespace: "default" });
    expect((await userError(ciPreview(directory, "main"))).message).toBe(
      "stack b: dubbo-mesh:namespace: is default, which Kubernetes never deletes, so down would fail: choose another",
    );
    repository.stack("b", {
      cluster: "local",
      services: [{ name: "x", port: 1, build: { context: "nowhere" } }],
    });
    expect((await userError(ciPreview(directory, "main"))).message).toMatch(
      /^stack b: dubbo-mesh:services\[0\]\.build: the image's build context nowhere cannot be read: ENOENT /,
    );
    writeFileSync(
      join(directory, "test/golden/a/service-dubbo-samples-mesh-provider.yaml"),
      "kind: Service\n",
    );
    await repository.commit();
    const commit = await repository.git("rev-parse", "main");
    expect((await userError(ciPreview(directory, "main"))).message).toBe(
      `document 1 of ${commit}:test/golden/a/service-dubbo-samples-mesh-provider.yaml is no Kubernetes object: ` +
        "it has no apiVersion, no metadata",
    );
  });

  it("reports a missing base, with a fix", async () => {
    const repository = await committed();
    expect(await userError(ciPreview(repository.directory, "origin/main"))).toEqual({
      message:
        "origin/main and HEAD have no commit in common here: fatal: Not a valid object name origin/main",
      fix: "Set BASE to an existing branch (BASE=main), or fetch its history (git fetch --unshallow origin).",
    });
  });
});

describe("the comment", () => {
  const preview = (...environments: CiPreview["environments"]): CiPreview => ({
    base: "0123456789abcdef",
    environments,
  });
  const change = (diff: string, file = "service-a.yaml") => ({ operation: "update" as const, file, diff });

  it("is short without changes", () => {
    const text = ciComment(preview({ stack: "dev", changes: [], findings: NONE }), new Map());
    expect(text).toBe(
      [
        MARKER,
        "## Changes",
        "Rendered without a cluster, compared with 0123456789ab.",
        "| environment | new | changed | removed | findings: new | fixed | unchanged |\n" +
          "| --- | --: | --: | --: | --: | --: | --: |\n" +
          "| dev | 0 | 0 | 0 | 0 | 0 | 0 |",
        "The policy has no new findings.",
        "No object changes.",
      ].join("\n\n"),
    );
  });

  it("shows counts, findings, the engine's previews, and diffs", () => {
    const findings = { fresh: [FINDING], mended: [{ ...FINDING, rule: "old" }], staying: [] };
    const text = ciComment(
      preview({ stack: "dev", changes: [change("-1\n+2")], findings }),
      new Map([["dev", "no change"]]),
    );
    expect(text).toContain("| dev | 0 | 1 | 0 | 1 | 1 | 0 |");
    expect(text).toContain(
      "### New findings\n\n| environment | severity | rule | where | finding and fix |\n" +
        "| --- | --- | --- | --- | --- |\n| dev | error | port-names | Service n/a | the port has no name. Name it. |",
    );
    expect(text).toContain("<details><summary>1 fixed finding</summary>");
    expect(text).toContain(
      "<summary>Preview of `make up STACK=dev`</summary>\n\n```\nno change\n```\n\n</details>",
    );
    expect(text).toContain(
      "<summary>dev: changed <code>service-a.yaml</code></summary>\n\n```diff\n-1\n+2\n```\n\n</details>",
    );
  });

  it("fits into a comment, and counts the omitted parts", () => {
    const changes = Array.from({ length: 10 }, (_, n) => change(`+${"x".repeat(9_998)}`, `s-${n}.yaml`));
    const many = Array.from({ length: 40 }, (_, n) => ({
      ...FINDING,
      object: `S ${n}`,
      message: "m".repeat(900),
    }));
    const text = ciComment(
      preview({ stack: "dev", changes, findings: { fresh: many, mended: [], staying: [] } }),
      new Map([["dev", "line\n".repeat(10_000)]]),
    );
    expect(text.length).toBeLessThanOrEqual(COMMENT_LIMIT);
    expect(text).toContain("\n(7001 lines more)\n");
    expect(text).toContain("20 findings more: `make ci-preview JSON=1` shows all.");
    const shown = text.match(/changed <code>/g)?.length ?? 0;
    expect(shown).toBeGreaterThan(0);
    expect(
      text.endsWith(
        `${10 - shown} parts did not fit into this comment: \`make ci-preview JSON=1\` shows all.`,
      ),
    ).toBe(true);
  });

  it("fits with all kinds of findings in many environments at once", () => {
    const long = { ...FINDING, object: "o".repeat(900), message: "|".repeat(900), fix: "*".repeat(900) };
    const many = Array.from({ length: 40 }, () => long);
    const findings = { fresh: many, mended: many, staying: many };
    const environments = ["dev", "staging", "prod"].map((stack) => ({
      stack,
      changes: [change("+1")],
      findings,
    }));
    const previews = new Map(environments.map(({ stack }) => [stack, "x\n".repeat(50_000)]));
    expect(ciComment(preview(...environments), previews).length).toBeLessThanOrEqual(COMMENT_LIMIT);
  });

  it("escapes quoted text, so that it cannot end a fence or cell, or mention a user", () => {
    const findings = { ...NONE, fresh: [{ ...FINDING, message: "a | b <b> `c` @team" }] };
    const text = ciComment(
      preview({ stack: "dev", changes: [change("+```\n+</details>")], findings }),
      new Map(),
    );
    expect(text).toContain("````diff\n+```\n+</details>\n````");
    expect(text).toContain("a \\| b \\<b\\> \\`c\\` @\u200bteam");
  });
});
