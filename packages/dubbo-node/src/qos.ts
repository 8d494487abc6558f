import type * as http from "node:http";
import { text as bodyOf } from "node:stream/consumers";
import { createServer } from "./http.ts";

/** Permission levels of Dubbo: probes are PUBLIC, most other commands are PROTECTED. */
export type Level = "NONE" | "PUBLIC" | "PROTECTED" | "PRIVATE";
const LEVELS: readonly Level[] = ["NONE", "PUBLIC", "PROTECTED", "PRIVATE"];

/** An answer to a command. */
export interface Answer {
  /** HTTP status (default: 200). */
  readonly code?: number;
  /** Text of the answer. */
  readonly body: string;
  /** Media type of the text (default: plain text). */
  readonly type?: string;
}

/** A command of the QOS server. */
export interface Command {
  /** Level that a caller from another machine needs. */
  readonly level: "PUBLIC" | "PROTECTED" | "PRIVATE";
  /** Effect of the command, for `help`. */
  readonly summary: string;
  run(args: readonly string[]): Answer | Promise<Answer>;
}

/** Rights of callers from other machines. Callers from this machine may run every command. */
export interface Access {
  /** Allows more than the probes. */
  readonly acceptForeignIp: boolean;
  /** Highest level of the allowed commands. */
  readonly level: Level;
  /** Commands that are allowed at any level. */
  readonly allowed: readonly string[];
}

/**
 * Addresses of callers on this machine.
 * The rest of 127.0.0.0/8 does not count: Istio's sidecar delivers requests from other pods from
 * 127.0.0.6.
 */
const LOCAL = new Set(["127.0.0.1", "::1", "::ffff:127.0.0.1"]);

const TEXT = "text/plain; charset=utf-8";

/**
 * Commands that only Dubbo for Java has. Many of them need a registry, telnet or a JVM.
 * Source: Dubbo 3.3.6, META-INF/dubbo/internal/org.apache.dubbo.qos.api.BaseCommand.
 */
const JAVA_ONLY = new Set([
  ...["publishMetadata", "getAddress", "cd", "pwd", "quit", "select", "invoke", "ps", "shutdown", "count"],
  ...["enableDetailProfiler", "disableDetailProfiler", "enableSimpleProfiler", "disableSimpleProfiler"],
  ...["setProfilerWarnPercent", "enableRouterSnapshot", "disableRouterSnapshot", "getRouterSnapshot"],
  ...["getEnabledRouterSnapshot", "getRecentRouterSnapshot", "loggerInfo", "switchLogger"],
  ...["switchLogLevel", "serializeCheckStatus", "serializeWarnedClasses", "metrics_default", "getOpenAPI"],
]);

/** Most bytes of the arguments of a command. */
const BODY_LIMIT = 4096;

/** A liveness check of the application. A check that throws counts as false. */
export type LivenessCheck = () => boolean | Promise<boolean>;

async function holds(check: LivenessCheck): Promise<boolean> {
  try {
    return await check();
  } catch {
    return false;
  }
}

/** Returns a probe: 200 `true` while every check holds, else 503 `false`. */
export function probe(summary: string, ...checks: readonly LivenessCheck[]): Command {
  return {
    level: "PUBLIC",
    summary,
    async run() {
      const results = await Promise.all(checks.map(holds));
      const ok = results.every(Boolean);
      return { code: ok ? 200 : 503, body: String(ok) };
    },
  };
}

function atMost(level: Level, most: Level): boolean {
  return LEVELS.indexOf(level) <= LEVELS.indexOf(most);
}

/** Reports whether a caller may run a command. */
export function mayCall(
  name: string,
  { level }: Command,
  address: string | undefined,
  { acceptForeignIp, level: granted, allowed }: Access,
): boolean {
  if (address !== undefined && LOCAL.has(address)) return true;
  if (!acceptForeignIp) return level === "PUBLIC" && granted !== "NONE";
  return atMost(level, granted) || allowed.includes(name);
}

/** Returns the values of a query or a form, without their names. */
function values(form: string): string[] {
  return [...new URLSearchParams(form).values()];
}

async function body(request: http.IncomingMessage): Promise<string> {
  const length = Number(request.headers["content-length"] ?? Infinity);
  if (length > BODY_LIMIT) throw new Error(`a POST needs a Content-Length of at most ${BODY_LIMIT} bytes`);
  return bodyOf(request);
}

/**
 * Reads name and arguments of a command from `/offline/name`, `/offline?service=name`, or a POST
 * form.
 */
async function parse(request: http.IncomingMessage): Promise<{ name: string; args: string[] }> {
  const [path = "", query = ""] = (request.url ?? "").split(/\?(.*)/s);
  const [name = "", ...rest] = path.slice(1).split("/");
  const form = request.method === "POST" ? await body(request) : query;
  return { name, args: [...rest.filter((part) => part !== "").map(decodeURIComponent), ...values(form)] };
}

/** Returns an HTTP server that answers commands as Dubbo's QOS server does. */
export function qosServer(commands: Readonly<Record<string, Command>>, access: Access): http.Server {
  const answer = async (request: http.IncomingMessage): Promise<Answer> => {
    if (!["GET", "HEAD", "POST"].includes(request.method ?? ""))
      return { code: 405, body: "only GET and POST\n" };
    const { name, args } = await parse(request);
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (command === undefined) {
      const what = JAVA_ONLY.has(name) ? `only Dubbo for Java has the command ${name}` : "no such command";
      return { code: 404, body: `${what}; commands: ${Object.keys(commands).join(", ")}\n` };
    }
    if (!mayCall(name, command, request.socket.remoteAddress, access)) {
      return {
        code: 403,
        body: `${name} may not be called from ${request.socket.remoteAddress ?? "an unknown address"}\n`,
      };
    }
    return command.run(args);
  };
  return createServer((request, response) => {
    void answer(request)
      .catch((error: unknown) => ({ code: 500, body: `${(error as Error).message}\n` }))
      .then(({ code = 200, body: text, type = TEXT }: Answer) => {
        response.writeHead(code, { "content-type": type }).end(text);
      });
  });
}
