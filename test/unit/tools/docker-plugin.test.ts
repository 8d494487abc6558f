import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import engineServices from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import type engineMessages from "@pulumi/pulumi/proto/engine_pb.js";
import services from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import { Ajv } from "ajv";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { imageInputs, VERSION } from "../../../tools/engine/docker-plugin.ts";
import { IMAGE_TYPE } from "../../../settings/names.ts";
import { dockerImage, resourceSchema } from "../../schemas/docker.ts";
import { type Answer, fakeCommand, type FakeCommand } from "./fake-command.ts";
import { answer, called, isAlive, listening, type Plugin, ROOT, startPlugin } from "./plugin.ts";

type Struct = InstanceType<typeof struct.Struct>;
type Properties = Parameters<typeof struct.Struct.fromJavaScript>[0];
type Client = InstanceType<typeof services.ResourceProviderClient>;

const SCHEMA = resourceSchema.parse(
  JSON.parse(readFileSync(join(ROOT, "test/schemas/docker-image.json"), "utf8")),
);
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const URN = `urn:pulumi:dev::shop::${IMAGE_TYPE}::provider`;
const REFERENCE = "localhost:5000/mesh/provider:0123";
const DIGEST = `localhost:5000/mesh/provider@sha256:${"1".repeat(64)}`;
const BUILD = {
  context: "apps/dist/provider",
  dockerfile: "apps/Dockerfile",
  platform: "linux/amd64",
  network: "none",
  args: { BASE_IMAGE: "node:22" },
};
/** Inputs that the SDK sends for components/image.ts. */
const INPUTS = { imageName: REFERENCE, build: BUILD, buildOnPreview: false, skipPush: false };
const OUTPUTS = {
  imageName: REFERENCE,
  baseImageName: REFERENCE,
  context: "apps/dist/provider",
  dockerfile: "../../Dockerfile",
  platform: "linux/amd64",
  registryServer: "",
  repoDigest: DIGEST,
};
const INSPECT = ["image", "inspect", REFERENCE];
const BUILT = [
  ...["build", "--quiet", "--platform", "linux/amd64", "--network", "none"],
  ...["--build-arg", "BASE_IMAGE=node:22", "--tag", REFERENCE, "--file", "apps/Dockerfile"],
  "apps/dist/provider",
];
const PUSH = ["push", "--quiet", REFERENCE];
const DIGESTS = ["image", "inspect", "--format", "{{json .RepoDigests}}", REFERENCE];
const ABSENT = { stderr: "Error: No such image\n", code: 1 };
const PUSHED = { stdout: JSON.stringify([DIGEST]) };

function packed(properties: Properties): Struct {
  return struct.Struct.fromJavaScript(properties);
}

function unpacked(properties: Struct | undefined): unknown {
  return properties?.toJavaScript();
}

/** A running plugin, and the messages to its engine. */
interface Running {
  readonly plugin: Plugin;
  readonly client: Client;
  readonly logged: string[];
  readonly server: grpc.Server;
}

const running: Running[] = [];

function stop({ plugin, server }: Running): void {
  plugin.process.kill();
  server.forceShutdown();
}

afterEach(() => {
  running.splice(0).forEach(stop);
});

async function start(folder = "/nowhere"): Promise<Running> {
  const logged: string[] = [];
  const server = new grpc.Server();
  server.addService(engineServices.EngineService, {
    log: answer((request: InstanceType<typeof engineMessages.LogRequest>) => {
      const kind = request.getEphemeral() ? "status" : "message";
      logged.push(`${kind} ${request.getUrn()} ${request.getMessage().replace(/ \(\d+\.\d s\)$/, "")}`);
      return new empty.Empty();
    }),
  });
  const plugin = await startPlugin("pulumi-resource-docker", await listening(server), {
    PATH: folder,
    DOCKER_HOST: "",
  });
  const client = new services.ResourceProviderClient(plugin.address, grpc.credentials.createInsecure());
  const started = { plugin, client, logged, server };
  running.push(started);
  return started;
}

/** For tests that call no docker. */
let idle: Running;
beforeAll(async () => {
  idle = await start();
  running.length = 0;
});
afterAll(() => {
  stop(idle);
});

async function configure({ client }: Running, config: Properties): Promise<boolean> {
  const request = new provider.ConfigureRequest().setArgs(packed(config));
  const response = await called<InstanceType<typeof provider.ConfigureResponse>>((callback) =>
    client.configure(request, callback),
  );
  return response.getSupportspreview();
}

async function create({ client }: Running, inputs: Properties, preview = false) {
  const request = new provider.CreateRequest().setUrn(URN).setProperties(packed(inputs)).setPreview(preview);
  const response = await called<InstanceType<typeof provider.CreateResponse>>((callback) =>
    client.create(request, callback),
  );
  return { id: response.getId(), outputs: unpacked(response.getProperties()) };
}

async function update({ client }: Running, olds: Properties, news: Properties, preview = false) {
  const request = new provider.UpdateRequest()
    .setUrn(URN)
    .setOldInputs(packed(olds))
    .setNews(packed(news))
    .setPreview(preview);
  const response = await called<InstanceType<typeof provider.UpdateResponse>>((callback) =>
    client.update(request, callback),
  );
  return unpacked(response.getProperties());
}

async function failures({ client }: Running, inputs: Properties, type = IMAGE_TYPE): Promise<string[]> {
  const request = new provider.CheckRequest().setUrn(URN).setType(type).setNews(packed(inputs));
  const response = await called<InstanceType<typeof provider.CheckResponse>>((callback) =>
    client.check(request, callback),
  );
  expect(unpacked(response.getInputs())).toEqual(inputs);
  return response.getFailuresList().map((each) => `${each.getProperty()}: ${each.getReason()}`);
}

function unsupported(input: string): string {
  return (
    `${input}: the stand-in for Pulumi's Docker plugin does not support ${input}. ` +
    "Leave it out, or install the plugin: pulumi plugin install resource docker 5.2.0"
  );
}

async function withDocker(...answers: Answer[]): Promise<Running & { readonly docker: FakeCommand }> {
  const docker = fakeCommand("docker", answers);
  return { ...(await start(docker.folder)), docker };
}

function argsOf(docker: FakeCommand): (readonly string[])[] {
  return docker.calls().map(({ args }) => args);
}

describe("the schema of the real plugin", () => {
  const schema = z.object({ properties: z.record(z.string(), z.record(z.string(), z.unknown())) });
  const real = schema.parse(SCHEMA.inputs).properties;
  const realBuild = schema.parse(real["build"]).properties;

  it("is that of the SDK in use", async () => {
    expect(await dockerImage(SCHEMA.header.command)).toEqual(SCHEMA);
    expect(SCHEMA.header.source).toBe(`https://registry.npmjs.org/@pulumi/docker/-/docker-${VERSION}.tgz`);
    expect(IMAGE_TYPE).toBe(SCHEMA.type);
  });

  it("has every input of the stand-in, of the same type", () => {
    const own = schema.parse(z.toJSONSchema(imageInputs)).properties;
    const ownBuild = schema.parse(own["build"]).properties;
    const types = (properties: typeof own) =>
      Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, each["type"]]));
    expect(types(real)).toMatchObject(types(own));
    expect(types(realBuild)).toMatchObject(types(ownBuild));
    expect(new Ajv().validate(SCHEMA.inputs, INPUTS)).toBe(true);
    expect(imageInputs.parse(INPUTS)).toEqual(INPUTS);
  });

  it("has other inputs, which the stand-in rejects", async () => {
    const others = Object.keys(real).filter((name) => !(name in imageInputs.shape));
    const otherOfBuild = Object.keys(realBuild).filter((name) => !(name in BUILD));
    expect([others, otherOfBuild]).toEqual([
      ["registry"],
      ["addHosts", "builderVersion", "cacheFrom", "target"],
    ]);
    for (const name of others) {
      expect(await failures(idle, { ...INPUTS, [name]: "x" })).toEqual([unsupported(name)]);
    }
    for (const name of otherOfBuild) {
      const build = { ...BUILD, [name]: "x" };
      expect(await failures(idle, { ...INPUTS, build })).toEqual([unsupported(`build.${name}`)]);
    }
    expect(await failures(idle, { ...INPUTS, buildOnPreview: true })).toEqual([
      unsupported("buildOnPreview"),
    ]);
  });

  it("has the same outputs", async () => {
    const plugin = await withDocker(ABSENT, {}, {}, PUSHED);
    const { outputs } = await create(plugin, INPUTS);
    expect(new Ajv().validate(SCHEMA.outputs, outputs)).toBe(true);
    expect(Object.keys(outputs as object).sort()).toEqual(
      Object.keys(schema.parse(SCHEMA.outputs).properties),
    );
  });
});

describe("check", () => {
  it("accepts the program's inputs", async () => {
    expect(await failures(idle, INPUTS)).toEqual([]);
  });

  it("names a wrong and a missing input", async () => {
    const build = { context: "a", dockerfile: "b", platform: 64, args: {} };
    expect(await failures(idle, { ...INPUTS, build })).toEqual([
      "build.platform: Invalid input: expected string, received number",
      "build.network: Invalid input: expected string, received undefined",
    ]);
  });

  it("rejects another resource", async () => {
    await expect(failures(idle, {}, "docker:index/network:Network")).rejects.toMatchObject({
      details:
        "the stand-in for Pulumi's Docker plugin has no docker:index/network:Network, only docker:index/image:Image",
    });
  });
});

describe("diff", () => {
  const { DIFF_NONE, DIFF_SOME } = provider.DiffResponse.DiffChanges;

  async function diff(news: Properties) {
    const request = new provider.DiffRequest().setOldInputs(packed(INPUTS)).setNews(packed(news));
    const response = await called<InstanceType<typeof provider.DiffResponse>>((callback) =>
      idle.client.diff(request, callback),
    );
    return {
      changes: response.getChanges(),
      replaces: response.getReplacesList(),
      diffs: response.getDiffsList(),
      detailed: response.toObject().detaileddiffMap.map(([name, { kind }]) => [name, kind]),
    };
  }

  const pushed = { imageName: REFERENCE, build: BUILD, buildOnPreview: false };
  const { ADD, DELETE, UPDATE } = provider.PropertyDiff.Kind;
  expect([ADD, DELETE, UPDATE]).toEqual([0, 2, 4]);

  it("finds no change", async () => {
    expect(await diff(structuredClone(INPUTS))).toEqual({
      changes: DIFF_NONE,
      replaces: [],
      diffs: [],
      detailed: [],
    });
  });

  it.each([
    ["the name", { ...INPUTS, imageName: "localhost:5000/mesh/provider:4567" }, "imageName", UPDATE],
    ["the context", { ...INPUTS, build: { ...BUILD, context: "other" } }, "build", UPDATE],
    ["an argument", { ...INPUTS, build: { ...BUILD, args: { BASE_IMAGE: "node:24" } } }, "build", UPDATE],
    ["an input less", pushed, "skipPush", DELETE],
    ["an input more", { ...INPUTS, registry: {} }, "registry", ADD],
  ] as const)("updates in place: %s", async (_what, news, input, kind) => {
    expect(await diff(news)).toEqual({
      changes: DIFF_SOME,
      replaces: [],
      diffs: [input],
      detailed: [[input, kind]],
    });
  });
});

describe("create", () => {
  it("builds and pushes, and logs to the engine", async () => {
    const plugin = await withDocker(ABSENT, {}, {}, PUSHED);
    expect(await create(plugin, INPUTS)).toEqual({ id: REFERENCE, outputs: OUTPUTS });
    const { docker, logged } = plugin;
    expect(argsOf(docker)).toEqual([INSPECT, BUILT, PUSH, DIGESTS]);
    expect(new Set(docker.calls().map(({ directory }) => directory))).toEqual(new Set([ROOT]));
    await vi.waitFor(() => {
      expect(logged).toEqual([
        `status ${URN} ok    build ${REFERENCE}`,
        `status ${URN} ok    push ${REFERENCE}`,
      ]);
    });
  });

  it("does not build an image that exists: its tag names its content", async () => {
    const plugin = await withDocker({}, {}, PUSHED);
    await create(plugin, INPUTS);
    expect(argsOf(plugin.docker)).toEqual([INSPECT, PUSH, DIGESTS]);
  });

  it("calls no docker in a preview", async () => {
    const plugin = await withDocker();
    expect(await create(plugin, INPUTS, true)).toEqual({
      id: "",
      outputs: { ...OUTPUTS, repoDigest: UNKNOWN },
    });
    expect(argsOf(plugin.docker)).toEqual([]);
  });

  it("names an image that is not pushed by its ID", async () => {
    const plugin = await withDocker(ABSENT, {}, { stdout: "sha256:2222\n" });
    const { outputs } = await create(plugin, { ...INPUTS, skipPush: true });
    expect(outputs).toEqual({ ...OUTPUTS, repoDigest: "sha256:2222" });
    expect(argsOf(plugin.docker)).toEqual([
      INSPECT,
      BUILT,
      ["image", "inspect", "--format", "{{.Id}}", REFERENCE],
    ]);
  });

  it("reports a failure with a fix", async () => {
    const plugin = await withDocker({}, { stderr: "denied\n", code: 1 });
    await expect(create(plugin, INPUTS)).rejects.toMatchObject({
      code: grpc.status.UNKNOWN,
      details:
        `${REFERENCE} could not be pushed: denied\n` +
        "Check that the registry localhost:5000 answers and that you are logged in (`docker login`), then run the command again.",
    });
    await vi.waitFor(() => {
      expect(plugin.logged).toEqual([`status ${URN} FAIL  push ${REFERENCE}`]);
    });
  });

  it("builds images in parallel", async () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), "docker-plugin-")));
    // A build ends only after another one has begun.
    const script = `#!/bin/sh
case "$*" in
  "image inspect --format"*) echo '["localhost:5000/a@sha256:1", "localhost:5000/b@sha256:2"]' ;;
  "image inspect"*) exit 1 ;;
  build*) : > "${folder}/$$.begun"
    n=0; until set -- "${folder}"/*.begun; [ $# = 2 ]; do n=$((n + 1)); [ $n = 80 ] && exit 1; /bin/sleep 0.1; done ;;
esac
`;
    writeFileSync(join(folder, "docker"), script);
    chmodSync(join(folder, "docker"), 0o755);
    const plugin = await start(folder);
    const made = ["a", "b"].map(async (name) =>
      create(plugin, { ...INPUTS, imageName: `localhost:5000/${name}:1` }),
    );
    expect((await Promise.all(made)).map(({ outputs }) => outputs)).toMatchObject([
      { repoDigest: "localhost:5000/a@sha256:1" },
      { repoDigest: "localhost:5000/b@sha256:2" },
    ]);
    expect(readdirSync(folder).filter((name) => name.endsWith(".begun"))).toHaveLength(2);
  });
});

describe("update", () => {
  it("builds an image of the same name again", async () => {
    const plugin = await withDocker({}, {}, PUSHED);
    const olds = { ...INPUTS, build: { ...BUILD, args: {} } };
    expect(await update(plugin, olds, INPUTS)).toEqual(OUTPUTS);
    expect(argsOf(plugin.docker)).toEqual([BUILT, PUSH, DIGESTS]);
  });

  it("uses an existing image of the new name", async () => {
    const plugin = await withDocker({}, {}, PUSHED);
    await update(plugin, { ...INPUTS, imageName: "localhost:5000/mesh/provider:old" }, INPUTS);
    expect(argsOf(plugin.docker)).toEqual([INSPECT, PUSH, DIGESTS]);
  });

  it("calls no docker in a preview", async () => {
    const plugin = await withDocker();
    expect(await update(plugin, INPUTS, INPUTS, true)).toEqual({ ...OUTPUTS, repoDigest: UNKNOWN });
    expect(argsOf(plugin.docker)).toEqual([]);
  });
});

describe("the provider", () => {
  it.each([
    [{ host: "tcp://engine:2375", version: VERSION }, "tcp://engine:2375"],
    [{}, ""],
  ])("reads docker's address from its configuration: %j", async (config, host) => {
    const plugin = await withDocker({}, {}, PUSHED);
    expect(await configure(plugin, config)).toBe(true);
    await create(plugin, INPUTS);
    expect(new Set(plugin.docker.calls().map(({ env }) => env["DOCKER_HOST"]))).toEqual(new Set([host]));
  });

  it("rejects other configuration of the real plugin", async () => {
    const request = new provider.CheckRequest().setNews(packed({ host: "unix:///x", certPath: "/certs" }));
    const response = await called<InstanceType<typeof provider.CheckResponse>>((callback) =>
      idle.client.checkConfig(request, callback),
    );
    const found = response.getFailuresList().map((each) => `${each.getProperty()}: ${each.getReason()}`);
    expect(found).toEqual([unsupported("certPath")]);
  });

  it("leaves images in place: it reads and deletes without docker", async () => {
    const plugin = await withDocker();
    const { client } = plugin;
    const read = new provider.ReadRequest()
      .setId(REFERENCE)
      .setInputs(packed(INPUTS))
      .setProperties(packed(OUTPUTS));
    const response = await called<InstanceType<typeof provider.ReadResponse>>((callback) =>
      client.read(read, callback),
    );
    expect([response.getId(), unpacked(response.getInputs()), unpacked(response.getProperties())]).toEqual([
      REFERENCE,
      INPUTS,
      OUTPUTS,
    ]);
    await called((callback) => client.delete(new provider.DeleteRequest().setId(REFERENCE), callback));
    expect(argsOf(plugin.docker)).toEqual([]);
  });

  it("reports the version of the real plugin", async () => {
    const info = await called<{ getVersion(): string }>((callback) =>
      idle.client.getPluginInfo(new empty.Empty(), callback),
    );
    expect(info.getVersion()).toBe("5.2.0");
  });

  it("ends with the engine, and ends a build", async () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), "docker-plugin-")));
    const note = join(folder, "pid");
    writeFileSync(join(folder, "docker"), `#!/bin/sh\necho $$ > ${note}\nexec /bin/sleep 30\n`);
    chmodSync(join(folder, "docker"), 0o755);
    const running = await start(folder);
    create(running, INPUTS).catch(() => undefined);
    await vi.waitFor(() => {
      expect(existsSync(note) && readFileSync(note, "utf8")).toMatch(/^\d+\n$/);
    }, 5000);
    const { process: own } = running.plugin;
    own.stdin?.end();
    expect(await once(own, "exit")).toEqual([0, null]);
    await vi.waitFor(() => {
      expect(isAlive(Number(readFileSync(note, "utf8")))).toBe(false);
    }, 5000);
  });
});
