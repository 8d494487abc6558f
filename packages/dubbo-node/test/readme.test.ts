import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { freePort } from "../bench/process.ts";
import { eventually } from "./support.ts";

const PROJECT = join(import.meta.dirname, "../../..");
const README = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");

const folder = mkdtempSync(join(tmpdir(), "dubbo-node-readme-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Returns the code block of the README that starts with a line. */
function block(language: string, start: string): string {
  const blocks = [...README.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "gm"))];
  const found = blocks.map(([, text = ""]) => text).find((text) => text.startsWith(start));
  if (found === undefined) throw new Error(`the README has no ${language} block that starts with ${start}`);
  return found;
}

/** Writes the files of the example and generates its code. */
function writeExample(port: number): void {
  const bin = join(PROJECT, "node_modules/.bin");
  symlinkSync(join(PROJECT, "node_modules"), join(folder, "node_modules"));
  mkdirSync(join(folder, "proto"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(join(folder, "proto/hello.proto"), block("proto", "syntax"));
  for (const name of ["provider.ts", "caller.ts"]) {
    const text = block("ts", `// ${name}`);
    expect(text).toMatch(/50_?051/);
    writeFileSync(join(folder, name), text.replace(/50_?051/, String(port)));
  }
  execFileSync("buf", ["generate", join(folder, "proto"), "-o", join(folder, "gen")], {
    cwd: PROJECT,
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"] ?? ""}` },
    stdio: "pipe",
  });
}

/** Sends the README's request in JSON to a port. Returns the answer, and the one in the README. */
async function jsonExample(port: number): Promise<{ answer: string; wanted: string | undefined }> {
  const [, body = "", url = "", wanted] =
    /-d '(.*)' (\S+)\n(.*)\n$/.exec(block("console", "$ curl -H 'content-type: application/json'")) ?? [];
  const headers = { "content-type": "application/json", connection: "close" };
  const response = await fetch(url.replace("50051", String(port)), { method: "POST", headers, body });
  return { answer: await response.text(), wanted };
}

test("runs the example of the README", async () => {
  const port = await freePort();
  writeExample(port);
  const env = {
    PATH: process.env["PATH"],
    DUBBO_APPLICATION_NAME: "hello",
    DUBBO_APPLICATION_QOS_PORT: String(await freePort()),
    DUBBO_SERVICE_SHUTDOWN_WAIT: "0",
  };
  const provider = spawn(process.execPath, ["provider.ts"], { cwd: folder, env, stdio: "pipe" });
  const ended = once(provider, "exit");
  let output = "";
  for (const stream of [provider.stdout, provider.stderr]) {
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  }
  try {
    const caller = await promisify(execFile)(process.execPath, ["caller.ts"], { cwd: folder, env });
    expect(caller.stdout).toMatch(/^hello, mesh$/m);
    const { answer, wanted } = await jsonExample(port);
    expect(answer).toBe(wanted);
    await eventually(`hello started in ${output}`, () => output.includes("hello started") || undefined);
  } finally {
    provider.kill("SIGTERM");
    expect((await ended)[0], output).toBe(0);
  }
});
