/** Programs, policy packs and plugins on Node.js that the language host runs. */
import { createRequire } from "node:module";
import { join } from "node:path";
import language from "@pulumi/pulumi/proto/language_pb.js";
import { execa, parseCommandString } from "execa";
import { z } from "zod";

type Info = InstanceType<typeof language.ProgramInfo>;
type RunRequest = InstanceType<typeof language.RunRequest>;
type RunResponse = InstanceType<typeof language.RunResponse>;
type PluginRequest = InstanceType<typeof language.RunPluginRequest>;
type PluginResponse = InstanceType<typeof language.RunPluginResponse>;

/** Exit code of a program that has already logged its error. Source: @pulumi/pulumi/cmd/run. */
const ERROR_LOGGED = 32;
/** Plugin kind of a policy pack. */
const POLICY_PACK = "analyzer";

/** Options of `runtime` in Pulumi.yaml, with the defaults of Pulumi's language host. */
const runtimeOptions = z.looseObject({
  typescript: z.boolean().default(true),
  tsconfig: z.string().optional(),
  nodeargs: z.string().default(""),
});

/** Arguments and environment of Node.js. */
interface Command {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

function folderOf(info: Info | undefined): string {
  return info?.getProgramDirectory() ?? "";
}

function sdkScript(name: string, folder: string): string {
  const script = `@pulumi/pulumi/cmd/${name}`;
  try {
    return createRequire(join(folder, "package.json")).resolve(script);
  } catch (error) {
    throw new Error(`${script} is missing: run \`npm ci\` in ${folder}`, { cause: error });
  }
}

/** Returns a command of the SDK that the program has installed. */
function sdkCommand(info: Info | undefined, name: string, args: readonly string[]): Command {
  const folder = folderOf(info);
  const options = runtimeOptions.safeParse(info?.getOptions()?.toJavaScript() ?? {});
  if (!options.success) {
    throw new Error(`runtime.options of ${folder}: ${z.prettifyError(options.error)}`);
  }
  const { nodeargs, typescript, tsconfig } = options.data;
  return {
    args: [...parseCommandString(nodeargs), sdkScript(name, folder), ...args],
    env: {
      ...(typescript && { PULUMI_NODEJS_TYPESCRIPT: "true" }),
      ...(tsconfig !== undefined && { PULUMI_NODEJS_TSCONFIG_PATH: tsconfig }),
    },
  };
}

function programCommand(request: RunRequest, engine: string): Command {
  const info = request.getInfo();
  const values = {
    monitor: request.getMonitorAddress(),
    engine,
    organization: request.getOrganization(),
    project: request.getProject(),
    "root-directory": info?.getRootDirectory() ?? "",
    stack: request.getStack(),
    pwd: folderOf(info),
  };
  const flags = Object.entries(values).flatMap(([flag, value]) => (value === "" ? [] : [`--${flag}`, value]));
  const { args, env } = sdkCommand(info, "run", [
    ...flags,
    ...(request.getDryrun() ? ["--dry-run"] : []),
    ...["--parallel", String(request.getParallel())],
    info?.getEntryPoint() ?? ".",
    ...request.getArgsList(),
  ]);
  const config = Object.fromEntries(request.getConfigMap().getEntryList());
  const secretKeys = request.getConfigsecretkeysList();
  return {
    args,
    env: {
      ...env,
      PULUMI_CONFIG: JSON.stringify(config),
      PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(secretKeys),
    },
  };
}

/** Returns options of a process that a cancelled call interrupts, and kills 5 s later. */
function cancellable(cancelled: AbortSignal) {
  return {
    cancelSignal: cancelled,
    killSignal: "SIGINT",
    // This host waits for its processes before it ends.
    cleanup: false,
    reject: false,
    buffer: false,
    stdin: "ignore",
  } as const;
}

/** Runs the program of a stack until it ends. */
export async function run(request: RunRequest, engine: string, cancelled: AbortSignal): Promise<RunResponse> {
  if (request.getAttachDebugger()) {
    throw new Error(
      "this language host cannot attach a debugger: set `nodeargs: --inspect-brk` in Pulumi.yaml",
    );
  }
  const { args, env } = programCommand(request, engine);
  // The engine treats the output of this host as the program's output.
  const options = { ...cancellable(cancelled), env, stdout: "inherit", stderr: "inherit" } as const;
  const { exitCode, signal, shortMessage } = await execa(process.execPath, args, options);
  const response = new language.RunResponse();
  if (exitCode === 0) return response;
  if (exitCode === ERROR_LOGGED) return response.setBail(true);
  if (exitCode !== undefined) return response.setError(`the program ended with exit code ${exitCode}`);
  return response.setError(signal ? `the program was ended by ${signal}` : (shortMessage ?? ""));
}

function environmentOf(request: PluginRequest): Record<string, string> {
  const variables = request.getEnvList().map((line) => {
    const end = line.indexOf("=");
    return [line.slice(0, end), line.slice(end + 1)] as const;
  });
  return Object.fromEntries(variables);
}

/** Runs a policy pack or a Node.js plugin, and forwards its output. */
export async function runPlugin(
  request: PluginRequest,
  cancelled: AbortSignal,
  send: (response: PluginResponse) => void,
): Promise<void> {
  const [info, args] = [request.getInfo(), request.getArgsList()];
  const folder = folderOf(info);
  const isPack = request.getKind() === POLICY_PACK;
  const command = isPack
    ? sdkCommand(info, "run-policy-pack", [...args, folder])
    : sdkCommand(info, "run-plugin", [folder, ...args]);
  const child = execa(process.execPath, command.args, {
    ...cancellable(cancelled),
    cwd: isPack ? folder : request.getPwd(),
    env: { ...environmentOf(request), ...command.env },
    extendEnv: false,
  });
  child.stdout.on("data", (chunk: Buffer) => {
    send(new language.RunPluginResponse().setStdout(chunk));
  });
  child.stderr.on("data", (chunk: Buffer) => {
    send(new language.RunPluginResponse().setStderr(chunk));
  });
  const { exitCode } = await child;
  send(new language.RunPluginResponse().setExitcode(exitCode ?? -1));
}
