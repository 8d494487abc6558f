import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "esbuild";
import { BUNDLE, bundleApplication } from "../../../apps/bundle.ts";
import { UserError } from "../../../common/errors.ts";
import { buildJavaPeer, javaCommand, PEER_JAR, PEER_LIBRARIES } from "../interop/java-peer.ts";
import { Connection } from "./connection.ts";
import { type Command, freePort, ServerProcess } from "./process.ts";

const PROJECT = join(import.meta.dirname, "../../..");
/** Time between two tries to reach a provider, ms. */
const LOOK_MS = 5;
/** Time limit for the start of a provider, ms. */
const START_LIMIT_MS = 60_000;

/** Ports of a provider. */
export interface Ports {
  readonly port: number;
  readonly qosPort: number;
}

export async function freePorts(): Promise<Ports> {
  return { port: await freePort(), qosPort: await freePort() };
}

const { context } = await bundleApplication("provider", { baseImage: "none", platform: "linux/amd64" });

/** Folder with our provider's part of its image. */
export const BUNDLED = join(PROJECT, context);

/** Returns the command of our provider. Variables in `env` take precedence. */
export function ours({ port, qosPort }: Ports, env: Readonly<Record<string, string>> = {}): Command {
  return {
    file: process.execPath,
    args: [join(BUNDLED, "main.mjs")],
    env: {
      DUBBO_APPLICATION_NAME: "our-provider",
      DUBBO_PROTOCOL_PORT: String(port),
      DUBBO_APPLICATION_QOS_PORT: String(qosPort),
      DUBBO_SERVICE_SHUTDOWN_WAIT: "0",
      ...env,
    },
  };
}

/**
 * Returns the options of Node.js in the image.
 * @param node path of a Node.js that must accept them
 * @throws UserError if it rejects them
 */
export function nodeOptions(node: string): string[] {
  const dockerfile = readFileSync(join(PROJECT, "apps/Dockerfile"), "utf8");
  const entry = /^ENTRYPOINT (\[.*\])$/m.exec(dockerfile)?.[1] ?? "[]";
  const options = (JSON.parse(entry) as string[]).slice(1, -1);
  try {
    execFileSync(node, [...options, "--version"], { stdio: "ignore" });
  } catch {
    throw new UserError(
      `${node} does not support the image's options: ${options.join(" ")}`,
      "Set BENCH_NODE to a Node.js of version 22 or newer.",
    );
  }
  return options;
}

/** Bundle of the greeter on the bare transport. */
export const BARE = join(PROJECT, "apps/dist/bare.mjs");

/** Bundles the greeter on the bare transport, as our provider is bundled. */
export async function buildBare(): Promise<void> {
  await build({
    ...BUNDLE,
    entryPoints: [join(import.meta.dirname, "bare.ts")],
    minify: true,
    outfile: BARE,
  });
}

/** Returns the command of the greeter on the bare transport. */
export function bare({ port }: Ports): Command {
  return { file: process.execPath, args: [BARE], env: { DUBBO_PROTOCOL_PORT: String(port) } };
}

/** Returns the command of the Java provider, which also logs every greeting. */
export function java({ port, qosPort }: Ports): Command {
  const options = { port, "qos-port": qosPort, version: "1.0.0", name: "java-provider" };
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const [file, ...args] = javaCommand("Provider", flags);
  return { file, args, env: {} };
}

/**
 * Builds the Java provider if its classes are missing. Replacing the classes would break a running
 * Java process.
 */
export async function buildJava(): Promise<void> {
  if (!existsSync(PEER_JAR)) await buildJavaPeer();
}

/** Returns the size of the Java provider, bytes: its classes and libraries. */
export function javaBytes(): number {
  return statSync(PEER_JAR).size + folderBytes(PEER_LIBRARIES);
}

/** Returns the size of the files in a folder, bytes. */
export function folderBytes(folder: string): number {
  return readdirSync(folder)
    .map((name) => statSync(join(folder, name)).size)
    .reduce((sum, size) => sum + size, 0);
}

async function greeted(port: number): Promise<boolean> {
  const connection = await Connection.open(port).catch(() => undefined);
  if (connection === undefined) return false;
  try {
    await connection.greet("first");
    return true;
  } catch {
    // Java listens before it exports its services.
    return false;
  } finally {
    connection.close();
  }
}

async function listens(port: number): Promise<boolean> {
  const connection = await Connection.open(port).catch(() => undefined);
  connection?.close();
  return connection !== undefined;
}

async function poll(what: string, server: ServerProcess, condition: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + START_LIMIT_MS;
  while (!(await condition())) {
    if (server.ended) throw new Error(`the provider has ended: ${server.stderr}`);
    if (performance.now() > end) throw new Error(`the provider ${what} not within ${START_LIMIT_MS} ms`);
    await sleep(LOOK_MS);
  }
}

/** Waits until a provider answers a greeting. */
export function untilGreeted(port: number, server: ServerProcess): Promise<void> {
  return poll("answers", server, () => greeted(port));
}

/** Waits until a provider listens, without making a call. */
export function untilListening(port: number, server: ServerProcess): Promise<void> {
  return poll("listens", server, () => listens(port));
}
