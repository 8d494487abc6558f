/** A client of the cluster's API server, as its administrator: a request costs milliseconds, kubectl half a second. */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { pki } from "./certificates.ts";
import { NODE_IP } from "./local.ts";

const TIMEOUT_MS = 5_000;

/** An answer of the API server. */
export interface Answer {
  /** The HTTP status, or 0 when there was no answer. */
  readonly status: number;
  readonly body: string;
}

/** One request; `body` is sent as JSON. Does not throw: no answer is status 0. */
export async function api(method: "GET" | "POST", path: string, body?: unknown): Promise<Answer> {
  try {
    return await exchange(method, path, body === undefined ? undefined : JSON.stringify(body));
  } catch (error) {
    return { status: 0, body: String(error) };
  }
}

function exchange(method: string, path: string, body: string | undefined): Promise<Answer> {
  const options = {
    host: NODE_IP,
    port: 6443,
    method,
    path,
    ca: readFileSync(pki("ca.crt")),
    cert: readFileSync(pki("admin.crt")),
    key: readFileSync(pki("admin.key")),
    headers: { "content-type": "application/json" },
    timeout: TIMEOUT_MS,
    agent: false as const,
  };
  return new Promise((resolve, reject) => {
    const call = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
      });
    });
    call.on("error", reject);
    call.on("timeout", () => call.destroy(new Error("timeout")));
    call.end(body);
  });
}
