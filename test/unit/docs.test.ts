import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { execa } from "execa";
import yaml from "js-yaml";
import { describe, expect, it } from "vitest";
import { PROJECT, parseSettings } from "../../settings/settings.ts";
import { allKeys } from "../../tools/keys.ts";
import { GENERATED_PAGES, regenerated } from "../../tools/reference.ts";
import { asText } from "../../stack/files.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const DOCS = readdirSync(join(ROOT, "docs")).map((name) => `docs/${name}`);
const PACKAGES = ["packages/dubbo-mesh/README.md", "packages/dubbo-node/README.md"];
const PAGES = ["README.md", "apps/README.md", ...PACKAGES, "policy/README.md", ...DOCS];

const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

/** The test that runs a command and the text that shows it, or the reason why no test does. */
type Tried = { readonly test: string; readonly shown: string } | { readonly notRun: string };

const by = (test: string, shown: string): Tried => ({ test, shown });
const e2e = (target: string): Tried => by("test/e2e/mesh.test.ts", `"${target}"`);
const plain = (shown: string): Tried => by("test/e2e/engine.test.ts", shown);

const NEEDS_KUBECTL: Tried = {
  notRun: "needs a live cluster; `make verify` reads the same logs and proxies by the API server",
};
const NEEDS_BACKEND: Tried = {
  notRun: "needs a backend or a KMS on the network; docs/state.md says what was run by hand",
};
const NEEDS_ISTIOCTL: Tried = {
  notRun: "a tool of Istio's own; it was run by hand against the local cluster",
};

/** By make target. */
const TARGETS: Readonly<Record<string, Tried>> = {
  up: e2e("up"),
  verify: e2e("verify"),
  preview: e2e("preview"),
  down: e2e("down"),
  qos: e2e("qos"),
  "cluster-down": e2e("cluster-down"),
  explain: by("test/unit/tools/explain.test.ts", "explain("),
  render: by("test/unit/tools/render.test.ts", "render("),
  graph: by("test/unit/tools/graph.test.ts", "meshGraph("),
  lint: by("test/unit/tools/lint.test.ts", "lint("),
  env: plain('"env"'),
  drift: by("test/unit/drift/drift.test.ts", "drift("),
  promote: by("test/e2e/canary.test.ts", '"promote"'),
  repair: by("test/unit/tools/engine.test.ts", "repair("),
  golden: by("test/unit/golden.test.ts", "golden"),
  "ci-preview": by("test/unit/tools/ci-preview.test.ts", "ciPreview("),
  "review-stack": by("test/unit/tools/review-stack.test.ts", "writeReviewStack("),
  actionlint: by(".ci/run", "make actionlint"),
  "cluster-up": { notRun: "what `make up` does first, with one node; two: by hand" },
  "cluster-status": { notRun: "docker and a cluster that is up; `make up` waits for the same parts" },
  "cluster-clean": { notRun: "what it removes takes half an hour to build" },
  help: by("test/unit/docs.test.ts", '"help"]'),
  test: by(".ci/run", "make test"),
  interop: by(".ci/run", "make interop"),
  e2e: by(".ci/run", "make e2e"),
  soak: by("test/e2e/configurations.test.ts", '"SOAK"'),
  bench: { notRun: "minutes of measurement, which is no test" },
  "bench-apps": { notRun: "minutes of measurement, which is no test" },
  generate: { notRun: "makes files anew that are committed; the applications' tests use them" },
};

/** By program and command, without make. */
const OTHERS: readonly (readonly [RegExp, Tried])[] = [
  [
    /^(DUBBO_APPLICATION_NAME=hello )?node (provider|caller)\.ts$/,
    by("packages/dubbo-node/test/readme.test.ts", "caller.ts"),
  ],
  [/^npm pack$/, by("test/e2e/library.test.ts", '"pack"')],
  [/^npm run reference$/, by("test/unit/docs.test.ts", "regenerated(")],
  [/^npm run istio-types$/, by("test/unit/components/istio-types.test.ts", "istioTypes(")],
  [/^npm run plugin-schema$/, by("test/unit/library/plugin.test.ts", "`npm run plugin-schema`")],
  [/^npm run rules$/, by("test/unit/policy/readme.test.ts", "README.md")],
  [/^pulumi preview --policy-pack policy\/pack$/, plain('"--policy-pack"')],
  [/^pulumi (stack init staging --secrets-provider|login)\b/, NEEDS_BACKEND],
  [/^pulumi stack init\b/, plain('"stack", "init"')],
  [/^pulumi stack export\b/, plain('"stack", "export"')],
  [/^pulumi stack import\b/, plain('"stack", "import"')],
  [/^pulumi config set --secret$/, plain('"config", "set"')],
  [/^pulumi state unprotect --all -s prod$/, by("test/unit/tools/engine.test.ts", '"unprotect", "--all"')],
  [/^pulumi preview -s dev --save-plan plan\.json$/, plain('"--save-plan"')],
  [/^pulumi up -s dev --plan plan\.json$/, plain('"--plan"')],
  [/^export PULUMI_EXPERIMENTAL=true$/, plain("PULUMI_EXPERIMENTAL")],
  [/^pulumi preview( -s \w+)?$/, plain('"preview", "-s"')],
  [/^pulumi up( -s \w+| --skip-preview)?$/, plain('"up", "--yes"')],
  [/^pulumi destroy( -s \w+)?$/, plain('"destroy", "--yes"')],
  [/^eval "\$\(make -s env\)"$/, by("test/unit/tools/engine.test.ts", "engineEnvironment(")],
  [/^diff /, by("test/unit/docs.test.ts", '"diff"')],
  [/^export KUBECONFIG=/, NEEDS_KUBECTL],
  [/^kubectl /, NEEDS_KUBECTL],
  [/^istioctl /, NEEDS_ISTIOCTL],
];

function fenced(page: string, language: string): string[] {
  const blocks = read(page).matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "gm"));
  return [...blocks].map(([, text = ""]) => text);
}

/** Returns every command of a page, from its shell blocks and its inline code. */
function commandsOf(page: string): string[] {
  const lines = fenced(page, "(?:shell|bash|sh)").flatMap((block) => block.split("\n"));
  const inline = [...read(page).matchAll(/`((?:make|npm|npx|pulumi|kubectl|istioctl|diff) [^`\n]+)`/g)];
  return [...lines, ...inline.map(([, text = ""]) => text)]
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}

const COMMANDS = PAGES.flatMap((page) => commandsOf(page).map((command) => ({ page, command })));
const MAKE = COMMANDS.filter(({ command }) => command.startsWith("make "));

function targetOf(command: string): string {
  return /^make (?:-s )?([a-z0-9-]+)/.exec(command)?.[1] ?? "";
}

/** Returns the recipe of each target, with the Makefile's variables replaced. */
function recipes(): ReadonlyMap<string, string> {
  const text = read("Makefile").replaceAll("\\\n", " ");
  const variables = new Map(
    [...text.matchAll(/^([A-Z_]+) \??= (.*)$/gm)].map(([, name, value]) => [name, value]),
  );
  const expanded = (recipe: string): string => {
    const once = recipe.replaceAll(/\$\(([A-Z_]+_FLAGS)\)/g, (_, name: string) => variables.get(name) ?? "");
    return once === recipe ? recipe : expanded(once);
  };
  const rules = text.matchAll(/^([a-z0-9-]+):[^\n]*\n((?:\t[^\n]*\n)*)/gm);
  return new Map([...rules].map(([, name = "", recipe = ""]) => [name, expanded(recipe)]));
}

describe("the commands of the documentation", () => {
  it("are found", () => {
    expect(COMMANDS.length).toBeGreaterThan(60);
    expect(COMMANDS).toContainEqual({ page: "README.md", command: "make up" });
    expect(COMMANDS).toContainEqual({ page: "docs/operations.md", command: "istioctl proxy-status" });
  });

  it("are run by a test, or have a reason why not", () => {
    const untold = COMMANDS.filter(({ command }) => {
      if (command.startsWith("make ")) return TARGETS[targetOf(command)] === undefined;
      return !OTHERS.some(([pattern]) => pattern.test(command));
    });
    expect(untold).toEqual([]);
  });

  it("refer to existing tests that show them", () => {
    const tried = [...Object.values(TARGETS), ...OTHERS.map(([, each]) => each)];
    const wrong = tried.filter((each) =>
      "notRun" in each
        ? each.notRun === ""
        : !existsSync(join(ROOT, each.test)) || !read(each.test).includes(each.shown),
    );
    expect(wrong).toEqual([]);
  });

  it("use make's targets and their variables", () => {
    const known = recipes();
    const wrong = MAKE.filter(({ command }) => {
      const recipe = known.get(targetOf(command));
      const variables = [...command.matchAll(/\b([A-Z_]+)=/g)].map(([, name = ""]) => name);
      return recipe === undefined || variables.some((name) => !recipe.includes(`$(${name})`));
    });
    expect(wrong).toEqual([]);
  });

  it("compare the objects of two stacks by diff", async () => {
    const shown = commandsOf("docs/operations.md").find((command) => command.startsWith("diff -r "));
    const { exitCode, stdout } = await execa("diff", shown?.split(" ").slice(1), {
      cwd: ROOT,
      reject: false,
    });
    expect({ exitCode, stdout }).toEqual({
      exitCode: 1,
      stdout: expect.stringContaining("\n>   namespace: dubbo-prod\n") as unknown,
    });
  });
});

describe("make help", () => {
  it("lists the documented targets, each once", async () => {
    const { stdout } = await execa("make", ["--no-print-directory", "help"], { cwd: ROOT });
    const listed = [...stdout.matchAll(/^ {2}([a-z0-9-]+) /gm)].map(([, name]) => name);
    expect(listed).toEqual([...new Set(listed)]);
    expect(Object.keys(TARGETS).filter((target) => !listed.includes(target))).toEqual([]);
    expect(listed).toEqual([...recipes().keys()]);
  });

  it("fits one screen of 80 columns, in groups", async () => {
    const { stdout } = await execa("make", ["--no-print-directory", "help"], { cwd: ROOT });
    const lines = stdout.split("\n");
    expect(lines.length).toBeLessThanOrEqual(40);
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
    expect(lines.filter((line) => /^[a-z]/.test(line)).map((line) => line.replace(/ \[.*/, ""))).toEqual([
      "every day",
      "in pipelines",
      "local cluster",
      "this project's developers",
    ]);
  });
});

/** Returns the anchor of a heading, as GitHub makes it. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
}

describe("the links of the documentation", () => {
  it("lead to existing files and headings", () => {
    const broken = PAGES.flatMap((page) => {
      const links = [...read(page).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, target = ""]) => target);
      return links.filter((link) => {
        const [file = "", fragment] = link.split("#");
        const path = file === "" ? page : join(dirname(page), file);
        if (!existsSync(join(ROOT, path))) return true;
        if (fragment === undefined) return false;
        const headings = [...read(path).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => anchor(heading));
        return !headings.includes(fragment);
      });
    });
    expect(broken).toEqual([]);
  });

  it("lead to every page from the README", () => {
    expect(DOCS.filter((page) => !read("README.md").includes(`(${page})`))).toEqual([]);
  });
});

describe("the configurations of the documentation", () => {
  const blocks = PAGES.flatMap((page) => fenced(page, "yaml").map((text) => ({ page, text })));

  it("are found", () => {
    expect(blocks.length).toBeGreaterThan(8);
  });

  it("are accepted by the program", () => {
    for (const { page, text } of blocks) {
      const { config } = yaml.load(text) as { config: Readonly<Record<string, unknown>> };
      const raw = Object.entries(config).map(([key, value]) => [
        key.replace(`${PROJECT}:`, ""),
        asText(value),
      ]);
      expect(() => parseSettings(Object.fromEntries(raw) as Record<string, string>), page).not.toThrow();
    }
  });
});

describe("the generated parts of the documentation", () => {
  it("match the output of `npm run reference`", async () => {
    for (const page of GENERATED_PAGES) expect(readFileSync(page, "utf8")).toBe(await regenerated(page));
  });

  it("give every key a meaning, except fields inside Envoy's message", () => {
    const silent = allKeys().filter(({ meaning }) => meaning === "");
    const own = silent.filter(({ path }) => !/healthCheck\..+[._]/.test(path));
    expect(own.map(({ path }) => path)).toEqual([]);
  });

  it("list each key that has a meaning", () => {
    const text = read("docs/configuration.md");
    const missing = allKeys()
      .filter(({ meaning }) => meaning !== "")
      .map(({ path }) =>
        path
          .replace(/^(services\[\]|healthCheck)\./, "")
          .replace(/^(traffic|healthCheck|resources)\..*/, "$1"),
      )
      .filter((path) => !text.includes(`\`${path}\``));
    expect(missing).toEqual([]);
  });
});

describe("getting started", () => {
  const headings = (page: string): string[] =>
    [...read(page).matchAll(/^(#+) ([\d.]+)?/gm)].map(([, level = "", number = ""]) => `${level} ${number}`);

  it("has the same chapters and commands in both languages", () => {
    const english = "docs/getting-started.md";
    const chinese = "docs/getting-started.zh.md";
    expect(headings(chinese)).toEqual(headings(english));
    expect(fenced(chinese, "shell")).toEqual(fenced(english, "shell"));
  });
});
