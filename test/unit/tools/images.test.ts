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

/** Returns the reported steps, without their times. */
function steps(): string[] {
  return stderr.mock.calls.map(([text]) => String(text).replace(/ \(\d+\.\d s\)\n$/, ""));
}

describe("an image", () => {
  it("is built in the project's folder, pushed, and returned by digest", async () => {
    const fake = fakeDocker(ABSENT, {}, {}, { stdout: JSON.stringify([DIGEST]) });
    expect(await buildAndPush(IMAGE, DIRECTORY, undefined)).toBe(DIGEST);
    expect(argsOf(fake)).toEqual([INSPECT, BUILD, PUSH, DIGESTS]);
    expect(fake.calls().map(({ directory }) => directory)).toEqual(Array(4).fill(DIRECTORY));
    expect(steps()).toEqual([`  ok    build ${REFERENCE}`, `  ok    push ${REFERENCE}`]);
  });

  it("is built with its network", async () => {
    const fake = fakeDocker(ABSENT, {}, {}, { stdout: JSON.stringify([DIGEST]) });
    await buildAndPush({ ...IMAGE, network: "default" }, DIRECTORY, undefined);
    expect(argsOf(fake)[1]).toEqual(BUILD.map((arg) => (arg === "none" ? "default" : arg)));
  });

  it("is pushed without a build if it exists", async () => {
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
    "is an error without a digest after its push: %s",
    async (digests) => {
      fakeDocker({}, {}, { stdout: digests });
      await expect(buildAndPush(IMAGE, DIRECTORY, undefined)).rejects.toThrow(
        `${REFERENCE} was pushed, but docker has no digest of it`,
      );
    },
  );
});

describe("docker's engine", () => {
  it.each([
    ["unix:///run/mesh.sock", "unix:///run/mesh.sock"],
    [undefined, "tcp://own:2375"],
  ])("is the stack's, or else the user's: %j", async (host, expected) => {
    const fake = fakeDocker(ABSENT, {}, {}, { stdout: JSON.stringify([DIGEST]) });
    vi.stubEnv("DOCKER_HOST", "tcp://own:2375");
    await buildAndPush(IMAGE, DIRECTORY, host);
    expect(fake.calls().map(({ env }) => env["DOCKER_HOST"])).toEqual(Array(4).fill(expected));
  });

  // Messages of docker 28 (seen), of docker 29, and of Windows.
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

  it("is forbidden for the user", async () => {
    const denied = {
      stderr: "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock\n",
      code: 1,
    };
    fakeDocker(denied, denied);
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: "this user may not use the docker engine",
      fix: "Add the user to the group docker and log in again, or run the command as root.",
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

describe("a failed image", () => {
  const buildFix =
    "Check the Dockerfile's base image (baseImage) and the messages above, then run the command again.";

  it("reports the last five lines of a build, and pushes nothing", async () => {
    const lines = ["1", "2", "3", "4", "5", "6", "ERROR: failed to solve: node:22: not found"];
    const fake = fakeDocker(ABSENT, { stderr: `${lines.join("\n")}\n`, code: 1 });
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: `${REFERENCE} could not be built: ${lines.slice(-5).join("\n")}`,
      fix: buildFix,
    });
    expect(argsOf(fake)).toEqual([INSPECT, BUILD]);
    expect(steps()).toEqual([`  FAIL  build ${REFERENCE}`]);
  });

  it("reports the output of a build without standard error", async () => {
    fakeDocker(ABSENT, { stdout: "Step 2/3 : COPY\nCOPY failed\n", code: 1 });
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: `${REFERENCE} could not be built: Step 2/3 : COPY\nCOPY failed`,
      fix: buildFix,
    });
  });

  it.each([
    "denied: requested access to the resource is denied",
    'Get "http://localhost:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused',
  ])("reports a failed push: %s", async (reason) => {
    const fake = fakeDocker({}, { stderr: `${reason}\n`, code: 1 });
    expect(await userError(buildAndPush(IMAGE, DIRECTORY, undefined))).toEqual({
      message: `${REFERENCE} could not be pushed: ${reason}`,
      fix: "Check that the registry localhost:5000 answers and that you are logged in (`docker login`), then run the command again.",
    });
    expect(argsOf(fake)).toEqual([INSPECT, PUSH]);
    expect(steps()).toEqual([`  FAIL  push ${REFERENCE}`]);
  });
});
