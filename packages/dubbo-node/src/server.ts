import type { Server, ServerResponse } from "node:http";
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from "node:http2";
import { type AddressInfo, Server as NetServer, type Socket } from "node:net";
import { answerGrpc } from "./grpc.ts";
import { Headers } from "./headers.ts";
import { createServer, SESSION_OPTIONS } from "./http.ts";
import { answerRequest, answerStream } from "./json.ts";
import type { Logger } from "./logger.ts";
import type { Serving } from "./served.ts";
import { ignored, later } from "./streams.ts";

/**
 * First bytes of an HTTP/2 connection. No HTTP/1.1 method starts with them. Source: RFC 9113, 3.4.
 */
const HTTP2_START = Buffer.from("PRI");
/** Most bytes of the headers of a request; the default of Node.js for HTTP/2. */
const MOST_HEADER_BYTES = 65_535;
/** Time in which a new connection must send something, ms. */
const FIRST_BYTES_MS = 60_000;
/**
 * Calls that may be cancelled on one connection: at once, and each second after that. Behind a
 * sidecar all callers share a connection, and the default of Node.js, 1,000 and 33, would end it.
 */
const RESETS = { streamResetBurst: 10_000, streamResetRate: 10_000 };
/** Content type of gRPC, with or without the format `+proto`. */
const GRPC = /^application\/grpc(\+proto)?(;|$)/;
/** Error codes of connections that end normally, and are not logged. */
const USUAL_ENDS = new Set(["ECONNRESET", "EPIPE", "HPE_INVALID_EOF_STATE"]);

/**
 * Triple server: gRPC over HTTP/2, and JSON over HTTP/1.1 and HTTP/2, on one port.
 */
export class TripleServer {
  readonly #serving: Serving;
  readonly #log: Logger;
  readonly #http2: Http2Server;
  /** Listens, and serves the connections that are not HTTP/2. */
  readonly #http1: Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  /**
   * All connections, with the answers over HTTP/1.1 that are under way, in their order; undefined
   * for HTTP/2, whose sessions know their calls.
   */
  readonly #sockets = new Map<Socket, ServerResponse[] | undefined>();

  /**
   * @param served services, and the options of their calls
   * @param log logger for faults of connections
   */
  constructor(served: Serving, log: Logger) {
    this.#serving = served;
    this.#log = log;
    this.#http2 = this.#http2Server();
    this.#http1 = this.#http1Server();
  }

  /**
   * Starts to listen, and returns the port.
   * @throws Error of Node.js if the port is not available
   */
  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#http1.once("error", reject).listen(port, host, () => {
        this.#http1.off("error", reject);
        resolve((this.#http1.address() as AddressInfo).port);
      });
    });
  }

  /** Refuses new calls, and waits for the calls in flight. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      // The method of node:http also cuts off answers that are still being sent.
      NetServer.prototype.close.call(this.#http1, () => {
        resolve();
      });
      // Sends GOAWAY.
      for (const session of this.#sessions) session.close();
      for (const [socket, answers] of this.#sockets) {
        const last = answers?.at(-1);
        if (last !== undefined) last.shouldKeepAlive = false;
        else if (answers !== undefined) socket.destroy();
      }
    });
  }

  /** Cuts all connections off. */
  destroy(): void {
    for (const socket of this.#sockets.keys()) socket.destroy();
  }

  #http2Server(): Http2Server {
    const server = createHttp2Server({ ...SESSION_OPTIONS, ...RESETS });
    server.on("session", (session) => {
      // Read the address now: it is gone after the session ends.
      const address = session.socket.remoteAddress ?? "";
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
      session.on("error", (error: Error) => {
        this.#report(error, address);
      });
      session.on("stream", (stream, fields, _flags, raw: string[]) => {
        stream.on("error", ignored);
        const answer = GRPC.test(fields["content-type"] ?? "") ? answerGrpc : answerStream;
        answer({ stream, fields, headers: new Headers(raw), remoteAddress: address }, this.#serving);
      });
    });
    return server;
  }

  #http1Server(): Server {
    const server = createServer(
      { maxHeaderSize: MOST_HEADER_BYTES, keepAliveTimeout: 0, keepAlive: true },
      (request, response) => {
        this.#track(request.socket, response);
        answerRequest(request, response, this.#serving);
      },
    );
    const [serveHttp1] = server.listeners("connection");
    server.removeAllListeners("connection").on("connection", (socket: Socket) => {
      this.#recognize(socket, () => {
        serveHttp1?.call(server, socket);
      });
    });
    server.on("clientError", (error, socket) => {
      this.#report(error, (socket as Socket).remoteAddress);
      if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
    });
    return server;
  }

  /** Keeps an answer over HTTP/1.1 until it has been sent. */
  #track(socket: Socket, answer: ServerResponse): void {
    const answers = this.#sockets.get(socket) ?? [];
    answers.push(answer);
    answer.shouldKeepAlive &&= this.#http1.listening;
    answer.on("close", () => {
      answers.splice(answers.indexOf(answer), 1);
      // An answer that said nothing of the end of the connection, since the drain began later.
      if (!this.#http1.listening && answers.length === 0) socket.destroySoon();
    });
  }

  /** Waits for the first bytes of a connection, which tell its protocol. */
  #recognize(socket: Socket, serveHttp1: () => void): void {
    let seen = Buffer.alloc(0);
    const ends = ["end", "timeout", "error"];
    const end = (): void => {
      socket.destroy();
    };
    const look = (): void => {
      const bytes = socket.read() as Buffer | null;
      if (bytes === null) return;
      seen = Buffer.concat([seen, bytes]);
      const start = seen.subarray(0, HTTP2_START.length);
      const mayBeHttp2 = HTTP2_START.subarray(0, start.length).equals(start);
      if (mayBeHttp2 && start.length < HTTP2_START.length) return;
      decided();
      socket.unshift(seen);
      if (!mayBeHttp2) {
        serveHttp1();
        return;
      }
      // In HTTP/2, unlike HTTP/1.1, the connection ends when the caller ends its side.
      socket.allowHalfOpen = false;
      this.#sockets.set(socket, undefined);
      this.#http2.emit("connection", socket);
    };
    const decided = (): void => {
      socket.off("readable", look).off("close", decided);
      for (const event of ends) socket.off(event, end);
      socket.setTimeout(0);
    };
    this.#sockets.set(socket, []);
    socket.on("close", () => this.#sockets.delete(socket));
    // A peer may keep its side open for as long as it likes.
    socket.on("finish", () => {
      later(socket, () => {
        socket.destroy();
      });
    });
    socket.setTimeout(FIRST_BYTES_MS);
    socket.on("readable", look).on("close", decided);
    for (const event of ends) socket.on(event, end);
  }

  /** Logs a fault of a connection, such as bytes that are not HTTP. */
  #report(error: Error, address = ""): void {
    if (USUAL_ENDS.has((error as NodeJS.ErrnoException).code ?? "")) return;
    this.#log.warn(`connection of ${address}: ${error.message}`);
  }
}
