import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { describe, expect, it, test } from "vitest";
import { lintFiles, lintStack, lintText, parseObjects } from "../../../tools/lint.ts";
import { readStackFile } from "../../../stack/stack-file.ts";
import { userError } from "./user-error.ts";

const ROOT = resolve(import.meta.dirname, "../../..");

const NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n";
const HEADLESS = `apiVersion: v1
kind: Service
metadata: { name: ledger, namespace: pay }
spec: { clusterIP: None, ports: [{ name: grpc-triple, appProtocol: grpc, port: 9000 }] }
`;

/** A folder with these files. */
function folder(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-lint-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(directory, name, ".."), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
  return directory;
}

describe("a file's objects", () => {
  it("are those of all its documents, and a list's items", () => {
    const list = `kind: List\napiVersion: v1\nitems:\n  - { apiVersion: v1, kind: Secret, metadata: { name: a } }\n`;
    const text = `# a comment alone\n---\n${NAMESPACE}---\n---\n${list}---\n${HEADLESS}`;
    expect(parseObjects(text, "a.yaml").map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual([
      "Namespace shop",
      "Secret a",
      "Service ledger",
    ]);
  });

  it("may be JSON", () => {
    expect(parseObjects('{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}', "a.json")).toEqual([
      { apiVersion: "v1", kind: "Secret", metadata: { name: "a" } },
    ]);
  });

  test.each([
    ["no YAML", `${NAMESPACE}---\na: [\n`, /^document 2 of a\.yaml is no YAML: unexpected end of the stream/],
    [
      "no YAML after a comment",
      `# one\n---\n${NAMESPACE}---\n${NAMESPACE}---\n}\n`,
      /^document 3 of a\.yaml is no YAML: /,
    ],
    ["a tab", "a:\n\t- b\n", /^document 1 of a\.yaml is no YAML: /],
    [
      "no object",
      `${NAMESPACE}---\n- 1\n`,
      /^document 2 of a\.yaml is no Kubernetes object: it: Invalid input/,
    ],
    [
      "no name",
      `${NAMESPACE}---\napiVersion: v1\nkind: Service\nmetadata: {}\n`,
      /^document 2 of a\.yaml is no Kubernetes object: metadata\.name: Invalid input/,
    ],
    [
      "an item without a kind",
      "apiVersion: v1\nkind: List\nitems: [{ apiVersion: v1, metadata: { name: a } }]\n",
      /^item 1 of document 1 of a\.yaml is no Kubernetes object: kind: Invalid input/,
    ],
  ])("%s is one error that names file and document", async (_title, text, message) => {
    const error = await userError(Promise.resolve().then(() => parseObjects(text, "a.yaml")));
    expect(error.message).toMatch(message);
    expect(error.fix).not.toBe("");
  });
});

describe("manifests", () => {
  it("are judged together, from files and folders", async () => {
    const directory = folder({ "a.yaml": NAMESPACE, "deep/b.yml": HEADLESS, "deep/notes.txt": "a: [" });
    const report = await lintFiles([join(directory, "deep"), join(directory, "a.yaml")]);
    expect({ ...report, findings: report.findings.map(({ rule, object }) => `${rule} ${object}`) }).toEqual({
      objects: 2,
      errors: 1,
      warnings: 1,
      findings: ["service-not-headless Service pay/ledger", "access-logs Namespace pay"],
    });
  });

  it("that cannot be read are one error", async () => {
    const directory = folder({ "a.txt": "" });
    expect((await userError(lintFiles([join(directory, "none.yaml")]))).message).toBe(
      `${directory}/none.yaml cannot be read: ENOENT: no such file or directory, stat '${directory}/none.yaml'`,
    );
    expect(await userError(lintFiles([directory]))).toEqual({
      message: `there is no Kubernetes object in ${directory}`,
      fix: "Name files or folders that hold manifests.",
    });
  });

  it("of a stack count the images that it builds as pinned", async () => {
    expect(await lintStack(await readStackFile(ROOT, "dev"))).toEqual({
      objects: 18,
      errors: 0,
      warnings: 0,
      findings: [],
    });
  });
});

describe("a report", () => {
  it("for people is by object, with what to do, where it comes from, and a sum", async () => {
    const report = await lintFiles([folder({ "b.yaml": HEADLESS })]);
    expect(lintText(report)).toBe(`Service pay/ledger
  error   service-not-headless  spec.clusterIP
          is headless: Envoy then sends each connection to the address that the caller has resolved
          fix: Take clusterIP: None away.
          source: the seed, how it works

Namespace pay
  warning access-logs
          no Telemetry turns the proxies' access logs on
          fix: Add a Telemetry with accessLogging: [{ providers: [{ name: envoy }] }].
          source: https://istio.io/latest/docs/tasks/observability/logs/access-log/

1 error, 1 warning in 1 object by 47 rules`);
    expect(lintText({ objects: 2, errors: 0, warnings: 0, findings: [] })).toBe(
      "0 errors, 0 warnings in 2 objects by 47 rules",
    );
  });
});

describe("the command", () => {
  const lint = async (
    input: string,
    ...options: readonly string[]
  ): Promise<[number | undefined, string, string]> => {
    const { exitCode, stdout, stderr } = await execa("node", ["tools/cli.ts", "lint", ...options], {
      cwd: ROOT,
      env: { NODE_OPTIONS: "" },
      input,
      reject: false,
    });
    return [exitCode, stdout, stderr];
  };

  // Each run loads the CLI anew: they run side by side.
  it("takes standard input, and fails where there is an error, not where there is a warning", async () => {
    const sound = HEADLESS.replace("clusterIP: None, ", "");
    const [[failed, printed], [code, text], wrong] = await Promise.all([
      lint(HEADLESS, "-", "--json"),
      lint(sound, "-"),
      lint("kind: Service\n", "-"),
    ]);
    expect(failed).toBe(1);
    expect(JSON.parse(printed)).toMatchObject({ objects: 1, errors: 1, warnings: 1 });
    expect([code, text.split("\n").at(-1)]).toEqual([0, "0 errors, 1 warning in 1 object by 47 rules"]);
    expect(wrong).toEqual([
      1,
      "",
      expect.stringMatching(
        /^error: document 1 of standard input is no Kubernetes object: apiVersion: .*\n {2}fix: /,
      ),
    ]);
  });
});
