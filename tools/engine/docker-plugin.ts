import { posix } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { credentials } from "@grpc/grpc-js";
import engineServices from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import engine from "@pulumi/pulumi/proto/engine_pb.js";
import plugin from "@pulumi/pulumi/proto/plugin_pb.js";
import services, { type IResourceProviderServer } from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { z } from "zod";
import { IMAGE_TYPE } from "../../settings/names.ts";
import type { BuildOptions } from "./images.ts";
import { listen, unary } from "./grpc.ts";

type Struct = InstanceType<typeof struct.Struct>;
type Properties = ReturnType<Struct["toJavaScript"]>;

/** Version of the plugin that this stand-in replaces. */
export const VERSION = "5.2.0";
/** Placeholder for an unknown value in a preview. Source: UnknownStringValue of Pulumi's Go SDK. */
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

function unsupported(input: string): string {
  return (
    `the stand-in for Pulumi's Docker plugin does not support ${input}. ` +
    `Leave it out, or install the plugin: pulumi plugin install resource docker ${VERSION}`
  );
}

/** Supported inputs of an image. The real plugin has more. */
export const imageInputs = z.strictObject({
  imageName: z.string(),
  build: z.strictObject({
    context: z.string(),
    dockerfile: z.string(),
    platform: z.string(),
    network: z.string(),
    args: z.record(z.string(), z.string()),
  }),
  skipPush: z.boolean().optional(),
  buildOnPreview: z.literal(false, unsupported("buildOnPreview")).optional(),
});

/** Configuration of the provider. The engine adds the version. */
const providerInputs = z.strictObject({ host: z.string().optional(), version: z.string().optional() });

function plain(properties: Struct | undefined): Properties {
  return properties?.toJavaScript() ?? {};
}

/** Returns the failures of a check, one for each wrong or unsupported input. */
function failuresOf(schema: z.ZodType, inputs: Properties) {
  const issues = schema.safeParse(inputs).error?.issues ?? [];
  return issues.flatMap((issue) => {
    const path = issue.path.map(String);
    const failure = (property: string, reason: string) =>
      new provider.CheckFailure().setProperty(property).setReason(reason);
    if (issue.code !== "unrecognized_keys") return [failure(path.join("."), issue.message)];
    const inputs = issue.keys.map((key) => [...path, key].join("."));
    return inputs.map((input) => failure(input, unsupported(input)));
  });
}

function check(schema: z.ZodType, news: Struct | undefined) {
  return new provider.CheckResponse().setInputs(news).setFailuresList(failuresOf(schema, plain(news)));
}

/** Compares inputs field by field. No change replaces the image. */
function diff(olds: Properties, news: Properties) {
  const { Kind } = provider.PropertyDiff;
  const response = new provider.DiffResponse().setHasdetaileddiff(true);
  const changed = [...new Set([...Object.keys(olds), ...Object.keys(news)])]
    .filter((key) => !isDeepStrictEqual(olds[key], news[key]))
    .sort();
  for (const key of changed) {
    const kind = key in olds ? (key in news ? Kind.UPDATE : Kind.DELETE) : Kind.ADD;
    response.getDetaileddiffMap().set(key, new provider.PropertyDiff().setKind(kind).setInputdiff(true));
  }
  const { DIFF_NONE, DIFF_SOME } = provider.DiffResponse.DiffChanges;
  return response.setDiffsList(changed).setChanges(changed.length === 0 ? DIFF_NONE : DIFF_SOME);
}

/** Returns an image's outputs. The digest is unknown until the image is built. */
function outputs(properties: Properties, repoDigest = UNKNOWN): Struct {
  const { imageName, build } = imageInputs.parse(properties);
  const { context, dockerfile, platform } = build;
  return struct.Struct.fromJavaScript({
    imageName,
    baseImageName: imageName,
    context,
    dockerfile: posix.relative(context, dockerfile),
    platform,
    registryServer: "",
    repoDigest,
  });
}

/** Reports lines on a resource, in order. The engine shows the last one beside the resource. */
function reporter(address: string): (urn: string) => (line: string) => void {
  const client = new engineServices.EngineClient(address, credentials.createInsecure());
  let last = Promise.resolve();
  return (urn) => (line) => {
    const request = new engine.LogRequest()
      .setSeverity(engine.LogSeverity.INFO)
      .setUrn(urn)
      .setMessage(line)
      .setEphemeral(true);
    const sent = async () =>
      new Promise<void>((done) => {
        client.log(request, () => {
          done();
        });
      });
    last = last.then(sent);
  };
}

/** Returns the methods of the provider. Like the real plugin, it does not delete images. */
function methods(address: string) {
  const report = reporter(address);
  let host: string | undefined;
  const build = async (properties: Properties, options: BuildOptions) => {
    const { imageName: reference, build, skipPush = false } = imageInputs.parse(properties);
    // Loaded here, because a preview builds nothing.
    const { buildAndPush } = await import("./images.ts");
    const digest = await buildAndPush({ reference, ...build }, process.cwd(), host, { ...options, skipPush });
    return outputs(properties, digest);
  };
  const nothing = () => services.ResourceProviderService.cancel.responseDeserialize(Buffer.alloc(0));
  return {
    getPluginInfo: unary(() => new plugin.PluginInfo().setVersion(VERSION)),
    checkConfig: unary((request) => check(providerInputs, request.getNews())),
    diffConfig: unary((request) => diff(plain(request.getOldInputs()), plain(request.getNews()))),
    configure: unary((request) => {
      ({ host } = providerInputs.parse(plain(request.getArgs())));
      return new provider.ConfigureResponse().setSupportspreview(true);
    }),
    check: unary((request) => {
      const type = request.getType();
      if (type !== IMAGE_TYPE)
        throw new Error(`the stand-in for Pulumi's Docker plugin has no ${type}, only ${IMAGE_TYPE}`);
      return check(imageInputs, request.getNews());
    }),
    diff: unary((request) => diff(plain(request.getOldInputs()), plain(request.getNews()))),
    create: unary(async (request) => {
      const properties = plain(request.getProperties());
      const response = new provider.CreateResponse();
      if (request.getPreview()) return response.setProperties(outputs(properties));
      const made = await build(properties, { report: report(request.getUrn()) });
      return response.setId(imageInputs.parse(properties).imageName).setProperties(made);
    }),
    update: unary(async (request) => {
      const news = plain(request.getNews());
      const response = new provider.UpdateResponse();
      if (request.getPreview()) return response.setProperties(outputs(news));
      // If the name is the same, the existing image is the old build.
      const rebuild = plain(request.getOldInputs())["imageName"] === news["imageName"];
      const made = await build(news, { rebuild, report: report(request.getUrn()) });
      return response.setProperties(made);
    }),
    read: unary((request) =>
      new provider.ReadResponse()
        .setId(request.getId())
        .setInputs(request.getInputs())
        .setProperties(request.getProperties()),
    ),
    delete: unary(nothing),
    cancel: unary(nothing),
  } satisfies Partial<IResourceProviderServer>;
}

/**
 * Serves the stand-in for Pulumi's Docker plugin until the engine ends. Prints its port.
 * @param address address of the engine
 */
export function serve(address: string): void {
  // A running docker command ends with this process.
  listen(services.ResourceProviderService, methods(address), () => process.exit());
}
