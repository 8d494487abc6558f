import { networkInterfaces } from "node:os";
import { create } from "@bufbuild/protobuf";
import { type Greeter, type GreeterReply, GreeterReplySchema } from "../gen/greeter_pb.ts";
import type { Logger } from "../sdk/logger.ts";
import { CONSUMER_HEADER, type Handlers, header } from "../sdk/service.ts";

/** Replies of a server stream. Source: the sample. */
const STREAMED_REPLIES = 10;

/** Who greets. */
export interface GreeterOptions {
  /** Dubbo application name. */
  readonly application: string;
  /** Version of the provider; v1 greets as the seed's only provider does, without a suffix. */
  readonly version: string;
  /** Where the provider listens, `ip:port`. */
  readonly address: string;
  /** Where the greeter logs. */
  readonly log: Logger;
}

/** This host's address as Dubbo reports it: the first IPv4 address that others can reach. */
export function hostAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  return addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
}

function reply(message: string): GreeterReply {
  return create(GreeterReplySchema, { message });
}

/** The sample's greeter, with its words. */
export function greeter(options: GreeterOptions): Handlers<typeof Greeter> {
  const { application, version, address, log } = options;
  const suffix = version === "v1" ? "" : `-${version}`;
  return {
    greet(call, answer) {
      const { name } = call.request;
      log.info(`Server test dubbo tri k8s received greet request name: ${JSON.stringify(name)}`);
      const client = call.getPeer().replace(/:\d+$/, "");
      const remote = header(call.metadata, CONSUMER_HEADER) ?? "null";
      const from = `provider${suffix}: ${address}, client: ${client}, local: ${application}, remote: ${remote}`;
      answer(null, reply(`hello,${name}, response from ${from}, isProviderSide: true`));
    },
    greetStream(call) {
      let count = 0;
      call.on("data", ({ name }: { name: string }) => {
        count += 1;
        log.info(`${name} ${count}`);
        // A caller that does not read is not read from either.
        if (!call.write(reply(`${name} ${count}`))) {
          call.pause();
          call.once("drain", () => call.resume());
        }
      });
      call.on("end", () => {
        call.end();
      });
    },
    greetServerStream(call) {
      for (let index = 0; index < STREAMED_REPLIES; index += 1) {
        call.write(reply(`${call.request.name}--${index}`));
      }
      call.end();
    },
  };
}
