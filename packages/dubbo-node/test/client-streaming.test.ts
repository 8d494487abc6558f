import { create, createFileRegistry, type DescService } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { file_greeter } from "../../../apps/gen/greeter_pb.ts";
import { DubboReference } from "../src/reference.ts";
import { application, recorder } from "./support.ts";

/** A service with a client stream, which the sample's protos lack. */
function collector(): DescService {
  const message = (name: string): string => `.org.apache.dubbo.samples.${name}`;
  const method = {
    name: "collect",
    clientStreaming: true,
    inputType: message("GreeterRequest"),
    outputType: message("GreeterReply"),
  };
  const file = create(FileDescriptorProtoSchema, {
    name: "collector.proto",
    package: "test",
    syntax: "proto3",
    dependency: [file_greeter.proto.name],
    service: [{ name: "Collector", method: [method] }],
  });
  const service = createFileRegistry(file, () => file_greeter).getService("test.Collector");
  if (service === undefined) throw new Error("the registry has no test.Collector");
  return service;
}

async function joined(requests: AsyncIterable<{ name?: string }>): Promise<{ message: string }> {
  const names: unknown[] = [];
  for await (const { name } of requests) names.push(name);
  return { message: names.join("+") };
}

test("answers a client stream once, after its end", async () => {
  const service = collector();
  const app = application();
  app.export(service, { collect: joined } as never);
  await app.start();
  const reference = new DubboReference(service, {
    target: `127.0.0.1:${app.port}`,
    consumer: "consumer-under-test",
    timeout: 5000,
    log: recorder().log,
  });
  const { collect } = reference.call as unknown as {
    collect: (requests: object[]) => Promise<{ message: string }>;
  };
  expect((await collect([{ name: "a" }, { name: "b" }])).message).toBe("a+b");
  expect((await collect([])).message).toBe("");
  reference.close();
  await app.drain();
});
