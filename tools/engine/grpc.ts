import * as grpc from "@grpc/grpc-js";
import { messageOf, UserError } from "../../common/errors.ts";

/** Returns a signal that aborts when the caller stops waiting. */
export function cancellationOf(
  call: grpc.ServerUnaryCall<unknown, unknown> | grpc.ServerWritableStream<unknown, unknown>,
) {
  const cancelled = new AbortController();
  call.on("cancelled", () => {
    cancelled.abort();
  });
  return cancelled.signal;
}

/** Returns the status of a failed call. The engine prints its details as one error. */
export function failure(error: unknown): Partial<grpc.StatusObject> {
  const fix = error instanceof UserError ? `\n${error.fix}` : "";
  return { code: grpc.status.UNKNOWN, details: `${messageOf(error)}${fix}` };
}

/** Converts a function to a gRPC method. See {@link cancellationOf} for its signal. */
export function unary<Request, Response>(
  answer: (request: Request, cancelled: AbortSignal) => Promise<Response> | Response,
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const work = async () => answer(call.request, cancellationOf(call));
    work().then(
      (response) => {
        callback(null, response);
      },
      (error: unknown) => {
        callback(failure(error));
      },
    );
  };
}

/**
 * Serves a plugin of Pulumi's engine and prints its port. The server ends when the engine closes
 * standard input.
 * @param stop stops the processes of the plugin
 */
export function listen(
  service: grpc.ServiceDefinition,
  methods: grpc.UntypedServiceImplementation,
  stop: () => void,
): void {
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  server.addService(service, methods);
  const end = () => {
    process.stdin.destroy();
    stop();
    server.forceShutdown();
  };
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, end);
  process.stdin.once("close", end).resume();
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error;
    process.stdout.write(`${port}\n`);
  });
}
