import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { ServerReflection } from "./gen/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1Alpha } from "./gen/reflection_v1alpha_pb.ts";
import { type DubboService, dubboService } from "./service.ts";
import { type Status, status } from "./status.ts";

/** A question in either version of the protocol. */
type Question =
  | { readonly case: "fileByFilename" | "fileContainingSymbol"; readonly value: string }
  | { readonly case: "allExtensionNumbersOfType" | "listServices"; readonly value: string }
  | { readonly case: "fileContainingExtension"; readonly value: { readonly containingType: string } }
  | { readonly case: undefined; readonly value?: undefined };

interface Request {
  readonly host: string;
  readonly messageRequest: Question;
}

function failure(errorCode: Status, errorMessage: string) {
  return { case: "errorResponse", value: { errorCode, errorMessage } } as const;
}

/** Returns the full names that a file declares: services, methods, messages, enums, extensions. */
function symbolsOf(file: DescFile): string[] {
  const services = file.services.flatMap(({ typeName, methods }) => [
    typeName,
    ...methods.map(({ name }) => `${typeName}.${name}`),
  ]);
  return [...services, ...[...nestedTypes(file)].map(({ typeName }) => typeName)];
}

/** .proto files of services, with their imports. */
class Files {
  readonly #byName = new Map<string, DescFile>();
  readonly #bySymbol = new Map<string, DescFile>();

  constructor(services: readonly DescService[]) {
    for (const { file } of services) this.#add(file);
  }

  #add(file: DescFile): void {
    const { name } = file.proto;
    if (this.#byName.has(name)) return;
    this.#byName.set(name, file);
    for (const symbol of symbolsOf(file)) this.#bySymbol.set(symbol, file);
    for (const imported of file.dependencies) this.#add(imported);
  }

  /** Returns a file by its name or by a symbol in it. */
  find(kind: "fileByFilename" | "fileContainingSymbol", value: string): DescFile | undefined {
    return (kind === "fileByFilename" ? this.#byName : this.#bySymbol).get(value);
  }
}

/** Returns a file and all files that it imports, each once. */
function withImports(file: DescFile, found = new Set<DescFile>()): Set<DescFile> {
  found.add(file);
  for (const imported of file.dependencies) if (!found.has(imported)) withImports(imported, found);
  return found;
}

/** Returns the function that answers questions about the files of `services`. */
function answerer(services: readonly DescService[]) {
  const files = new Files(services);
  return ({ case: kind, value }: Question) => {
    switch (kind) {
      case "listServices": {
        const service = services.map(({ typeName }) => ({ name: typeName }));
        return { case: "listServicesResponse", value: { service } } as const;
      }
      case "fileByFilename":
      case "fileContainingSymbol": {
        const file = files.find(kind, value);
        if (file === undefined) return failure(status.NOT_FOUND, `not found: ${value}`);
        const fileDescriptorProto = [...withImports(file)].map(({ proto }) =>
          toBinary(FileDescriptorProtoSchema, proto),
        );
        return { case: "fileDescriptorResponse", value: { fileDescriptorProto } } as const;
      }
      case "allExtensionNumbersOfType":
        if (files.find("fileContainingSymbol", value) === undefined)
          return failure(status.NOT_FOUND, `not found: ${value}`);
        return { case: "allExtensionNumbersResponse", value: { baseTypeName: value } } as const;
      case "fileContainingExtension":
        return failure(status.NOT_FOUND, `${value.containingType} has no extensions`);
      case undefined:
        return failure(status.INVALID_ARGUMENT, "the request has no question");
    }
  };
}

/**
 * Returns gRPC's reflection services, in versions v1 and v1alpha, for tools such as grpcurl.
 * Source: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
 * @param exported the other services of the server
 */
export function reflectionServices(exported: readonly DubboService[]): DubboService[] {
  const parents = exported.flatMap(({ methods }) => methods.slice(0, 1).map(({ method }) => method.parent));
  const services = [...new Set([...parents, ServerReflection, ServerReflectionV1Alpha])];
  const answer = answerer(services);
  const serverReflectionInfo = async function* <R extends Request>(requests: AsyncIterable<R>) {
    for await (const request of requests)
      yield {
        validHost: request.host,
        originalRequest: request,
        messageResponse: answer(request.messageRequest),
      };
  };
  return [
    dubboService(ServerReflection, { serverReflectionInfo }),
    dubboService(ServerReflectionV1Alpha, { serverReflectionInfo }),
  ];
}
