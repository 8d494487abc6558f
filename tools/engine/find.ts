/**
 * Finds Pulumi's engine and its parts on this machine, downloads them from the vendor, or builds
 * them.
 */
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import docker from "@pulumi/docker/package.json" with { type: "json" };
import kubernetes from "@pulumi/kubernetes/package.json" with { type: "json" };
import { PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import sdk from "@pulumi/pulumi/package.json" with { type: "json" };

import { isMade, makeArtifact, type Artifact } from "../../common/artifacts/artifact.ts";
import { requireRoom } from "../../common/artifacts/cache.ts";
import { goArtifact, goModuleFolder, requireGo, unoptimized } from "../../common/artifacts/go.ts";
import { UserError } from "../../common/errors.ts";
import { step } from "../../common/steps.ts";

/** Oldest tested version of the CLI. */
export const OLDEST_CLI = "3.248.0";

const VENDOR = "https://get.pulumi.com";
const VENDOR_TIMEOUT_MS = 5_000;

const LANGUAGE_HOST = "pulumi-language-nodejs";
const SDK_MODULE = "github.com/pulumi/pulumi";
const PLUGIN_MODULE = "github.com/pulumi/pulumi-kubernetes";

/** Executables of this project's stand-ins for the vendor's parts. */
const STAND_INS = join(import.meta.dirname, "bin");
/** PULUMI_HOME for built parts and stand-ins. The user's own PULUMI_HOME is left unchanged. */
const OWN_HOME = resolve(import.meta.dirname, "../../.pulumi-home");

/** Pulumi's CLI, and the environment in which it finds its other parts. */
export interface FoundEngine {
  readonly command: PulumiCommand;
  /** Variables for the CLI; empty if the vendor's parts are installed. */
  readonly env: Readonly<Record<string, string>>;
}

/** A resource plugin, in the version of its npm package. */
interface Plugin {
  readonly name: string;
  readonly version: string;
}

const KUBERNETES: Plugin = { name: "kubernetes", version: kubernetes.version };
const DOCKER: Plugin = { name: "docker", version: docker.version };

/** Returns the user's PULUMI_HOME. */
export function pulumiHome(): string {
  return process.env["PULUMI_HOME"] ?? join(homedir(), ".pulumi");
}

/** Returns the folder of the file with the user's logins. */
export function credentialsFolder(): string {
  return process.env["PULUMI_CREDENTIALS_PATH"] ?? pulumiHome();
}

function pluginFolder(home: string, { name, version }: Plugin): string {
  return join(home, "plugins", `resource-${name}-v${version}`);
}

function isOnPath(executable: string): boolean {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.some((folder) => existsSync(join(folder, executable)));
}

function hasPlugin(plugin: Plugin): boolean {
  return existsSync(pluginFolder(pulumiHome(), plugin)) || isOnPath(`pulumi-resource-${plugin.name}`);
}

function hasLanguageHost({ command }: PulumiCommand): boolean {
  return existsSync(join(dirname(command), LANGUAGE_HOST)) || isOnPath(LANGUAGE_HOST);
}

/**
 * Returns the CLI on PATH, else the one in the user's PULUMI_HOME, else undefined.
 * @throws UserError if the CLI is older than {@link OLDEST_CLI}
 */
async function installedCli(): Promise<PulumiCommand | undefined> {
  for (const options of [{}, { root: pulumiHome() }]) {
    const found = await PulumiCommand.get({ ...options, skipVersionCheck: true }).catch(() => undefined);
    if (found === undefined) continue;
    if (found.version !== null && found.version.compare(OLDEST_CLI) >= 0) return found;
    throw new UserError(
      `the Pulumi CLI (${found.command}) is ${found.version?.toString() ?? "of an unknown version"}, older than ${OLDEST_CLI}`,
      "Update it (https://www.pulumi.com/docs/iac/download-install/), or remove it from PATH, so that the right one is downloaded or built.",
    );
  }
  return undefined;
}

async function vendorAnswers(): Promise<boolean> {
  const signal = AbortSignal.timeout(VENDOR_TIMEOUT_MS);
  return fetch(`${VENDOR}/install.sh`, { method: "HEAD", signal }).then(
    ({ ok }) => ok,
    () => false,
  );
}

/** Downloads the CLI into the user's PULUMI_HOME. Returns undefined if the download fails. */
async function downloadedCli(): Promise<PulumiCommand | undefined> {
  return step("download the Pulumi CLI", () => PulumiCommand.install({ root: pulumiHome() })).catch(
    () => undefined,
  );
}

function cliArtifact(): Artifact {
  return goArtifact({
    name: "pulumi",
    folder: join(import.meta.dirname, "build/pulumi"),
    package: `${SDK_MODULE}/pkg/v3/cmd/pulumi`,
    variables: { [`${SDK_MODULE}/sdk/v3/go/common/version.Version`]: `v${sdk.version}` },
    // These take a third of the time, and never run here: backends of clouds, and OpenAPI.
    flags: ["github.com/aws", "github.com/envoyproxy", "github.com/pb33f"].map(unoptimized),
    minutes: "5 min",
    gib: 3,
  });
}

function kubernetesArtifact(): Artifact {
  const folder = join(import.meta.dirname, "build/kubernetes");
  const { version } = KUBERNETES;
  return goArtifact({
    name: "pulumi-resource-kubernetes",
    folder,
    package: ".",
    variables: { [`${PLUGIN_MODULE}/provider/v4/pkg/version.Version`]: version },
    // The plugin links all of its Go SDK but runs little of it, so the SDK need not be optimized.
    flags: [unoptimized(`${PLUGIN_MODULE}/sdk/v4`)],
    embed: async (copy) => {
      const module = await goModuleFolder(`${PLUGIN_MODULE}/provider/v4`, folder);
      const text = readFileSync(join(module, "cmd/pulumi-resource-kubernetes/schema.json"), "utf8");
      const schema = JSON.parse(text) as Record<string, unknown>;
      writeFileSync(join(copy, "schema.json"), JSON.stringify({ ...schema, version }));
    },
    minutes: "7 min",
    gib: 5,
  });
}

/** Links a file unless it is already there. On another file system, it copies the file. */
function linkOrCopy(file: string, at: string): void {
  const { size, atime, mtime } = statSync(file);
  const old = statSync(at, { throwIfNoEntry: false });
  if (old?.size === size && old.mtimeMs === mtime.getTime()) return;
  mkdirSync(dirname(at), { recursive: true });
  rmSync(at, { force: true });
  try {
    linkSync(file, at);
  } catch {
    copyFileSync(file, at);
    utimesSync(at, atime, mtime);
  }
}

function link(target: string, at: string): void {
  mkdirSync(dirname(at), { recursive: true });
  rmSync(at, { force: true, recursive: true });
  symlinkSync(target, at);
}

/** Parts to build; empty if all are installed. */
interface Missing {
  readonly cli?: Artifact;
  readonly plugin?: Artifact;
}

function missingParts(installed: PulumiCommand | undefined): Missing {
  return {
    ...(installed === undefined && { cli: cliArtifact() }),
    ...(!hasPlugin(KUBERNETES) && { plugin: kubernetesArtifact() }),
  };
}

/** Builds the missing parts. It reuses the compiled packages of an interrupted build. */
async function build({ cli, plugin }: Missing): Promise<void> {
  const artifacts = [cli, plugin].filter((part) => part !== undefined && !isMade(part)) as Artifact[];
  if (artifacts.length === 0) return;
  const names = [...(cli ? ["CLI"] : []), ...(plugin ? ["Kubernetes plugin"] : [])].join(" and ");
  await requireGo(
    join(import.meta.dirname, "build/pulumi"),
    `Pulumi's ${names} must be built: not installed, and ${VENDOR} does not answer`,
  );
  requireRoom(artifacts, "building Pulumi");
  for (const artifact of artifacts) await makeArtifact(artifact);
}

/** Links a plugin into a PULUMI_HOME: the user's plugin, else `executable`. */
function placePlugin(plugin: Plugin, home: string, executable: string | undefined): void {
  const [theirs, ours] = [pluginFolder(pulumiHome(), plugin), pluginFolder(home, plugin)];
  if (theirs === ours) return;
  if (existsSync(theirs)) link(theirs, ours);
  else if (executable !== undefined) link(executable, join(ours, `pulumi-resource-${plugin.name}`));
}

/**
 * Places all parts where the CLI looks for them. Prints which are built and which are stand-ins.
 */
async function assemble(
  home: string,
  installed: PulumiCommand | undefined,
  { cli, plugin }: Missing,
): Promise<FoundEngine> {
  const bin = join(home, "bin");
  const standIns = [
    ...(installed !== undefined && hasLanguageHost(installed) ? [] : ["Node.js language host"]),
    ...(hasPlugin(DOCKER) ? [] : ["Docker plugin"]),
  ];
  if (cli !== undefined) linkOrCopy(cli.file, join(bin, "pulumi"));
  if (standIns.includes("Node.js language host"))
    link(join(STAND_INS, LANGUAGE_HOST), join(bin, LANGUAGE_HOST));
  placePlugin(KUBERNETES, home, plugin?.file);
  placePlugin(DOCKER, home, hasPlugin(DOCKER) ? undefined : join(STAND_INS, "pulumi-resource-docker"));
  const built = [...(cli ? [`CLI ${sdk.version}`] : []), ...(plugin ? ["Kubernetes plugin"] : [])];
  const list = (parts: readonly string[]): string => (parts.length === 0 ? "none" : parts.join(", "));
  process.stderr.write(`  note  Pulumi: built here: ${list(built)}; stand-ins: ${list(standIns)}\n`);
  const command = installed ?? (await PulumiCommand.get({ root: home }));
  const env = {
    PULUMI_HOME: home,
    PULUMI_CREDENTIALS_PATH: credentialsFolder(),
    PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}`,
  };
  return { command, env };
}

/**
 * Finds Pulumi's engine. It uses the installed engine if that is complete, else the parts that an
 * earlier command built, else the vendor's download. If the vendor does not answer within 5 s, it
 * builds the missing parts from the Go modules pinned in build/.
 * @param ownHome PULUMI_HOME for built parts and stand-ins
 * @throws UserError if the CLI is too old, or the engine cannot be built
 */
export async function findEngine(ownHome = OWN_HOME): Promise<FoundEngine> {
  const installed = await installedCli();
  const isComplete = [KUBERNETES, DOCKER].every(hasPlugin);
  if (installed !== undefined && hasLanguageHost(installed) && isComplete)
    return { command: installed, env: {} };
  const missing = missingParts(installed);
  const isAssembled = existsSync(ownHome) && Object.values(missing).every(isMade);
  if (!isAssembled && (await vendorAnswers())) {
    // The CLI downloads its plugins.
    const command = installed ?? (await downloadedCli());
    if (command !== undefined) return { command, env: {} };
  }
  await build(missing);
  return assemble(ownHome, installed, missing);
}
