import { fromBinary, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Metadata } from "@grpc/grpc-js";
import { afterEach, expect, test } from "vitest";
import { ServerReflection } from "../src/gen/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1Alpha } from "../src/gen/reflection_v1alpha_pb.ts";
import { client, provider, rawMethod } from "./support.ts";

type Info = typeof ServerReflection.method.serverReflectionInfo;
type Question = NonNullable<MessageInitShape<Info["input"]>["messageRequest"]>;
type Answer = MessageShape<Info["output"]>["messageResponse"];

const GREETER = "org.apache.dubbo.samples.Greeter";

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ending.splice(0).map((end) => end()));
});

async function started(isOn: boolean): Promise<number> {
  const app = await provider({}, "v1", undefined, { "dubbo.tri.builtin.service.init": isOn });
  ending.push(() => app.drain());
  return app.port;
}

/** Asks on one stream. */
async function ask(
  port: number,
  questions: readonly Question[],
  version = ServerReflection,
): Promise<Answer[]> {
  const { path, requestSerialize, responseDeserialize, frame } = rawMethod(
    version.method.serverReflectionInfo,
  );
  const connection = client(port);
  ending.push(() => {
    connection.close();
  });
  const call = connection.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata());
  for (const messageRequest of questions) call.write(frame({ host: "h", messageRequest }));
  call.end();
  const answers: Answer[] = [];
  for await (const reply of call as AsyncIterable<MessageShape<Info["output"]>>) {
    expect(reply.validHost).toBe("h");
    answers.push(reply.messageResponse);
  }
  return answers;
}

/** Returns the names of the files in an answer. */
function filesIn({ case: kind, value }: Answer): string[] {
  if (kind !== "fileDescriptorResponse") throw new Error(`the answer is ${String(kind)}`);
  return value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name);
}

test.each([
  ["v1", ServerReflection],
  // The messages of both versions are the same.
  ["v1alpha", ServerReflectionV1Alpha as unknown as typeof ServerReflection],
])("lists the services and describes their files, in version %s", async (_name, version) => {
  const [list, ...files] = await ask(
    await started(true),
    [
      { case: "listServices", value: "" },
      { case: "fileContainingSymbol", value: GREETER },
      { case: "fileContainingSymbol", value: `${GREETER}.greetStream` },
      { case: "fileContainingSymbol", value: "org.apache.dubbo.samples.GreeterReply" },
      { case: "fileContainingSymbol", value: "grpc.health.v1.HealthCheckResponse.ServingStatus" },
      { case: "fileByFilename", value: "greeter.proto" },
    ],
    version,
  );
  expect(list).toMatchObject({
    case: "listServicesResponse",
    value: {
      service: [
        { name: GREETER },
        { name: "grpc.health.v1.Health" },
        { name: "grpc.reflection.v1.ServerReflection" },
        { name: "grpc.reflection.v1alpha.ServerReflection" },
      ],
    },
  });
  expect(files.map(filesIn)).toEqual([
    ...[["greeter.proto"], ["greeter.proto"], ["greeter.proto"], ["health.proto"], ["greeter.proto"]],
  ]);
});

test("answers each question that it cannot answer with an error, and goes on", async () => {
  const errors = await ask(await started(true), [
    { case: "fileContainingSymbol", value: "no.Such" },
    { case: "fileByFilename", value: "no.proto" },
    { case: "fileContainingExtension", value: { containingType: GREETER, extensionNumber: 1 } },
    { case: "allExtensionNumbersOfType", value: "no.Such" },
    { case: "allExtensionNumbersOfType", value: "org.apache.dubbo.samples.GreeterReply" },
    { case: undefined },
  ]);
  expect(errors.map(({ value }) => value)).toMatchObject([
    { errorCode: 5, errorMessage: "not found: no.Such" },
    { errorCode: 5, errorMessage: "not found: no.proto" },
    { errorCode: 5, errorMessage: `${GREETER} has no extensions` },
    { errorCode: 5, errorMessage: "not found: no.Such" },
    { baseTypeName: "org.apache.dubbo.samples.GreeterReply", extensionNumber: [] },
    { errorCode: 3, errorMessage: "the request has no question" },
  ]);
});

test("is off by default", async () => {
  await expect(ask(await started(false), [{ case: "listServices", value: "" }])).rejects.toThrow(
    "12 UNIMPLEMENTED",
  );
});
