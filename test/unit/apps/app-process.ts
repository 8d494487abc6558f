import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { bundleApplication } from "../../../apps/bundle.ts";
import { freePort } from "../../../packages/dubbo-node/bench/process.ts";
import { eventually } from "../../../packages/dubbo-node/test/support.ts";

const PROJECT = join(import.meta.dirname, "../../..");

// The applications look up DNS names of a cluster. Every name resolves to this machine.
const LOOPBACK_DNS = `data:text/javascript,${encodeURIComponent(
  `import dns from "node:dns"; dns.lookup = (host, options, answer) => answer(null, [{ address: "127.0.0.1", family: 4 }]);`,
)}`;

const bundles = new Map<string, string>();

/** Returns the main module of an application, bundled once per test file. */
async function bundled(name: string): Promise<string> {
  const known = bundles.get(name);
  if (known !== undefined) return known;
  const { context } = await bundleApplication(name, { baseImage: "none", platform: "linux/amd64" });
  const main = join(PROJECT, context, "main.mjs");
  bundles.set(name, main);
  return main;
}

/** Process that runs an application's bundle. */
export class AppProcess {
  readonly port: number;
  readonly qosPort: number;
  /** Text on standard output and standard error. */
  output = "";
  readonly #process: ChildProcess;
  readonly #exit: Promise<number | null>;

  private constructor(main: string, ports: readonly [number, number], environment: Record<string, string>) {
    [this.port, this.qosPort] = ports;
    const env = {
      PATH: process.env["PATH"],
      DUBBO_PROTOCOL_PORT: String(this.port),
      DUBBO_APPLICATION_QOS_PORT: String(this.qosPort),
      DUBBO_SERVICE_SHUTDOWN_WAIT: "0",
      ...environment,
    };
    this.#process = spawn(process.execPath, ["--import", LOOPBACK_DNS, main], { env });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.on("data", (chunk: Buffer) => (this.output += chunk.toString()));
    }
    this.#exit = once(this.#process, "close").then(([code]) => code as number | null);
  }

  /** Starts an application on free ports. */
  static async start(name: string, environment: Record<string, string>): Promise<AppProcess> {
    const ports = [await freePort(), await freePort()] as const;
    return new AppProcess(await bundled(name), ports, environment);
  }

  /** Returns the lines so far, without their time. */
  get lines(): string[] {
    return this.output
      .split("\n")
      .slice(0, -1)
      .map((line) => line.replace(/^\[.*?\] /, ""));
  }

  /** Waits for a line. */
  line(pattern: RegExp): Promise<string> {
    return eventually(`${String(pattern)} in ${this.output}`, () =>
      this.lines.find((line) => pattern.test(line)),
    );
  }

  /** Closes the pipes of its log. */
  closeLog(): void {
    this.#process.stdout?.destroy();
    this.#process.stderr?.destroy();
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Waits for its end, and returns the exit code. */
  exit(): Promise<number | null> {
    return this.#exit;
  }
}
