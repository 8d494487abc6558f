// Serves the greeter's unary method on node:http2 without the SDK, to measure the cost of the
// transport and the handler. It has no checks, no metrics and no deadlines.
import { createServer, type ServerHttp2Stream } from "node:http2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { logger } from "dubbo-node/logger";
import { GreeterReplySchema, GreeterRequestSchema } from "../../../apps/gen/greeter_pb.ts";
import { greeter } from "../../../apps/provider/greeter.ts";
import { Call } from "../src/call.ts";
import { framed } from "../src/frames.ts";
import { Headers } from "../src/headers.ts";

const { greet } = greeter({
  application: "bare-provider",
  version: "v1",
  address: "10.0.0.7:50052",
  log: logger("impl.GreeterImpl"),
});

async function answer(stream: ServerHttp2Stream, raw: string[], chunks: readonly Buffer[]): Promise<void> {
  const request = fromBinary(GreeterRequestSchema, Buffer.concat(chunks).subarray(5));
  const call = new Call({ headers: new Headers(raw), remoteAddress: "127.0.0.1", deadline: Infinity });
  const reply = await greet(request, call);
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => {
    stream.sendTrailers({ "grpc-status": "0" });
  });
  stream.end(framed(toBinary(GreeterReplySchema, create(GreeterReplySchema, reply))));
}

const server = createServer();
server.on("stream", (stream, _headers, _flags, raw: string[]) => {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("end", () => void answer(stream, raw, chunks));
});
server.listen(Number(process.env["DUBBO_PROTOCOL_PORT"]), "127.0.0.1");
