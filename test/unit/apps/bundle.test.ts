import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { bundleApplication, type ImageBuild } from "../../../apps/bundle.ts";
import { UserError } from "../../../common/errors.ts";

const PROJECT = join(import.meta.dirname, "../../..");
const NODE_OPTIONS = ["--no-node-snapshot", "--invocation-count-for-turbofan=10000"];
const OPTIONS = { baseImage: "node:22", platform: "linux/amd64" };

const scratch = mkdtempSync(join(tmpdir(), "dubbo-mesh-bundle-"));
afterAll(() => {
  rmSync(scratch, { recursive: true });
});

interface Bundler {
  bundleApplication(application: string, options: typeof OPTIONS): Promise<ImageBuild>;
}

/** Links the installed packages. The SDK is a package of this project, so it is copied. */
function install(root: string): void {
  const modules = join(root, "node_modules");
  mkdirSync(modules);
  for (const name of readdirSync(join(PROJECT, "node_modules"))) {
    if (name !== "dubbo-node") symlinkSync(join(PROJECT, "node_modules", name), join(modules, name));
  }
  for (const part of ["package.json", "src"]) {
    const path = join("packages/dubbo-node", part);
    cpSync(join(PROJECT, path), join(root, path), { recursive: true });
  }
  symlinkSync("../packages/dubbo-node", join(modules, "dubbo-node"));
}

/** Copies the sources to a new folder, with the installed packages. */
async function checkout(folder: string): Promise<{ root: string; bundler: Bundler }> {
  const root = join(scratch, folder);
  mkdirSync(root, { recursive: true });
  const filter = (source: string): boolean => !source.startsWith(join(PROJECT, "apps/dist"));
  cpSync(join(PROJECT, "apps"), join(root, "apps"), { recursive: true, filter });
  cpSync(join(PROJECT, "common"), join(root, "common"), { recursive: true });
  install(root);
  return { root, bundler: (await import(join(root, "apps/bundle.ts"))) as Bundler };
}

function contents(root: string, { context }: ImageBuild): Record<string, string> {
  const folder = join(root, context);
  return Object.fromEntries(
    readdirSync(folder).map((file) => [file, readFileSync(join(folder, file), "latin1")]),
  );
}

test("gives the same bytes and tags in two folders", async () => {
  const [here, there] = [await checkout("here"), await checkout("quite/another place")];
  for (const application of ["provider", "consumer", "relay"]) {
    const one = await here.bundler.bundleApplication(application, OPTIONS);
    const two = await there.bundler.bundleApplication(application, OPTIONS);
    expect(one).toEqual({
      context: `apps/dist/${application}`,
      dockerfile: "apps/Dockerfile",
      tag: expect.stringMatching(/^[0-9a-f]{16}$/) as string,
    });
    expect(two).toEqual(one);
    const files = contents(here.root, one);
    expect(Object.keys(files)).toEqual(["LICENCES.txt", "main.mjs"]);
    expect(contents(there.root, two)).toEqual(files);
    expect(files["main.mjs"]).not.toContain(scratch);
    expect(files["main.mjs"]).not.toContain(PROJECT);
  }
});

test("reports a missing application as one error, and writes nothing", async () => {
  // A folder of apps/ that is not an application, and a missing folder.
  for (const name of ["proto", "nope"]) {
    const error: unknown = await bundleApplication(name, OPTIONS).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({
      message: `there is no application apps/${name}: main.ts is missing`,
      fix: "Write it as apps/README.md describes, or set app to an existing folder of apps/.",
    });
    expect(existsSync(join(PROJECT, "apps/dist", name))).toBe(false);
  }
});

test("requires node:http, because an import also loads undici", async () => {
  const { root, bundler } = await checkout("lean");
  const { context } = await bundler.bundleApplication("provider", OPTIONS);
  const main = readFileSync(join(root, context, "main.mjs"), "utf8");
  expect(main).toMatch(/\("node:http"\)/);
  expect(main).not.toMatch(/from ?"(node:)?http"/);
});

test("writes only changed files, removes strays, and changes the tag with any input", async () => {
  const { root, bundler } = await checkout("again");
  const build = await bundler.bundleApplication("provider", OPTIONS);
  const main = join(root, build.context, "main.mjs");
  const { mtimeMs, ino } = statSync(main);
  writeFileSync(join(root, build.context, "stray.txt"), "");
  writeFileSync(join(root, build.context, "LICENCES.txt"), "");
  expect(await bundler.bundleApplication("provider", OPTIONS)).toEqual(build);
  expect(statSync(main)).toMatchObject({ mtimeMs, ino });
  expect(readdirSync(join(root, build.context))).toEqual(["LICENCES.txt", "main.mjs"]);
  expect(statSync(join(root, build.context, "LICENCES.txt")).size).toBeGreaterThan(10_000);

  const tags = new Set([build.tag]);
  tags.add((await bundler.bundleApplication("provider", { ...OPTIONS, baseImage: "node:24" })).tag);
  tags.add((await bundler.bundleApplication("provider", { ...OPTIONS, platform: "linux/arm64" })).tag);
  writeFileSync(join(root, "apps/Dockerfile"), "FROM scratch\n");
  tags.add((await bundler.bundleApplication("provider", OPTIONS)).tag);
  writeFileSync(join(root, "apps/provider/main.ts"), 'console.log("other")\n');
  tags.add((await bundler.bundleApplication("provider", OPTIONS)).tag);
  expect(tags.size).toBe(5);
});

test("keeps the layer with the application's code below 5 MB", () => {
  for (const application of ["provider", "consumer", "relay"]) {
    const folder = join(scratch, "here/apps/dist", application);
    const sizes = readdirSync(folder).map((file) => statSync(join(folder, file)).size);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(5_000_000);
  }
});

/** Returns the instructions of the Dockerfile, with joined lines and without comments. */
function instructions(): string[] {
  const text = readFileSync(join(PROJECT, "apps/Dockerfile"), "utf8").replace(/^\s*#.*\n/gm, "");
  return text
    .replaceAll("\\\n", "")
    .split("\n")
    .filter((line) => line !== "");
}

test("builds the last stage from scratch, without running a command", () => {
  const lines = instructions();
  expect(lines.filter((line) => line.startsWith("FROM"))).toEqual([
    "FROM ${BASE_IMAGE} AS files",
    "FROM scratch",
  ]);
  expect(lines.slice(lines.indexOf("FROM scratch") + 1)).toEqual([
    "ARG SOURCE_DATE_EPOCH=0",
    "LABEL dubbo-mesh.source-date-epoch=$SOURCE_DATE_EPOCH",
    "COPY --from=files /runtime/ /",
    "COPY --from=files /bundle/ /",
    "USER 1000:1000",
    "EXPOSE 50052 20880 22222",
    `ENTRYPOINT ["/usr/local/bin/node", ${NODE_OPTIONS.map((option) => `"${option}"`).join(", ")}, "/app/main.mjs"]`,
  ]);
});

test("fails the build if the image's node does not support the options of its start", () => {
  expect(
    instructions().filter((line) => line.includes(`/node ${NODE_OPTIONS.join(" ")} --version`)),
  ).toHaveLength(1);
});

test("uses only what the classic builder supports without a network", () => {
  const text = readFileSync(join(PROJECT, "apps/Dockerfile"), "utf8");
  expect(text).not.toMatch(/^# *(syntax|check|escape) *=/im);
  for (const line of instructions()) {
    expect(line).toMatch(/^(ARG|FROM|LABEL|USER|RUN|COPY|EXPOSE|ENTRYPOINT) /);
    expect(line).not.toMatch(/<<|^(RUN|COPY|FROM) --(?!from=)|https?:|\b(apt|apk|npm|curl|wget)\b/);
  }
});

test("copies the code last, so that the first layer is reused", () => {
  const lines = instructions();
  const gathered = lines.findIndex((line) => line.startsWith("RUN") && line.includes("ldd"));
  expect(lines.findIndex((line) => line.includes("main.mjs"))).toBeGreaterThan(gathered);
});

test("includes the licences of the bundled packages", () => {
  const text = readFileSync(join(scratch, "here/apps/dist/consumer/LICENCES.txt"), "utf8");
  expect(text.match(/^\S+ \d+\.\d+\.\d+, .*$/gm)?.map((line) => line.replace(/ [\d.]+,/, ""))).toEqual([
    "@bufbuild/protobuf (Apache-2.0 AND BSD-3-Clause)",
    "@opentelemetry/api Apache-2.0",
    "bintrees MIT",
    "js-yaml MIT",
    "prom-client Apache-2.0",
    "properties-file MIT",
    "tdigest MIT",
    "zod MIT",
  ]);
  expect(text).toContain("Copyright 2008 Google Inc.");
  expect(text).toMatch(/Apache License\s+Version 2\.0/);
});

test.each([
  ["apps/proto", "apps/gen"],
  ["packages/dubbo-node/proto", "packages/dubbo-node/src/gen"],
])("has the generated code of %s in %s", (proto, gen) => {
  const bin = join(PROJECT, "node_modules/.bin");
  const out = join(scratch, gen);
  execFileSync(join(bin, "buf"), ["generate", proto, "-o", out], {
    cwd: PROJECT,
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"] ?? ""}` },
    stdio: "pipe",
  });
  const committed = join(PROJECT, gen);
  expect(readdirSync(out)).toEqual(readdirSync(committed));
  for (const file of readdirSync(out)) {
    expect(readFileSync(join(out, file), "utf8")).toBe(readFileSync(join(committed, file), "utf8"));
  }
});
