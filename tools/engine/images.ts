import { execa, ExecaError } from "execa";
import { messageOf, UserError } from "../../common/errors.ts";
import { step } from "../../common/steps.ts";

/** An image that the program builds. */
export interface DeclaredImage {
  /** Name and tag. */
  readonly reference: string;
  readonly context: string;
  readonly dockerfile: string;
  readonly platform: string;
  readonly args: Readonly<Record<string, string>>;
  readonly network: string;
}

type Run = (...args: readonly string[]) => Promise<string>;

/** Returns the last lines of a failed command, which contain the reason. */
function lastLines(text: string): string {
  return text.trim().split("\n").slice(-5).join("\n");
}

async function docker(args: readonly string[], directory: string, host: string | undefined): Promise<string> {
  const { stdout } = await execa("docker", args, {
    cwd: directory,
    stdin: "ignore",
    ...(host !== undefined && { env: { DOCKER_HOST: host } }),
  });
  return stdout;
}

const NO_ENGINE =
  /cannot connect to the docker daemon|failed to connect to the docker api|error during connect/i;

function dockerError(error: unknown, image: DeclaredImage, registry: string): unknown {
  if (!(error instanceof ExecaError)) return error;
  const { stderr, stdout } = error as ExecaError<{ encoding: "utf8" }>;
  if (error.code === "ENOENT") {
    return new UserError("docker is not installed", "Install docker, or give every service an image.", {
      cause: error,
    });
  }
  if (/permission denied while trying to connect/i.test(stderr)) {
    return new UserError(
      "this user may not use the docker engine",
      "Add the user to the group docker and log in again, or run the command as root.",
      { cause: error },
    );
  }
  if (NO_ENGINE.test(stderr)) {
    return new UserError(
      "the docker engine does not answer",
      "Start it (docker info must answer), or give every service an image that exists.",
      { cause: error },
    );
  }
  const verb = error.command.includes(" push ") ? "pushed" : "built";
  return new UserError(
    `${image.reference} could not be ${verb}: ${lastLines(stderr === "" ? stdout : stderr)}`,
    verb === "pushed"
      ? `Check that the registry ${registry} answers and that you are logged in (\`docker login\`), then run the command again.`
      : "Check the Dockerfile's base image (baseImage) and the messages above, then run the command again.",
    { cause: error },
  );
}

async function isBuilt(image: DeclaredImage, run: Run): Promise<boolean> {
  return run("image", "inspect", image.reference).then(
    () => true,
    () => false,
  );
}

function buildArgs(image: DeclaredImage): string[] {
  const args = Object.entries(image.args).flatMap(([key, value]) => ["--build-arg", `${key}=${value}`]);
  const { reference, dockerfile, platform, network, context } = image;
  return [
    "build",
    "--quiet",
    "--platform",
    platform,
    "--network",
    network,
    ...args,
    "--tag",
    reference,
    "--file",
    dockerfile,
    context,
  ];
}

/** Returns the digest of a pushed image, with its repository. */
async function digestOf(image: DeclaredImage, run: Run): Promise<string | undefined> {
  const repository = image.reference.slice(0, image.reference.lastIndexOf(":"));
  const printed = await run("image", "inspect", "--format", "{{json .RepoDigests}}", image.reference);
  const digests = JSON.parse(printed) as string[] | null;
  return digests?.find((candidate) => candidate.startsWith(`${repository}@`));
}

/**
 * Removes an image from docker, but not from the registry.
 * @param directory as for {@link buildAndPush}
 * @param host as for {@link buildAndPush}
 * @returns true if the image existed
 */
export async function removeImage(
  reference: string,
  directory: string,
  host: string | undefined,
): Promise<boolean> {
  const run: Run = (...args) => docker(args, directory, host);
  const there = await run("image", "ls", "--quiet", reference).catch((error: unknown) => {
    throw new UserError(
      `docker cannot list ${reference}: ${messageOf(error)}`,
      "The stack is removed. Start docker and run the command again to remove its images.",
      { cause: error },
    );
  });
  if (there === "") return false;
  await run("image", "rm", reference);
  return true;
}

/** Options of {@link buildAndPush}. */
export interface BuildOptions {
  /** Builds even if the image exists. Needed if the tag does not identify the whole content. */
  readonly rebuild?: boolean;
  /** Leaves the image in docker. The result is then its ID, not a registry's digest. */
  readonly skipPush?: boolean;
  /** Writes a progress line, to standard error by default. */
  readonly report?: (line: string) => void;
}

async function idOf(image: DeclaredImage, run: Run): Promise<string> {
  return run("image", "inspect", "--format", "{{.Id}}", image.reference);
}

/**
 * Builds an image unless it exists, and pushes it. The tag identifies the content, so an existing
 * image is the right one.
 * @param directory the project's folder, to which the image's paths are relative
 * @param host address of the docker engine; undefined means docker's default
 * @returns the image by digest
 * @throws UserError if docker is missing, its engine or the registry does not answer, or the build
 * fails
 */
export async function buildAndPush(
  image: DeclaredImage,
  directory: string,
  host: string | undefined,
  { rebuild = false, skipPush = false, report }: BuildOptions = {},
): Promise<string> {
  const run: Run = (...args) => docker(args, directory, host);
  const registry = image.reference.split("/")[0] ?? "";
  try {
    if (rebuild || !(await isBuilt(image, run))) {
      await step(`build ${image.reference}`, () => run(...buildArgs(image)), report);
    }
    if (skipPush) return await idOf(image, run);
    await step(`push ${image.reference}`, () => run("push", "--quiet", image.reference), report);
    const digest = await digestOf(image, run);
    if (digest === undefined)
      throw new Error(`${image.reference} was pushed, but docker has no digest of it`);
    return digest;
  } catch (error) {
    throw dockerError(error, image, registry);
  }
}
