import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { execa } from "execa";
import { step } from "../../../common/steps.ts";
import { comparable, report } from "./report.ts";

/** gRPC libraries of the Go peer. */
export const GO_LIBRARIES = ["grpc-go", "connect-go"] as const;
/** A gRPC library of the Go peer. */
export type GoLibrary = (typeof GO_LIBRARIES)[number];

const GO = join(import.meta.dirname, "go");
const GO_PEER = join(GO, "target/peer");
const PYTHON = join(import.meta.dirname, "python");
const VENV = join(PYTHON, ".venv");

/** Returns true if a program can be run. Otherwise it prints what is skipped. */
export async function available(program: string, args: readonly string[]): Promise<boolean> {
  const { failed } = await execa(program, args, { reject: false });
  if (failed) process.stderr.write(`  skipped: tests with ${program}, which is missing\n`);
  return !failed;
}

/** Builds the Go peer. The first build downloads its libraries. */
export async function buildGoPeer(): Promise<void> {
  await step("build the Go peer (20 s the first time)", () =>
    execa("go", ["build", "-buildvcs=false", "-o", GO_PEER, "."], { cwd: GO }),
  );
}

/** Installs grpcio in a separate folder, unless the pinned version is there. */
export async function installPythonPeer(): Promise<void> {
  const [wanted, installed] = [join(PYTHON, "requirements.txt"), join(VENV, "requirements.txt")];
  const found = await readFile(installed, "utf8").catch(() => undefined);
  if (found === (await readFile(wanted, "utf8"))) return;
  await step("install grpcio (10 s)", async () => {
    await execa("python3", ["-m", "venv", "--clear", VENV]);
    await execa(join(VENV, "bin/pip"), ["install", "--quiet", "--requirement", wanted]);
    await copyFile(wanted, installed);
  });
}

/** Runs a client, and returns its results by scenario. */
async function results(program: string, args: readonly string[]): Promise<Record<string, object>> {
  const { stdout } = await execa(program, args);
  const reports = stdout.split("\n").map((line) => report.parse(JSON.parse(line)));
  return Object.fromEntries(reports.map((each) => [each.scenario, comparable(each)]));
}

/** Runs the scenarios of a Go client. */
export function goClient(library: GoLibrary, port: number): Promise<Record<string, object>> {
  return results(GO_PEER, ["client", "--library", library, "--address", `127.0.0.1:${port}`]);
}

/** Runs the scenarios of grpcio's client. */
export function pythonClient(port: number): Promise<Record<string, object>> {
  return results(join(VENV, "bin/python"), [join(PYTHON, "client.py"), `127.0.0.1:${port}`]);
}

/** A started server of the Go peer. */
export interface GoServer {
  readonly port: number;
  readonly process: ChildProcess;
}

/** Starts a server of the Go peer on a free port. */
export async function startGoServer(library: GoLibrary): Promise<GoServer> {
  const args = ["server", "--library", library, "--port", "0"];
  const started = spawn(GO_PEER, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(createInterface(started.stdout), "line")) as [string];
  return { port: Number(line), process: started };
}
