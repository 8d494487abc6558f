import { execa, ExecaError } from "execa";
import { UserError } from "../../lib/errors.ts";
import { step } from "../../lib/steps.ts";
import type { ImageBuild } from "./program.ts";

/** The last lines of a failed command, which say why it failed. */
function lastLines(text: string): string {
  return text.trim().split("\n").slice(-5).join("\n");
}

async function docker(args: readonly string[], directory: string, host: string | undefined): Promise<string> {
  const { stdout } = await execa("docker", args, {
    cwd: directory,
    ...(host !== undefined && { env: { DOCKER_HOST: host } }),
  });
  return stdout;
}

function dockerError(error: unknown, image: ImageBuild, registry: string): unknown {
  if (!(error instanceof ExecaError)) return error;
  const { stderr, stdout } = error as ExecaError<{ encoding: "utf8" }>;
  if (error.code === "ENOENT") {
    return new UserError(
      "docker is not installed",
      "Install docker, or set provider.image and consumer.image.",
      {
        cause: error,
      },
    );
  }
  if (/cannot connect to the docker daemon|error during connect/i.test(stderr)) {
    return new UserError(
      "the docker engine does not answer",
      "Start it (docker info must answer), or set provider.image and consumer.image to images that exist.",
      { cause: error },
    );
  }
  const verb = error.command.includes(" push ") ? "pushed" : "built";
  return new UserError(
    `${image.reference} could not be ${verb}: ${lastLines(stderr === "" ? stdout : stderr)}`,
    verb === "pushed"
      ? `Check that the registry ${registry} answers and that \`docker login\` has been done for it, then run it again.`
      : "Check the Dockerfile's base image (baseImage) and the messages above, then run it again.",
    { cause: error },
  );
}

async function isBuilt(
  image: ImageBuild,
  run: (...args: readonly string[]) => Promise<string>,
): Promise<boolean> {
  return run("image", "inspect", image.reference).then(
    () => true,
    () => false,
  );
}

function buildArgs(image: ImageBuild): string[] {
  const args = Object.entries(image.args).flatMap(([key, value]) => ["--build-arg", `${key}=${value}`]);
  const { reference, dockerfile, platform, context } = image;
  return [
    "build",
    "--quiet",
    "--platform",
    platform,
    ...args,
    "--tag",
    reference,
    "--file",
    dockerfile,
    context,
  ];
}

/** The digest under which an image was pushed, with its repository. */
function digestOf(image: ImageBuild, repoDigests: string): string {
  const repository = image.reference.slice(0, image.reference.lastIndexOf(":"));
  const digests = JSON.parse(repoDigests) as string[];
  const digest = digests.find((candidate) => candidate.startsWith(`${repository}@`));
  if (digest === undefined)
    throw new Error(`${image.reference} was pushed, but docker knows no digest of it`);
  return digest;
}

/**
 * Builds an image unless it exists, and pushes it. Its tag names its content, so that one that exists is the right one.
 * @param directory the project's folder, which the image's paths are relative to
 * @param host address of the docker engine; undefined means docker's own default
 * @returns the image by digest
 * @throws UserError where docker is missing, its engine or the registry does not answer, or the build fails
 */
export async function buildAndPush(
  image: ImageBuild,
  directory: string,
  host: string | undefined,
): Promise<string> {
  const run = (...args: readonly string[]): Promise<string> => docker(args, directory, host);
  const registry = image.reference.split("/")[0] ?? "";
  try {
    if (!(await isBuilt(image, run))) {
      await step(`build ${image.reference}`, () => run(...buildArgs(image)));
    }
    await step(`push ${image.reference}`, () => run("push", "--quiet", image.reference));
    return digestOf(
      image,
      await run("image", "inspect", "--format", "{{json .RepoDigests}}", image.reference),
    );
  } catch (error) {
    throw dockerError(error, image, registry);
  }
}
