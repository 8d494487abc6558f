import { type ChildProcess, execFileSync, spawn, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** How a server is started. */
export interface Command {
  /** The program. */
  readonly file: string;
  /** Its arguments. */
  readonly args: readonly string[];
  /** Variables beside PATH. */
  readonly env: Readonly<Record<string, string>>;
}

/** Where a server's standard output goes: to /dev/null, or to this process, which keeps the warnings and errors of our logger. */
export type Output = "none" | "watched";

/** Memory of a process, bytes. */
export interface Memory {
  /** Resident, pages shared with other processes included. */
  readonly rss: number;
  /** Resident, a shared page counted by its share. */
  readonly pss: number;
  /** Resident and not shared. */
  readonly uss: number;
}

/** Ticks a second of the times in /proc: USER_HZ, 100 on every Linux. */
const TICKS = 100;
/** Lines of our logger that a peer must not be able to cause. */
const PROBLEM = "^\\[[^]]*\\] main +(WARN|ERROR) ";

// Collects three times, with a turn of the event loop between: what has a finalizer goes one collection later.
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

/** The ends of a pipe. */
interface Pipe {
  readonly read: number;
  readonly write: number;
}

/** A pipe of the kernel, as a container's standard output is; what node's `spawn` makes is a socket. */
function openPipe(): Pipe {
  const folder = mkdtempSync(join(tmpdir(), "bench-apps-"));
  const path = join(folder, "pipe");
  try {
    execFileSync("mkfifo", [path]);
    // Each end would wait for the other one. They must not be one description, which node makes non-blocking.
    const both = openSync(path, "r+");
    const pipe = { read: openSync(path, "r"), write: openSync(path, "w") };
    closeSync(both);
    return pipe;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Gives every problem that a server logs; grep keeps up with whatever it writes. */
function watchProblems({ read }: Pipe, found: (line: string) => void): void {
  const grep = spawn("grep", ["--line-buffered", "--text", "-E", PROBLEM], {
    stdio: [read, "pipe", "inherit"],
    env: { PATH: process.env["PATH"], LC_ALL: "C" },
  });
  if (grep.stdout !== null) createInterface({ input: grep.stdout }).on("line", found);
}

/** A server as a process of its own, and what the kernel says of it. */
export class ServerProcess {
  /** What it has written on standard error. */
  stderr = "";
  /** Warnings and errors that it has logged, where its output is watched. */
  readonly problems: string[] = [];
  /** Its exit code once it has ended; null where a signal has ended it. */
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
      // The pipe ends with the server, so that grep does too.
      closeSync(pipe.read);
      closeSync(pipe.write);
    }
    this.exit = once(this.#process, "close").then(([code]) => {
      this.#ended = true;
      return code as number | null;
    });
  }

  /** A server of node whose heap {@link heap} can read. */
  static withHeap({ file, args, env }: Command): ServerProcess {
    return new ServerProcess({ file, args: ["--expose-gc", "--import", HEAP_HOOK, ...args], env }, "watched");
  }

  /** Whether it has ended. */
  get ended(): boolean {
    return this.#ended;
  }

  /** User and system time of all its threads so far, seconds; counted in hundredths. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.#pid}/stat`, "utf8");
    // The name, in brackets, may hold anything; utime and stime are the 12th and 13th field after it. Source: proc(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  }

  /** Files and sockets that it has open. */
  openFiles(): number {
    return readdirSync(`/proc/${this.#pid}/fd`).length;
  }

  /** The most that was ever resident, bytes. */
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

  /** What node says of its memory after full collections; for a server that was started with {@link withHeap}. */
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

  /** Ends it at once. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.exit;
  }
}

/** A port that nobody listens on, below the range from which connections get theirs. */
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
