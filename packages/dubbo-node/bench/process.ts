import { type ChildProcess, execFileSync, spawn, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Command line of a server. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  /** Environment variables in addition to PATH. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Target of a server's standard output: /dev/null, or this process, which keeps the warnings and
 * errors of our logger.
 */
export type Output = "none" | "watched";

/** Memory of a process, bytes. */
export interface Memory {
  /** Resident memory, including shared pages. */
  readonly rss: number;
  /** Resident memory; a page that n processes share counts as 1/n. */
  readonly pss: number;
  /** Resident memory without shared pages. */
  readonly uss: number;
}

/** Ticks per second in the times of /proc: USER_HZ, 100 on every Linux. */
const TICKS = 100;
/** Pattern of our warnings and errors. */
const PROBLEM = "^\\[[^]]*\\] main +(WARN|ERROR) ";

// Collects three times, with a pause between. An object with a finalizer is freed one collection
// later.
const HEAP_HOOK = `data:text/javascript,${encodeURIComponent(`
  process.on("message", async () => {
    for (let time = 0; time < 3; time += 1) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    process.send(process.memoryUsage());
  });
  process.on("disconnect", () => process.exit(1));
  process.channel.unref();
`)}`;

/** File descriptors of a pipe. */
interface Pipe {
  readonly read: number;
  readonly write: number;
}

/**
 * Opens a kernel pipe, like the standard output of a container. The `spawn` of Node.js makes a
 * socket instead.
 */
function openPipe(): Pipe {
  const folder = mkdtempSync(join(tmpdir(), "bench-apps-"));
  const path = join(folder, "pipe");
  try {
    execFileSync("mkfifo", [path]);
    // Opening one end blocks until the other is open. The ends need separate descriptions: Node.js
    // sets a shared one to non-blocking.
    const both = openSync(path, "r+");
    const pipe = { read: openSync(path, "r"), write: openSync(path, "w") };
    closeSync(both);
    return pipe;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Reports every problem that a server logs. grep is fast enough for any amount of output. */
function watchProblems({ read }: Pipe, found: (line: string) => void): void {
  const grep = spawn("grep", ["--line-buffered", "--text", "-E", PROBLEM], {
    stdio: [read, "pipe", "inherit"],
    env: { PATH: process.env["PATH"], LC_ALL: "C" },
  });
  if (grep.stdout !== null) createInterface({ input: grep.stdout }).on("line", found);
}

/** A server in a separate process, with its figures from the kernel. */
export class ServerProcess {
  /** Standard error so far. */
  stderr = "";
  /** Warnings and errors in the log, if the output is watched. */
  readonly problems: string[] = [];
  /** Exit code at the end; null after a signal. */
  readonly exit: Promise<number | null>;
  readonly #process: ChildProcess;
  readonly #pid: number;
  #ended = false;

  constructor({ file, args, env }: Command, output: Output) {
    const pipe = output === "watched" ? openPipe() : undefined;
    const stdio: StdioOptions =
      pipe === undefined ? ["ignore", "ignore", "pipe"] : ["ignore", pipe.write, "pipe", "ipc"];
    this.#process = spawn(file, args, { env: { PATH: process.env["PATH"], ...env }, stdio });
    this.#pid = this.#process.pid ?? 0;
    this.#process.stderr?.on("data", (chunk: Buffer) => (this.stderr += chunk.toString()));
    if (pipe !== undefined) {
      watchProblems(pipe, (line) => this.problems.push(line));
      // The pipe must close with the server, so that grep ends too.
      closeSync(pipe.read);
      closeSync(pipe.write);
    }
    this.exit = once(this.#process, "close").then(([code]) => {
      this.#ended = true;
      return code as number | null;
    });
  }

  /** Starts a Node.js server whose heap {@link heap} can read. */
  static withHeap({ file, args, env }: Command): ServerProcess {
    return new ServerProcess({ file, args: ["--expose-gc", "--import", HEAP_HOOK, ...args], env }, "watched");
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** User and system time of all threads so far, seconds; the resolution is 0.01 s. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.#pid}/stat`, "utf8");
    // The name in brackets may contain anything. utime and stime are the 12th and 13th field after
    // it. Source: proc(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  }

  /** Returns the number of open files and sockets. */
  openFiles(): number {
    return readdirSync(`/proc/${this.#pid}/fd`).length;
  }

  /** Returns the largest resident memory so far, bytes. */
  peakRss(): number {
    const status = readFileSync(`/proc/${this.#pid}/status`, "utf8");
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? Number.NaN) * 1024;
  }

  memory(): Memory {
    const rollup = readFileSync(`/proc/${this.#pid}/smaps_rollup`, "utf8");
    const bytes = (name: string): number =>
      Number(new RegExp(`^${name}: +(\\d+) kB`, "m").exec(rollup)?.[1] ?? Number.NaN) * 1024;
    return { rss: bytes("Rss"), pss: bytes("Pss"), uss: bytes("Private_Clean") + bytes("Private_Dirty") };
  }

  /**
   * Returns the memory usage that Node.js reports after full collections.
   * The server must be started by {@link withHeap}.
   */
  async heap(): Promise<NodeJS.MemoryUsage> {
    this.#process.send("collect");
    const [usage] = (await Promise.race([
      once(this.#process, "message"),
      this.exit.then((code) =>
        Promise.reject(new Error(`the server has ended with ${String(code)}: ${this.stderr}`)),
      ),
    ])) as [NodeJS.MemoryUsage];
    return usage;
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Kills the server, and waits for its end. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.exit;
  }
}

/** Returns a free port, below the range of the ports for outgoing connections. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer().listen(port, "0.0.0.0");
    const free = await once(server, "listening").then(
      () => true,
      () => false,
    );
    server.close();
    if (free) return port;
  }
}
