import { mkdtempSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";
import { buildAndPush } from "../../../tools/engine/images.ts";
import { type Answer, fakeCommand, type FakeCommand } from "./fake-command.ts";
import { userError } from "./user-error.ts";

const REFERENCE = "localhost:5000/mesh/provider:0123";
const IMAGE = {
  reference: REFERENCE,
  context: "apps/dist/provider",
  dockerfile: "apps/Dockerfile",
  platform: "linux/arm64",
  network: "none",
  args: { BASE_IMAGE: "node:22", OTHER: "a b" },
};
const DIGEST = `localhost:5000/mesh/provider@sha256:${"1".repeat(64)}`;
const DIRECTORY = realpathSync(mkdtempSync(join(tmpdir(), "dubbo-mesh-test-")));

const INSPECT = ["image", "inspect", REFERENCE];
const BUILD = [
  ...["build", "--quiet", "--platform", "linux/arm64", "--network", "none"],
  ...["--build-arg", "BASE_IMAGE=node:22", "--build-arg", "OTHER=a b"],
  ...["--tag", REFERENCE, "--file", "apps/Dockerfile", "apps/dist/provider"],
];
const PUSH = ["push", "--quiet", REFERENCE];
const DIGESTS = ["image", "inspect", "--format", "{{json .RepoDigests}}", REFERENCE];
const ABSENT = { stderr: `Error: No such image: ${REFERENCE}\n`, code: 1 };

let stderr: MockInstance<typeof process.stderr.write>;
beforeEach(() => {
  stderr = vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

function fakeDocker(...answers: Answer[]): FakeCommand {
  const fake = fakeCommand("docker", answers);
  vi.stubEnv("PATH", fake.folder);
  return fake;
}

function argsOf(fake: FakeCommand): (readonly string[])[] {
  return fake.calls().map(({ args }) => args);
}

/** The steps that were reported, without their times. */
function steps(): string[] {
  return stderr.mock.calls.map(([text]) => String(text).replace(/ \(\d+\.\d s\)\n$/, ""));
}

describe("an image", () => {
  it("is built in the project's folder, pushed, and named by digest", async () => {
    const fake = fakeDocker(ABSENT, {}, {}, { stdout: JSON.stringify([DIGEST]) });
    expect(await buildAndPush(IMAGE, DIRECTORY, undefined)).toBe(DIGEST);
    expect(argsOf(fake)).toEqual([INSPECT, BUILD, PUSH, DIGESTS]);
    expect(fake.calls().map(({ directory }) => directory)).toEqual(Array(4).fill(DIRECTORY));
    expect(steps()).toEqual([`  ok    build ${REFERENCE}`, `  ok    push ${REFERENCE}`]);
  });

  it("is built with the network that it asks for", async () => {
    const fake = fakeDocker(ABSENT, {}, {}, { stdout: JSON.stringify([DIGEST]) });
    await buildAndPush({ ...IMAGE, network: "default" }, DIRECTORY, undefined);
    expect(argsOf(fake)[1]).toEqual(BUILD.map((arg) => (arg === "none" ? "default" : arg)));
  });

  it("that exists is pushed without a build", async () => {
    const fake = fakeDocker({ stdout: "[{}]" }, {}, { stdout: JSON.stringify([DIGEST]) });
    expect(await buildAndPush(IMAGE, DIRECTORY, undefined)).toBe(DIGEST);
    expect(argsOf(fake)).toEqual([INSPECT, PUSH, DIGESTS]);
  });

  it("has the digest of its own repository", async () => {
    const others = ["r.test/mesh/provider", "localhost:5000/mesh/provider-2", "localhost:5000/mesh"];
    const digests = [...others.map((repository) => `${repository}@sha256:2`), DIGEST];
    fakeDocker({}, {}, { stdout: JSON.stringify(digests) });
    expect(await buildAndPush(IMAGE, DIRECTORY, undefined)).toBe(DIGEST);
  });

  it.each(["[]", "null", '["r.test/mesh/provider@sha256:2"]'])(
    "that has no digest after its push is a fault: %s",
    async (digests) => {
      fakeDocker({}, {}, { stdout: digests });
      await expect(buildAndPush(IMAGE, DIRECTORY, undefined)).rejects.toThrow(
        `${REFERENCE} was pushed, but docker knows no digest of it`,
      );
    },
  );
});

describe("docker's engine", () => {
  it.each([
    ["unix:///run/mesh.sock", "unix:///run/mesh.sock"],
    [undefined, "tcp://own:2375"],
  ])("is the stack's or else the user's: %j", async (host, expected) => {
    const fake = fakeDocker(ABSENT, {}, {}, { stdout: JSON.stringify([DIGEST]) });
    vi.stubEnv("DOCKER_HOST", "tcp://own:2375");
    await buildAndPush(IMAGE, DIRECTORY, host);
    expect(fake.calls().map(({ env }) => env["DOCKER_HOST"])).toEqual(Array(4).fill(expected));
  });

  // The messages are those of docker 28, seen, and of docker 29 and Windows.
  it.each([
    "Cannot connect to the Docker daemon at unix:///nope.sock. Is the docker daemon running?",
    "failed to connect to the docker API at unix:///nope.sock; check if the path is correct and if the daemon is running",
    "error during connect: Get http://%2Fvar%2Frun%2Fdocker.sock/v1.47/info: EOF",
  ])("does not answer: %s", async (message) => {
    const silent = { stderr: `${message}\n`, code: 1 };
    const fake = fakeDocker(silent, silent);
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: "the docker engine does not answer",
      fix: "Start it (docker info must answer), or give every service an image that exists.",
    });
    expect(argsOf(fake)).toEqual([INSPECT, BUILD]);
  });

  it("does not let the user in", async () => {
    const denied = {
      stderr: "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock\n",
      code: 1,
    };
    fakeDocker(denied, denied);
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: "the docker engine does not let this user in",
      fix: "Add the user to the group docker and log in again, or run this as root.",
    });
  });

  it("is not installed", async () => {
    vi.stubEnv("PATH", DIRECTORY);
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: "docker is not installed",
      fix: "Install docker, or give every service an image.",
    });
  });
});

describe("an image that fails", () => {
  const buildFix = "Check the Dockerfile's base image (baseImage) and the messages above, then run it again.";

  it("to build: the last five lines say why, and nothing is pushed", async () => {
    const lines = ["1", "2", "3", "4", "5", "6", "ERROR: failed to solve: node:22: not found"];
    const fake = fakeDocker(ABSENT, { stderr: `${lines.join("\n")}\n`, code: 1 });
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: `${REFERENCE} could not be built: ${lines.slice(-5).join("\n")}`,
      fix: buildFix,
    });
    expect(argsOf(fake)).toEqual([INSPECT, BUILD]);
    expect(steps()).toEqual([`  FAIL  build ${REFERENCE}`]);
  });

  it("to build without a word on standard error: its output says why", async () => {
    fakeDocker(ABSENT, { stdout: "Step 2/3 : COPY\nCOPY failed\n", code: 1 });
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: `${REFERENCE} could not be built: Step 2/3 : COPY\nCOPY failed`,
      fix: buildFix,
    });
  });

  it.each([
    "denied: requested access to the resource is denied",
    'Get "http://localhost:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused',
  ])("to be pushed: %s", async (reason) => {
    const fake = fakeDocker({}, { stderr: `${reason}\n`, code: 1 });
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: `${REFERENCE} could not be pushed: ${reason}`,
      fix: "Check that the registry localhost:5000 answers and that `docker login` has been done for it, then run it again.",
    });
    expect(argsOf(fake)).toEqual([INSPECT, PUSH]);
    expect(steps()).toEqual([`  FAIL  push ${REFERENCE}`]);
  });
});
