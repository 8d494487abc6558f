import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { bundleApplication } from "../../../apps/bundle.ts";
import { freePort } from "../bench/process.ts";
import { eventually } from "../test/support.ts";
import { javaCommand } from "./java-peer.ts";

/** Implementation of a provider or consumer. */
export type Side = "java" | "ours";

/** Options of a provider. */
export interface Setting {
  /** Group of the interface. */
  readonly group?: string;
  /** Rejects calls for a wrong version or group. */
  readonly strict?: boolean;
  /** Serves gRPC's reflection. */
  readonly reflection?: boolean;
}

/** A greeter, version 1.0.0, with the application name `the-provider`. */
export interface RunningProvider {
  readonly port: number;
  readonly stop: () => Promise<void>;
}

/** Time limit for a start. Java starts in 2 s, but needs far longer on a busy machine. */
const START_LIMIT_MS = 60_000;

const PROJECT = join(import.meta.dirname, "../../..");

function javaProvider(port: number, qosPort: number, { group }: Setting): [string, ...string[]] {
  const args = ["--port", port, "--qos-port", qosPort, "--version", "1.0.0", "--name", "the-provider"].map(
    String,
  );
  return javaCommand("Provider", [...args, ...(group === undefined ? [] : ["--group", group])]);
}

async function ourProvider(): Promise<[string, ...string[]]> {
  const { context } = await bundleApplication("provider", { baseImage: "none", platform: "linux/amd64" });
  return [process.execPath, join(PROJECT, context, "main.mjs")];
}

/**
 * Returns the environment, which has the same names for both sides. The Java peer takes its ports
 * as arguments.
 */
function environment(
  port: number,
  qosPort: number,
  { group, strict = false, reflection = false }: Setting,
): Record<string, string> {
  return {
    DUBBO_APPLICATION_NAME: "the-provider",
    DUBBO_PROTOCOL_PORT: String(port),
    DUBBO_APPLICATION_QOS_PORT: String(qosPort),
    DUBBO_SERVICE_SHUTDOWN_WAIT: "0",
    DUBBO_RPC_TRI_RESOLVE_FALLBACK_TO_DEFAULT: String(!strict),
    ...(group !== undefined && { DUBBO_PROVIDER_GROUP: group }),
    ...(reflection && { DUBBO_TRI_BUILTIN_SERVICE_INIT: "true" }),
  };
}

async function stop(provider: ChildProcess): Promise<void> {
  const ended = once(provider, "exit");
  provider.kill("SIGKILL");
  await ended;
}

/** Starts a provider on free ports, and waits until it serves. */
export async function startProvider(side: Side, setting: Setting): Promise<RunningProvider> {
  const [port, qosPort] = [await freePort(), await freePort()];
  const [command, ...args] = side === "java" ? javaProvider(port, qosPort, setting) : await ourProvider();
  const env = { ...process.env, ...environment(port, qosPort, setting) };
  const provider = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [provider.stdout, provider.stderr]) {
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  }
  const started = (): boolean => {
    if (provider.exitCode !== null) throw new Error("it has ended");
    return output.includes("dubbo service started");
  };
  await eventually(`the ${side} provider`, started, START_LIMIT_MS).catch(async (error: unknown) => {
    if (provider.exitCode === null) await stop(provider);
    throw new Error(`the ${side} provider does not start: ${output}`, { cause: error });
  });
  return { port, stop: () => stop(provider) };
}
