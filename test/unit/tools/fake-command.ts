import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Answer of a fake command: its output, and its exit code (default: 0). */
export interface Answer {
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number;
  /** Text for the file of `--event-log`, one event a line. */
  readonly events?: readonly object[];
}

/** One call of a fake command. */
export interface Call {
  readonly args: readonly string[];
  /** Complete standard input. */
  readonly stdin: string;
  /** Working directory. */
  readonly directory: string;
  /** Environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Path of the copied file of `--config-file`; the file may be missing. */
  readonly configFile: string;
}

/** A command that records its calls and gives the test's answers. */
export interface FakeCommand {
  /** Folder of the command, for PATH. */
  readonly folder: string;
  /** Its calls so far, in order. */
  calls(): Call[];
}

// The script uses only the shell's own commands and full paths, because PATH may have nothing else.
function script(notes: string, readsInput: boolean): string {
  return `#!/bin/sh
n=1
until /bin/mkdir "${notes}/$n" 2>/dev/null; do n=$((n + 1)); done
printf '%s\\0' "$@" > "${notes}/$n/args"
/usr/bin/env -0 > "${notes}/$n/env"
pwd > "${notes}/$n/pwd"
previous=
for each in "$@"; do
  [ "$previous" != --config-file ] || /bin/cp -p "$each" "${notes}/$n/config"
  previous=$each
done
${readsInput ? "/bin/cat" : ":"} > "${notes}/$n/stdin"
[ -e "${notes}/$n.sh" ] || { echo "call $n of a fake that expects fewer: $*" >&2; exit 97; }
. "${notes}/$n.sh"
`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The reader of the log reads it a few times a second. */
function eventsScript(events: readonly object[]): string {
  if (events.length === 0) return "";
  const lines = events.map((event) => `${JSON.stringify(event)}\n`).join("");
  const find = 'while [ $# -gt 1 ] && [ "$1" != --event-log ]; do shift; done';
  return `${find}\nprintf %s ${quoted(lines)} >> "$2"\n/bin/sleep 0.6\n`;
}

function answerScript({ stdout = "", stderr = "", code = 0, events = [] }: Answer): string {
  return `${eventsScript(events)}printf %s ${quoted(stdout)}\nprintf %s ${quoted(stderr)} >&2\nexit ${code}\n`;
}

function parts(path: string): string[] {
  return readFileSync(path, "utf8").split("\0").slice(0, -1);
}

function readCall(folder: string): Call {
  const env = parts(join(folder, "env")).map((line) => [
    line.slice(0, line.indexOf("=")),
    line.slice(line.indexOf("=") + 1),
  ]);
  return {
    args: parts(join(folder, "args")),
    stdin: readFileSync(join(folder, "stdin"), "utf8"),
    directory: readFileSync(join(folder, "pwd"), "utf8").trim(),
    env: Object.fromEntries(env) as Record<string, string>,
    configFile: join(folder, "config"),
  };
}

/**
 * Writes a command with this name into a new folder. Each call gets the next answer; a call without
 * an answer fails.
 * @param readsInput reads the standard input to its end; a test with an open input then never ends
 */
export function fakeCommand(name: string, answers: readonly Answer[], readsInput = true): FakeCommand {
  const folder = mkdtempSync(join(tmpdir(), "dubbo-mesh-bin-"));
  const notes = mkdtempSync(join(tmpdir(), "dubbo-mesh-calls-"));
  writeFileSync(join(folder, name), script(notes, readsInput), { mode: 0o755 });
  answers.forEach((answer, index) => {
    writeFileSync(join(notes, `${index + 1}.sh`), answerScript(answer));
  });
  return {
    folder,
    calls: () => {
      const calls: Call[] = [];
      while (existsSync(join(notes, String(calls.length + 1)))) {
        calls.push(readCall(join(notes, String(calls.length + 1))));
      }
      return calls;
    },
  };
}
