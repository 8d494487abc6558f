import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import services from "@pulumi/pulumi/proto/language_grpc_pb.js";
import language from "@pulumi/pulumi/proto/language_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { called, isAlive, NOWHERE, ROOT, startPlugin } from "./plugin.ts";

type Client = InstanceType<typeof services.LanguageRuntimeClient>;
type Options = Parameters<typeof struct.Struct.fromJavaScript>[0];

/**
 * Command of an SDK. It records how it was run in seen.json, and does what its last argument says.
 */
const COMMAND = `
const { writeFileSync } = require("node:fs");
const { PULUMI_CONFIG, PULUMI_CONFIG_SECRET_KEYS, PULUMI_NODEJS_TYPESCRIPT, PULUMI_NODEJS_TSCONFIG_PATH, GREETING } = process.env;
const env = { PULUMI_CONFIG, PULUMI_CONFIG_SECRET_KEYS, PULUMI_NODEJS_TYPESCRIPT, PULUMI_NODEJS_TSCONFIG_PATH, GREETING };
const seen = { pid: process.pid, args: process.argv.slice(2), execArgv: process.execArgv, cwd: process.cwd(), env };
writeFileSync(__dirname + "/seen.json", JSON.stringify(seen));
console.log("to stdout");
console.error("to stderr");
const last = process.argv.find((argument) => argument.startsWith("do:")) ?? "do:exit 0";
if (last === "do:resist") process.on("SIGINT", () => {}).on("SIGTERM", () => {});
if (last === "do:hang" || last === "do:resist") setInterval(() => {}, 1000);
else if (last === "do:kill") process.kill(process.pid, "SIGKILL");
else process.exitCode = Number(last.replace("do:exit ", ""));
`;

interface Seen {
  readonly pid: number;
  readonly args: readonly string[];
  readonly execArgv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

function folder(): string {
  return realpathSync(mkdtempSync(join(tmpdir(), "language-host-")));
}

/** Writes a program with the SDK {@link COMMAND}. */
function program(): string {
  const root = folder();
  for (const name of ["run", "run-plugin", "run-policy-pack"]) {
    const path = join(root, "node_modules/@pulumi/pulumi/cmd", name, "index.js");
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, COMMAND);
  }
  return root;
}

function seen(root: string, command = "run"): Seen {
  return JSON.parse(
    readFileSync(join(root, "node_modules/@pulumi/pulumi/cmd", command, "seen.json"), "utf8"),
  ) as Seen;
}

function infoOf(root: string, options: Options = { typescript: false }) {
  return new language.ProgramInfo()
    .setRootDirectory(root)
    .setProgramDirectory(root)
    .setEntryPoint("index.ts")
    .setOptions(struct.Struct.fromJavaScript(options));
}

interface Host {
  readonly process: ChildProcess;
  readonly client: Client;
}

async function startHost(engine = NOWHERE): Promise<Host> {
  const { process, address } = await startPlugin("pulumi-language-nodejs", engine);
  const client = new services.LanguageRuntimeClient(address, grpc.credentials.createInsecure());
  return { process, client };
}

let host: Host;
beforeAll(async () => {
  host = await startHost();
});
afterAll(() => {
  host.client.close();
  host.process.kill();
});

function runRequest(root: string, options?: Options) {
  const request = new language.RunRequest()
    .setInfo(infoOf(root, options))
    .setMonitorAddress("127.0.0.1:2")
    .setProject("shop")
    .setStack("dev")
    .setOrganization("acme")
    .setParallel(16);
  request.getConfigMap().set("shop:color", "red").set("shop:password", "s3cret");
  return request.setConfigsecretkeysList(["shop:password"]);
}

async function run(request: InstanceType<typeof language.RunRequest>, client = host.client) {
  const response = await called<InstanceType<typeof language.RunResponse>>((callback) =>
    client.run(request, callback),
  );
  return { error: response.getError(), bail: response.getBail() };
}

describe("Run", () => {
  it("runs the program's SDK with the engine's request", async () => {
    const root = program();
    expect(await run(runRequest(root).setDryrun(true).setArgsList(["extra"]))).toEqual({
      error: "",
      bail: false,
    });
    const { args, execArgv, env } = seen(root);
    expect(args).toEqual([
      ...["--monitor", "127.0.0.1:2", "--engine", NOWHERE, "--organization", "acme", "--project", "shop"],
      ...["--root-directory", root, "--stack", "dev", "--pwd", root, "--dry-run", "--parallel", "16"],
      ...["index.ts", "extra"],
    ]);
    expect(execArgv).toEqual([]);
    expect(env).toEqual({
      PULUMI_CONFIG: '{"shop:color":"red","shop:password":"s3cret"}',
      PULUMI_CONFIG_SECRET_KEYS: '["shop:password"]',
    });
  });

  it("omits unset fields of the request", async () => {
    const root = program();
    await run(new language.RunRequest().setInfo(infoOf(root)).setParallel(1));
    expect(seen(root).args).toEqual([
      ...["--engine", NOWHERE, "--root-directory", root, "--pwd", root, "--parallel", "1", "index.ts"],
    ]);
  });

  it.each([
    ["do:exit 0", { error: "", bail: false }],
    ["do:exit 1", { error: "the program ended with exit code 1", bail: false }],
    ["do:exit 32", { error: "", bail: true }],
    ["do:kill", { error: "the program was ended by SIGKILL", bail: false }],
  ])("reports the end of a program: %s", async (what, response) => {
    expect(await run(runRequest(program()).setArgsList([what]))).toEqual(response);
  });

  it("uses the runtime's options", async () => {
    const root = program();
    await run(runRequest(root, { nodeargs: "--stack-size=900 --no-warnings", tsconfig: "other.json" }));
    const { execArgv, env } = seen(root);
    expect(execArgv).toEqual(["--stack-size=900", "--no-warnings"]);
    expect(env["PULUMI_NODEJS_TYPESCRIPT"]).toBe("true");
    expect(env["PULUMI_NODEJS_TSCONFIG_PATH"]).toBe("other.json");
  });

  it("rejects a wrong option of the runtime", async () => {
    const root = program();
    await expect(run(runRequest(root, { typescript: "no" }))).rejects.toMatchObject({
      code: grpc.status.UNKNOWN,
      details: `runtime.options of ${root}: ✖ Invalid input: expected boolean, received string\n  → at typescript`,
    });
  });

  it("names a missing SDK", async () => {
    const root = folder();
    await expect(run(runRequest(root))).rejects.toMatchObject({
      details: `@pulumi/pulumi/cmd/run is missing: run \`npm ci\` in ${root}`,
    });
  });

  it("does not attach a debugger", async () => {
    await expect(run(runRequest(program()).setAttachDebugger(true))).rejects.toMatchObject({
      details: "this language host cannot attach a debugger: set `nodeargs: --inspect-brk` in Pulumi.yaml",
    });
  });
});

describe("a program that hangs", () => {
  async function hanging(client: Client, what = "do:hang") {
    const root = program();
    const request = runRequest(root).setArgsList([what]);
    let call: grpc.ClientUnaryCall | undefined;
    const ended = called<InstanceType<typeof language.RunResponse>>((callback) => {
      call = client.run(request, callback);
    });
    ended.catch(() => undefined);
    const { pid } = await vi.waitFor(() => seen(root), 10_000);
    return { pid, call, ended };
  }

  async function gone(pid: number): Promise<void> {
    await vi.waitFor(() => {
      expect(isAlive(pid)).toBe(false);
    }, 4000);
  }

  it("ends when the engine cancels", async () => {
    const { process: own, client } = await startHost();
    const { pid, ended } = await hanging(client);
    await called((callback) => client.cancel(new empty.Empty(), callback));
    expect((await ended).getError()).toBe("the program was ended by SIGINT");
    expect(isAlive(pid)).toBe(false);
    own.kill();
  });

  it("ends with its call", async () => {
    const { pid, call } = await hanging(host.client);
    call?.cancel();
    await gone(pid);
    expect(await run(runRequest(program()))).toEqual({ error: "", bail: false });
  });

  it("ends within 5 s even if it ignores signals", async () => {
    const { process: own, client } = await startHost();
    const { pid } = await hanging(client, "do:resist");
    own.kill("SIGINT");
    await once(own, "exit");
    expect(isAlive(pid)).toBe(false);
  });

  it.each(["its engine", "SIGTERM", "SIGINT"] as const)("ends with the host: %s", async (way) => {
    const { process: own, client } = await startHost();
    const { pid } = await hanging(client);
    const exit = once(own, "exit");
    if (way === "its engine") own.stdin?.end();
    else own.kill(way);
    expect(await exit).toEqual([0, null]);
    await gone(pid);
  });
});

describe("RunPlugin", () => {
  function pluginRequest(root: string, kind: string, what: string) {
    return new language.RunPluginRequest()
      .setInfo(infoOf(root))
      .setPwd(ROOT)
      .setKind(kind)
      .setArgsList([NOWHERE, what])
      .setEnvList([`PATH=${process.env["PATH"] ?? ""}`, "GREETING=a=b"]);
  }

  async function runPlugin(request: InstanceType<typeof language.RunPluginRequest>) {
    const said = { stdout: "", stderr: "", exitCodes: [] as number[] };
    const call = host.client.runPlugin(request);
    for await (const each of call as AsyncIterable<InstanceType<typeof language.RunPluginResponse>>) {
      said.stdout += Buffer.from(each.getStdout_asU8()).toString();
      said.stderr += Buffer.from(each.getStderr_asU8()).toString();
      if (each.hasExitcode()) said.exitCodes.push(each.getExitcode());
    }
    return said;
  }

  it("runs a policy pack in its own folder", async () => {
    const root = program();
    expect(await runPlugin(pluginRequest(root, "analyzer", "do:exit 0"))).toEqual({
      stdout: "to stdout\n",
      stderr: "to stderr\n",
      exitCodes: [0],
    });
    expect(seen(root, "run-policy-pack")).toMatchObject({
      args: [NOWHERE, "do:exit 0", root],
      cwd: root,
      env: { GREETING: "a=b" },
    });
  });

  it("runs another plugin in the engine's folder", async () => {
    const root = program();
    expect(await runPlugin(pluginRequest(root, "resource", "do:exit 3"))).toMatchObject({ exitCodes: [3] });
    expect(seen(root, "run-plugin")).toMatchObject({ args: [root, NOWHERE, "do:exit 3"], cwd: ROOT });
  });

  it("gives the plugin only the engine's environment", async () => {
    const root = program();
    await runPlugin(pluginRequest(root, "analyzer", "do:exit 0").setEnvList(["ONLY=this"]));
    expect(seen(root, "run-policy-pack").env).toEqual({});
  });

  it("ends a plugin with its call", async () => {
    const root = program();
    const call = host.client.runPlugin(pluginRequest(root, "analyzer", "do:hang"));
    call.on("error", () => undefined).resume();
    const { pid } = await vi.waitFor(() => seen(root, "run-policy-pack"), 10_000);
    call.cancel();
    await vi.waitFor(() => {
      expect(isAlive(pid)).toBe(false);
    }, 4000);
  });

  it("names a missing SDK", async () => {
    const root = folder();
    await expect(runPlugin(pluginRequest(root, "analyzer", "do:exit 0"))).rejects.toMatchObject({
      details: `@pulumi/pulumi/cmd/run-policy-pack is missing: run \`npm ci\` in ${root}`,
    });
  });
});

describe("the host's information", () => {
  it("lists no plugins to download: they are in PULUMI_HOME", async () => {
    const request = new language.GetRequiredPackagesRequest().setInfo(infoOf(ROOT));
    const response = await called<InstanceType<typeof language.GetRequiredPackagesResponse>>((callback) =>
      host.client.getRequiredPackages(request, callback),
    );
    expect(response.getPackagesList()).toEqual([]);
  });

  it("has the versions of the SDK and of Node.js", async () => {
    const info = await called<{ getVersion(): string }>((callback) =>
      host.client.getPluginInfo(new empty.Empty(), callback),
    );
    const { version } = JSON.parse(
      readFileSync(join(ROOT, "node_modules/@pulumi/pulumi/package.json"), "utf8"),
    ) as { version: string };
    expect(info.getVersion()).toBe(version);
    const about = await called<InstanceType<typeof language.AboutResponse>>((callback) =>
      host.client.about(new language.AboutRequest(), callback),
    );
    expect([about.getExecutable(), about.getVersion()]).toEqual([process.execPath, process.version]);
  });

  it("has no other methods", async () => {
    const request = new language.RuntimeOptionsRequest();
    await expect(
      called((callback) => host.client.runtimeOptionsPrompts(request, callback)),
    ).rejects.toMatchObject({ code: grpc.status.UNIMPLEMENTED });
  });
});
