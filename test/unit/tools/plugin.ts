import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import * as grpc from "@grpc/grpc-js";

export const ROOT = resolve(import.meta.dirname, "../../..");
/** Address at which no engine listens. */
export const NOWHERE = "127.0.0.1:1";

/** A running plugin of Pulumi's engine. */
export interface Plugin {
  readonly process: ChildProcess;
  readonly address: string;
}

/** Starts a plugin of tools/engine/bin as the engine does. */
export async function startPlugin(
  name: string,
  engine: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Plugin> {
  const launcher = resolve(ROOT, "tools/engine/bin", name);
  const plugin = spawn(process.execPath, [launcher, "-v=9", engine], {
    cwd: ROOT,
    env: { ...process.env, NODE_OPTIONS: "", ...env },
    stdio: ["pipe", "pipe", "ignore"],
  });
  const [port] = (await once(createInterface(plugin.stdout), "line")) as [string];
  if (!/^\d+$/.test(port)) throw new Error(`${name} printed no port, but ${port}`);
  return { process: plugin, address: `127.0.0.1:${port}` };
}

type Callback<Response> = (error: grpc.ServiceError | null, response: Response) => void;

/** Returns the response to a call. */
export async function called<Response>(call: (callback: Callback<Response>) => void): Promise<Response> {
  return new Promise((done, fail) => {
    call((error, response) => {
      if (error === null) done(response);
      else fail(error);
    });
  });
}

/** Returns a method that answers at once. */
export function answer<Request, Response>(
  by: (request: Request) => Response,
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    callback(null, by(call.request));
  };
}

/** Lets a server listen and returns its address. */
export async function listening(server: grpc.Server): Promise<string> {
  const bind = promisify(server.bindAsync.bind(server));
  return `127.0.0.1:${await bind("127.0.0.1:0", grpc.ServerCredentials.createInsecure())}`;
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
