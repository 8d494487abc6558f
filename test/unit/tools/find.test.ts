import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import docker from "@pulumi/docker/package.json" with { type: "json" };
import kubernetes from "@pulumi/kubernetes/package.json" with { type: "json" };
import { PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import sdk from "@pulumi/pulumi/package.json" with { type: "json" };
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";

import { CACHE_DIR } from "../../../common/artifacts/cache.ts";
import { findEngine } from "../../../tools/engine/find.ts";
import { userError } from "./user-error.ts";

vi.hoisted(() => {
  process.env["DUBBO_MESH_CACHE"] = `${process.env["TMPDIR"] ?? "/tmp"}/dubbo-mesh-find-${process.pid}`;
});

const HOST = "pulumi-language-nodejs";
const PLUGINS = [`resource-kubernetes-v${kubernetes.version}`, `resource-docker-v${docker.version}`] as const;

let stderr: MockInstance<typeof process.stderr.write>;
/** Home of the user, PULUMI_HOME of the checkout, and a folder on PATH. */
let [home, own, bin] = ["", "", ""];

beforeEach(() => {
  stderr = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  home = realpathSync(mkdtempSync(join(tmpdir(), "dubbo-mesh-home-")));
  own = join(home, "own");
  bin = join(home, "on-path");
  vi.stubEnv("PATH", bin);
  vi.stubEnv("HOME", home);
  vi.stubEnv("PULUMI_HOME", undefined);
  vi.stubEnv("PULUMI_CREDENTIALS_PATH", undefined);
  vi.stubGlobal("fetch", () => Promise.reject(new Error("no route")));
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  // The folder of a real cluster must not go.
  expect(CACHE_DIR).toContain("dubbo-mesh-find-");
  rmSync(CACHE_DIR, { recursive: true, force: true });
});

function printed(): string[] {
  return stderr.mock.calls.map(([text]) =>
    String(text)
      .replace(/ \(\d+\.\d s\)\n$/, "")
      .trimEnd(),
  );
}

function read(path: string): string {
  return readFileSync(path, "utf8");
}

function command(path: string, script: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

/** Writes a CLI, with the language host beside it as in a release. */
function cli(folder: string, version: string): string {
  command(join(folder, HOST), "exit 1");
  return command(join(folder, "pulumi"), `echo v${version}`);
}

function plugins(pulumiHome: string): void {
  for (const name of PLUGINS) mkdirSync(join(pulumiHome, "plugins", name), { recursive: true });
}

/** Writes a Go that builds a script, which prints a version. Its module folder has a schema. */
function go(version = "go1.26.8"): void {
  const module = join(home, "module");
  mkdirSync(join(module, "cmd/pulumi-resource-kubernetes"), { recursive: true });
  writeFileSync(join(module, "cmd/pulumi-resource-kubernetes/schema.json"), '{"name":"kubernetes"}');
  command(
    join(bin, "go"),
    `PATH=/usr/bin:/bin
echo "$1" >> ${home}/go-calls
case $1 in
  version) echo "go version ${version} linux/amd64" ;;
  env) echo "https://proxy.test" ;;
  mod) echo '{"Dir":"${module}"}' ;;
  build)
    while [ "$1" != -o ]; do shift; done
    if [ -e schema.json ]; then cp schema.json ${home}/embedded; fi
    printf '#!/bin/sh\\necho v${sdk.version}\\n' > "$2"; chmod +x "$2" ;;
esac`,
  );
}

describe("an installed engine", () => {
  it("is the CLI on PATH, before that in PULUMI_HOME, without a request or a change", async () => {
    cli(bin, "3.259.0");
    cli(join(home, ".pulumi/bin"), "3.260.0");
    plugins(join(home, ".pulumi"));
    const { command, env } = await findEngine(own);
    expect(command).toMatchObject({ command: "pulumi", version: { version: "3.259.0" } });
    expect(env).toEqual({});
    expect([printed(), existsSync(own)]).toEqual([[], false]);
  });

  it("is otherwise the CLI in PULUMI_HOME", async () => {
    const pulumi = cli(join(home, ".pulumi/bin"), "3.260.0");
    plugins(join(home, ".pulumi"));
    expect((await findEngine(own)).command).toMatchObject({ command: pulumi });
    vi.stubEnv("PULUMI_HOME", join(home, "other"));
    const other = cli(join(home, "other/bin"), "3.260.0");
    plugins(join(home, "other"));
    expect((await findEngine(own)).command).toMatchObject({ command: other });
  });

  it("may have plugins on PATH", async () => {
    cli(bin, "3.259.0");
    for (const name of ["kubernetes", "docker"]) command(join(bin, `pulumi-resource-${name}`), "exit 1");
    expect((await findEngine(own)).env).toEqual({});
  });

  it.each(["3.247.0", "2.25.0"])("is an error if its CLI is too old: %s", async (version) => {
    cli(bin, version);
    plugins(join(home, ".pulumi"));
    expect(await userError(findEngine(own))).toEqual({
      message: `the Pulumi CLI (pulumi) is ${version}, older than 3.248.0`,
      fix:
        "Update it (https://www.pulumi.com/docs/iac/download-install/), or remove it from PATH, " +
        "so that the right one is downloaded or built.",
    });
  });
});

describe("an engine whose vendor answers", () => {
  beforeEach(() => {
    vi.stubGlobal("fetch", () => Promise.resolve(new Response()));
  });

  it("is downloaded into the user's PULUMI_HOME", async () => {
    cli(join(home, "elsewhere/bin"), "3.276.0");
    const command = await PulumiCommand.get({ root: join(home, "elsewhere") });
    const install = vi.spyOn(PulumiCommand, "install").mockResolvedValue(command);
    expect(await findEngine(own)).toEqual({ command, env: {} });
    expect(install.mock.calls).toEqual([[{ root: join(home, ".pulumi") }]]);
    expect(printed()).toEqual(["  ok    download the Pulumi CLI"]);
  });

  it("is the installed CLI, which downloads its own plugins", async () => {
    cli(bin, "3.276.0");
    expect((await findEngine(own)).env).toEqual({});
    expect(existsSync(own)).toBe(false);
  });

  it("is built if the download fails", async () => {
    vi.spyOn(PulumiCommand, "install").mockRejectedValue(new Error("curl: not found"));
    go();
    expect((await findEngine(own)).command).toMatchObject({ command: join(own, "bin/pulumi") });
    expect(printed()[0]).toBe("  FAIL  download the Pulumi CLI");
  });
});

describe("an engine whose vendor does not answer", () => {
  it("is built once, with its Kubernetes plugin and stand-ins", async () => {
    go();
    const { command, env } = await findEngine(own);
    expect(command).toMatchObject({
      command: join(own, "bin/pulumi"),
      version: { version: sdk.version },
    });
    expect(env).toEqual({
      PULUMI_HOME: own,
      PULUMI_CREDENTIALS_PATH: join(home, ".pulumi"),
      PATH: `${join(own, "bin")}:${bin}`,
    });
    const [kubernetesFolder, dockerFolder] = PLUGINS;
    const linked = (path: string): string => readlinkSync(join(own, path));
    expect(linked(`plugins/${kubernetesFolder}/pulumi-resource-kubernetes`)).toBe(
      join(CACHE_DIR, "bin/pulumi-resource-kubernetes"),
    );
    expect(linked(`plugins/${dockerFolder}/pulumi-resource-docker`)).toMatch(
      /\/tools\/engine\/bin\/pulumi-resource-docker$/,
    );
    expect(linked(`bin/${HOST}`)).toMatch(/\/tools\/engine\/bin\/pulumi-language-nodejs$/);
    expect(JSON.parse(read(join(home, "embedded")))).toEqual({
      name: "kubernetes",
      version: kubernetes.version,
    });
    const note =
      `  note  Pulumi: built here: CLI ${sdk.version}, Kubernetes plugin; ` +
      "stand-ins: Node.js language host, Docker plugin";
    expect(printed()).toEqual([
      "  ok    build pulumi with Go (5 min the first time)",
      "  ok    build pulumi-resource-kubernetes with Go (7 min the first time)",
      note,
    ]);
    stderr.mockClear();
    const asked = vi.fn(() => Promise.reject(new Error("asked")));
    vi.stubGlobal("fetch", asked);
    await findEngine(own);
    expect(printed()).toEqual([note]);
    expect(asked).not.toHaveBeenCalled();
    expect(read(join(home, "go-calls")).match(/^build$/gm)).toHaveLength(2);
  });

  it.each([403, 502])("is not confused with a proxy's answer: %s", async (status) => {
    vi.stubGlobal("fetch", () => Promise.resolve(new Response(null, { status })));
    go();
    expect((await findEngine(own)).command).toMatchObject({ command: join(own, "bin/pulumi") });
  });

  it("must answer within 5 s", async () => {
    const slow = new AbortController();
    const timeout = vi.spyOn(AbortSignal, "timeout").mockReturnValue(slow.signal);
    vi.stubGlobal(
      "fetch",
      (_url: string, { signal }: RequestInit) =>
        new Promise((_resolve, reject) => {
          signal?.addEventListener("abort", () => {
            reject(new Error("timed out"));
          });
        }),
    );
    go();
    const finding = findEngine(own);
    await vi.waitFor(() => {
      expect(timeout.mock.calls).toEqual([[5_000]]);
    });
    slow.abort();
    expect((await finding).command).toMatchObject({ command: join(own, "bin/pulumi") });
  });

  it("keeps the user's CLI, language host and plugins", async () => {
    cli(bin, "3.259.0");
    const pulumiHome = join(home, ".pulumi");
    mkdirSync(join(pulumiHome, "plugins", PLUGINS[0]), { recursive: true });
    const { command, env } = await findEngine(own);
    expect(command).toMatchObject({ command: "pulumi", version: { version: "3.259.0" } });
    expect(env["PULUMI_HOME"]).toBe(own);
    expect(readlinkSync(join(own, "plugins", PLUGINS[0]))).toBe(join(pulumiHome, "plugins", PLUGINS[0]));
    expect(printed()).toEqual(["  note  Pulumi: built here: none; stand-ins: Docker plugin"]);
    expect(existsSync(join(own, "bin", HOST))).toBe(false);
  });

  it.each([
    ["no Go", undefined, "Go is not installed, and "],
    ["an old Go", "go1.25.1", "Go 1.25 is too old, and "],
  ])("is an error with %s", async (_name, version, what) => {
    if (version !== undefined) go(version);
    expect(await userError(findEngine(own))).toEqual({
      message: `${what}Pulumi's CLI and Kubernetes plugin must be built: not installed, and https://get.pulumi.com does not answer`,
      fix: "Install Go 1.26 or newer, put it on PATH, and run the command again.",
    });
  });
});
