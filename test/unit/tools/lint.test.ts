import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { describe, expect, it, test } from "vitest";
import { lintFiles, lintStack, lintText, readObjects } from "../../../tools/lint.ts";
import { readStackFile } from "../../../stack/stack-file.ts";
import { userError } from "./user-error.ts";

const ROOT = resolve(import.meta.dirname, "../../..");

const NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n";
const SERVICE = `apiVersion: v1
kind: Service
metadata: { name: ledger, namespace: pay }
spec: { ports: [{ name: http-tri, port: 9000 }] }
`;
const WARNED = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ledger, namespace: pay }
spec: { hosts: [ledger], http: [{ route: [{ destination: { host: ledger } }] }] }
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

/** Lists the objects that are read from text, and the reasons for skipped ones, a line each. */
function read(text: string, named = true): string[] {
  return readObjects(text, "a.yaml", named).map((each) =>
    "object" in each
      ? `${each.object.kind} ${each.object.metadata.name}`
      : `${each.severity}: ${each.place} ${each.reason}`,
  );
}

describe("a file's objects", () => {
  it("are those of all its documents, and a list's items", () => {
    const list = `kind: List\napiVersion: v1\nitems:\n  - { apiVersion: v1, kind: Secret, metadata: { name: a } }\n`;
    expect(read(`# a comment alone\n---\n${NAMESPACE}---\n---\n${list}--- # more\n${SERVICE}`)).toEqual([
      "Namespace shop",
      "Secret a",
      "Service ledger",
    ]);
  });

  const SECRETS = ["a", "b"].map((name) => ({ apiVersion: "v1", kind: "Secret", metadata: { name } }));

  it.each([
    ["on a line each", SECRETS.map((each) => JSON.stringify(each)).join("\n")],
    ["indented", SECRETS.map((each) => JSON.stringify(each, undefined, 2)).join("\r\n\r\n")],
    ["with a byte order mark", `\uFEFF${JSON.stringify(SECRETS[0])}\n${JSON.stringify(SECRETS[1])}\n`],
  ])("may be JSON, one after the other, %s", (_title, text) => {
    expect(read(text)).toEqual(["Secret a", "Secret b"]);
  });

  it("may have a byte order mark in each document", () => {
    expect(read(`\uFEFF${NAMESPACE}---\n\uFEFF${SERVICE}`)).toEqual(["Namespace shop", "Service ledger"]);
  });

  test.each([
    [
      "no YAML",
      `${NAMESPACE}---\na: [\n---\n${SERVICE}`,
      /^error: document 2 of a\.yaml is no YAML: unexpected end of/,
    ],
    [
      "a template",
      `${NAMESPACE}---\n{{- if x }}\n---\n${SERVICE}`,
      /^error: document 2 of a\.yaml is no YAML: /,
    ],
    ["a tab", `${NAMESPACE}---\na:\n\t- b\n---\n${SERVICE}`, /^error: document 2 of a\.yaml is no YAML: /],
    [
      "no object",
      `${NAMESPACE}---\n- 1\n---\n${SERVICE}`,
      /^note: document 2 of a\.yaml is no Kubernetes object: it has no fields$/,
    ],
    [
      "no name",
      `${NAMESPACE}---\napiVersion: v1\nkind: Service\nmetadata: {}\n---\n${SERVICE}`,
      /^note: document 2 of a\.yaml is no Kubernetes object: it has no metadata\.name$/,
    ],
    [
      "an item without a kind",
      `${NAMESPACE}---\napiVersion: v1\nkind: List\nitems: [{ apiVersion: v1, metadata: { name: a } }]\n---\n${SERVICE}`,
      /^note: item 1 of document 2 of a\.yaml is no Kubernetes object: it has no kind$/,
    ],
  ])("are read beside %s, which is named", (_title, text, message) => {
    expect(read(text)).toEqual(["Namespace shop", expect.stringMatching(message), "Service ledger"]);
  });

  it("may stand in a folder beside templates, which are no error", () => {
    expect(read("{{- if x }}\n", false)).toEqual([
      expect.stringMatching(/^note: document 1 of a\.yaml is no YAML/),
    ]);
  });
});

describe("manifests", () => {
  it("are judged together, from files and folders, and what is skipped is named", async () => {
    const directory = folder({
      "a.yaml": NAMESPACE,
      "deep/b.yml": SERVICE,
      "deep/kustomization.yaml": "resources: [b.yml]\n",
      "deep/notes.txt": "a: [",
      "deep/values.yaml": "replicas: 1\n",
      "deep/vs.yaml": WARNED,
    });
    const report = await lintFiles([join(directory, "deep"), join(directory, "a.yaml")]);
    expect({
      ...report,
      findings: report.findings.map(({ rule, object }) => `${rule} ${object}`),
      skipped: report.skipped.map(({ place, severity }) => `${severity} ${place}`),
    }).toEqual({
      objects: 3,
      errors: 1,
      warnings: 1,
      findings: ["port-is-grpc Service pay/ledger", "retries-said VirtualService pay/ledger"],
      skipped: ["kustomization.yaml", "values.yaml"].map(
        (name) => `note document 1 of ${join(directory, "deep", name)}`,
      ),
    });
  });

  it("count once if they are given twice, and contradict none of their own name", async () => {
    const other = WARNED.replace("route:", "timeout: 2s, route:");
    const directory = folder({ "a.yaml": SERVICE, "b.yaml": SERVICE, "c.yaml": WARNED, "d.yaml": other });
    const { objects, findings } = await lintFiles([directory]);
    expect({ objects, rules: findings.map(({ rule }) => rule) }).toEqual({
      objects: 3,
      rules: ["port-is-grpc", "retries-said", "retries-said"],
    });
  });

  it("that cannot be read are one error", async () => {
    const directory = folder({ "a.txt": "", "b.yaml": "a: 1\n" });
    expect((await userError(lintFiles([join(directory, "none.yaml")]))).message).toBe(
      `${directory}/none.yaml cannot be read: ENOENT: no such file or directory, stat '${directory}/none.yaml'`,
    );
    expect(await userError(lintFiles([directory]))).toEqual({
      message: expect.stringMatching(
        /^there is no Kubernetes object\nnote: document 1 of .*b\.yaml is no Kubernetes object: it has no apiVersion, no kind, no metadata$/,
      ) as string,
      fix: "Name files or folders that hold manifests.",
    });
  });

  it("may be those of a stack", async () => {
    expect(await lintStack(await readStackFile(ROOT, "dev"))).toEqual({
      objects: 18,
      errors: 0,
      warnings: 0,
      findings: [],
      skipped: [],
    });
  });
});

describe("a report", () => {
  it("for people is by object, with what to do, where it comes from, what is skipped, and a sum", async () => {
    const directory = folder({ "b.yaml": SERVICE, "c.yaml": WARNED, "d.yaml": "- 1\n" });
    const report = await lintFiles([directory]);
    expect(lintText(report)).toBe(`Service pay/ledger
  error   port-is-grpc  spec.ports[0]
          speaks Triple by its name, but Istio sends it HTTP/1.1
          fix: Name the port grpc-... and set appProtocol: grpc.
          source: https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/

VirtualService pay/ledger
  warning retries-said  spec.http[0].retries
          is not set: Istio makes two, on unavailable and cancelled too, times Dubbo's own
          fix: Set retries on the route, also { attempts: 0 }, in a VirtualService for the mesh, and retries=0 in the Dubbo consumer.
          source: https://istio.io/latest/docs/concepts/traffic-management/#retries

note: document 1 of ${directory}/d.yaml is no Kubernetes object: it has no fields

1 error, 1 warning in 2 objects by 22 rules`);
    expect(lintText({ objects: 2, errors: 0, warnings: 0, findings: [], skipped: [] })).toBe(
      "0 errors, 0 warnings in 2 objects by 22 rules",
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
    const sound = SERVICE.replace("http-tri", "grpc-tri");
    const [[failed, printed], [code, text], [broken], wrong] = await Promise.all([
      lint(SERVICE, "-", "--json"),
      lint(`${sound}---\n${WARNED}`, "-"),
      lint(`${sound}---\na: [\n`, "-"),
      lint("kind: Service\n", "-"),
    ]);
    expect(failed).toBe(1);
    expect(JSON.parse(printed)).toMatchObject({ objects: 1, errors: 1, warnings: 0 });
    expect([code, text.split("\n").at(-1)]).toEqual([0, "0 errors, 1 warning in 2 objects by 22 rules"]);
    expect(broken).toBe(1);
    expect(wrong).toEqual([
      1,
      "",
      expect.stringMatching(
        /^error: there is no Kubernetes object\nnote: document 1 of standard input is no Kubernetes object: it has no apiVersion, no metadata\n {2}fix: /,
      ),
    ]);
  });
});
