import type { Server, ServerResponse } from "node:http";
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { answerGrpc } from "./grpc.ts";
import { Headers } from "./headers.ts";
import { createServer, SESSION_OPTIONS } from "./http.ts";
import { answerRequest, answerStream } from "./json.ts";
import type { Logger } from "./logger.ts";
import type { Serving } from "./served.ts";

/**
 * First bytes of an HTTP/2 connection. No HTTP/1.1 method starts with them. Source: RFC 9113, 3.4.
 */
const HTTP2_START = Buffer.from("PRI");
/** Most bytes of the headers of a request; the default of Node.js for HTTP/2. */
const MOST_HEADER_BYTES = 65_535;
/** Time in which a new connection must send something, ms. */
const FIRST_BYTES_MS = 60_000;
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
  /** Answers over HTTP/1.1 that have not been sent. */
  readonly #answers = new Set<ServerResponse>();
  /** Connections that have not sent anything yet. */
  readonly #silent = new Set<Socket>();

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
      this.#http1.close(() => {
        resolve();
      });
      for (const answer of this.#answers) answer.shouldKeepAlive = false;
      // Sends GOAWAY.
      for (const session of this.#sessions) session.close();
      for (const socket of this.#silent) socket.destroy();
    });
  }

  /** Cuts all connections off. */
  destroy(): void {
    for (const session of this.#sessions) session.destroy();
    this.#http1.closeAllConnections();
  }

  #http2Server(): Http2Server {
    const server = createHttp2Server({
      ...SESSION_OPTIONS,
    });
    server.on("session", (session) => {
      // Read the address now: it is gone after the session ends.
      const address = session.socket.remoteAddress ?? "";
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
      session.on("error", (error: Error) => {
        this.#report(error, address);
      });
      session.on("stream", (stream, headers, _flags, raw: string[]) => {
        const answer = GRPC.test(headers["content-type"] ?? "") ? answerGrpc : answerStream;
        answer(stream, headers, new Headers(raw), address, this.#serving);
      });
    });
    return server;
  }

  #http1Server(): Server {
    const server = createServer(
      { maxHeaderSize: MOST_HEADER_BYTES, keepAliveTimeout: 0 },
      (request, response) => {
        response.shouldKeepAlive &&= server.listening;
        this.#answers.add(response);
        response.on("close", () => this.#answers.delete(response));
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
      this.#http2.emit("connection", socket);
    };
    const decided = (): void => {
      this.#silent.delete(socket);
      socket.off("readable", look).off("close", decided);
      for (const event of ends) socket.off(event, end);
      socket.setTimeout(0);
    };
    this.#silent.add(socket);
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
