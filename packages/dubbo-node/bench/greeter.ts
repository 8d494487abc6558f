import { fromBinary, toBinary, create } from "@bufbuild/protobuf";
import {
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  logVerbosity,
  Metadata,
  setLogVerbosity,
} from "@grpc/grpc-js";
import { Greeter, GreeterReplySchema, GreeterRequestSchema } from "../../../apps/gen/greeter_pb.ts";
import { Health, HealthCheckRequestSchema, HealthCheckResponseSchema } from "../src/gen/health_pb.ts";

setLogVerbosity(logVerbosity.NONE);

/** Full name of the greeter. */
export const SERVICE = Greeter.typeName;

/** Most bytes of a message that the client accepts or sends: above the limit of every provider. */
const CLIENT_LIMIT = 64 * 1024 * 1024;
/** Time limit of a call, ms; long enough for a busy machine. */
const PATIENCE_MS = 30_000;

/** Encodes a request to the greeter. */
export function request(name: string): Buffer {
  return Buffer.from(toBinary(GreeterRequestSchema, create(GreeterRequestSchema, { name })));
}

/** Returns the message in a reply of the greeter. */
export function replyMessage(bytes: Uint8Array): string {
  return fromBinary(GreeterReplySchema, bytes).message;
}

/** Tells if a message is a valid reply to `greet`, from our provider or from Java's. */
export function isGreeting(message: string, name: string): boolean {
  return (
    message.startsWith(`hello,${name}, response from provider`) && message.endsWith(", isProviderSide: true")
  );
}

/** Returns the path of a method of the greeter. */
export function path(method: string): string {
  return `/${SERVICE}/${method}`;
}

/** A client of grpc-js with a separate connection. It uses neither dubbo-node nor retries. */
export class GreeterClient {
  readonly #client: Client;

  constructor(port: number) {
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      "grpc.enable_retries": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_channelz": 0,
      "grpc.max_receive_message_length": CLIENT_LIMIT,
      "grpc.max_send_message_length": CLIENT_LIMIT,
    });
  }

  /** Greets once, checks the reply and returns it. */
  async greet(name: string): Promise<string> {
    const message = await this.#unary(path("greet"), request(name), replyMessage);
    if (!isGreeting(message, name))
      throw new Error(`greet answered ${JSON.stringify(message.slice(0, 200))}`);
    return message;
  }

  /** Tells if the greeter is SERVING. */
  async isServing(): Promise<boolean> {
    const { parent, name } = Health.method.check;
    const asked = toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema, { service: SERVICE }));
    const status = await this.#unary(
      `/${parent.typeName}/${name}`,
      Buffer.from(asked),
      (bytes) => fromBinary(HealthCheckResponseSchema, bytes).status,
    );
    return status === 1;
  }

  /** Opens `greetStream`, which sends names and receives messages. */
  greetStream(): ClientDuplexStream<string, string> {
    const metadata = new Metadata();
    return this.#client.makeBidiStreamRequest(
      path("greetStream"),
      request,
      replyMessage,
      metadata,
      this.#options(),
    );
  }

  /** Opens `greetServerStream`. */
  greetServerStream(name: string): ClientReadableStream<string> {
    const metadata = new Metadata();
    const method = path("greetServerStream");
    return this.#client.makeServerStreamRequest(
      method,
      request,
      replyMessage,
      name,
      metadata,
      this.#options(),
    );
  }

  close(): void {
    this.#client.close();
  }

  #options(): { deadline: number } {
    return { deadline: Date.now() + PATIENCE_MS };
  }

  #unary<T>(method: string, message: Buffer, deserialize: (bytes: Buffer) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        method,
        (bytes: Buffer) => bytes,
        deserialize,
        message,
        new Metadata(),
        this.#options(),
        (error, reply) => {
          if (reply === undefined) reject(error ?? new Error("no reply"));
          else resolve(reply);
        },
      );
    });
  }
}
