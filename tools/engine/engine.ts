import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import {
  ConcurrentUpdateError,
  type EngineEvent,
  LocalWorkspace,
  Stack,
  StackNotFoundError,
  type StepEventMetadata,
  type UpResult as UpOutput,
} from "@pulumi/pulumi/automation/index.js";
import { execa, ExecaError } from "execa";
import { z } from "zod";
import { messageOf, reasonOf, UserError } from "../../common/errors.ts";
import { diagnostics, reportedDiagnostics } from "../../common/diagnostics.ts";
import { step } from "../../common/steps.ts";
import { toYaml } from "../../common/yaml.ts";
import type { StackFile } from "../../stack/stack-file.ts";
import { isEphemeral } from "../../stack/files.ts";
import { credentialsFolder, findEngine, type FoundEngine } from "./find.ts";
import { type KubernetesObject, kubernetesObject } from "../../common/kubernetes-object.ts";
import { REGISTRY } from "../../common/local-cluster.ts";
import { hasLost } from "../../packages/local-cluster/registry.ts";
import { IMAGE_TYPE } from "../../settings/names.ts";
import { type Loss, type Operation, type Warning, warningsOf } from "./warnings.ts";

/** A change of one resource of a stack. */
export interface Change {
  readonly operation: Operation;
  /** Kind and name of the object, or the resource's type and name. */
  readonly target: string;
  /** Readable description of the changed fields. */
  readonly detail?: string;
}

/** Object of a stack in the cluster and in Pulumi's state. Both omit encrypted values. */
export interface LiveObject {
  /**
   * The object in the cluster, with the provider's own fields, such as `__fieldManager`.
   * Source: pulumi-kubernetes's pkg/provider/provider.go, checkpointObject
   */
  readonly live: KubernetesObject;
  /** The object as the last `up` or `repair` left it in the state. */
  readonly declared: unknown;
  /** True if the refresh reports a changed field of the object. */
  readonly isChanged: boolean;
}

/** Result of {@link Engine.drift}. */
export interface Refreshed {
  /** Differences between the cluster and the state. */
  readonly changes: readonly Change[];
  /** The stack's objects that the cluster has. */
  readonly objects: readonly LiveObject[];
}

/** Result of a preview of `up`. */
export interface Preview {
  readonly changes: readonly Change[];
  /** Effects that callers would notice. */
  readonly warnings: readonly Warning[];
}

/** Facts that are known before `up`. */
export interface Forecast {
  /** Effects that callers would notice. */
  readonly warnings: readonly Warning[];
  /** The stack's outputs, if `up` would change nothing. */
  readonly outputs?: Readonly<Record<string, unknown>>;
  /** URNs of images that the local registry has lost. */
  readonly lostImages: readonly string[];
}

/** Result of `up`. */
export interface UpResult {
  /** The stack's outputs by name. */
  readonly outputs: Readonly<Record<string, unknown>>;
  /** Changes that were made; empty if there were none. */
  readonly changes: readonly Change[];
}

/** Result of {@link Engine.repair}. */
export interface Repair {
  /** True if the lock of an interrupted command was released. */
  readonly unlocked: boolean;
  /** Unfinished operations, each with its resource. */
  readonly interrupted: readonly string[];
  /** Differences between the old state and the cluster. The state now matches the cluster. */
  readonly changes: readonly Change[];
}

/** Reports whether the user has logged in to a backend with `pulumi login`. */
async function isLoggedIn(): Promise<boolean> {
  const path = join(credentialsFolder(), "credentials.json");
  const credentials = await readFile(path, "utf8").catch(() => "{}");
  return Boolean((JSON.parse(credentials) as { current?: string }).current);
}

/** Returns variables for the CLI. The defaults are a file backend and an empty passphrase. */
async function backendEnvironment(): Promise<Record<string, string>> {
  const { env } = process;
  const passphrase = env["PULUMI_CONFIG_PASSPHRASE"] ?? env["PULUMI_CONFIG_PASSPHRASE_FILE"];
  const chosen = env["PULUMI_BACKEND_URL"] !== undefined || (await isLoggedIn());
  return {
    PULUMI_SKIP_UPDATE_CHECK: "true",
    ...(!chosen && { PULUMI_BACKEND_URL: "file://~" }),
    ...(passphrase === undefined && { PULUMI_CONFIG_PASSPHRASE: "" }),
  };
}

/**
 * Returns the environment in which plain `pulumi` behaves like this project's commands. It puts the
 * CLI and this Node.js on PATH, and sets backend and passphrase. If parts are built or are
 * stand-ins, it also sets PULUMI_HOME.
 * @throws UserError if the engine is neither available nor can be built
 */
export async function engineEnvironment(): Promise<Record<string, string>> {
  const { command, env } = await findEngine();
  const { command: cli } = command;
  const folders = [...(isAbsolute(cli) ? [dirname(cli)] : []), dirname(process.execPath)];
  const path = env["PATH"] ?? process.env["PATH"] ?? "";
  const first = folders.filter((folder) => !path.split(delimiter).includes(folder));
  const cache = process.env["NODE_COMPILE_CACHE"];
  return {
    ...(await backendEnvironment()),
    ...(cache !== undefined && { NODE_COMPILE_CACHE: cache }),
    ...env,
    PATH: [...first, path].join(delimiter),
  };
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  create: "create",
  update: "update",
  delete: "delete",
  replace: "replace",
};

/** Returns the change that an engine event reports, if any. */
export function changeOf(event: EngineEvent): Change[] {
  return stepChange(event.resourcePreEvent?.metadata);
}

/**
 * Returns the drift that an event of a refresh reports, if any. The refresh knows it only after it
 * has read the resource.
 */
export function driftOf(event: EngineEvent): Change[] {
  return stepChange(event.resOutputsEvent?.metadata);
}

/** Returns the object that a refresh has read, if the event reports one. */
export function liveOf({ resOutputsEvent }: EngineEvent): LiveObject[] {
  const { op, type = "", old, new: now } = resOutputsEvent?.metadata ?? {};
  const live = kubernetesObject.safeParse(withoutSecrets(now?.outputs));
  if (!type.startsWith("kubernetes:") || !live.success) return [];
  return [{ live: live.data, declared: withoutSecrets(old?.inputs), isChanged: op === "update" }];
}

function withoutSecrets(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (SECRET in value) return undefined;
  if (Array.isArray(value)) return value.map(withoutSecrets);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withoutSecrets(part)]));
}

function stepChange(metadata: StepEventMetadata | undefined): Change[] {
  const operation = metadata && OPERATIONS[metadata.op];
  if (!operation) return [];
  const diffs = metadata.diffs ?? [];
  const reported = change(operation, metadata.type, metadata.urn);
  return [{ ...reported, ...(diffs.length > 0 && { detail: diffs.join(", ") }) }];
}

function change(operation: Operation, type: string, urn: string): Change {
  return { operation, target: `${type} ${urn.split("::").at(-1) ?? urn}` };
}

const pending = z.object({
  pending_operations: z
    .array(z.object({ type: z.string(), resource: z.object({ urn: z.string() }) }))
    .nullish(),
});

/** Returns the operations that a state records as started but not finished. */
function pendingOperations(deployment: unknown): string[] {
  const { pending_operations: operations } = pending.parse(deployment);
  return (operations ?? []).map(({ type, resource }) => {
    const [, , types, name] = resource.urn.split("::");
    return `${type} ${types?.split("$").at(-1) ?? ""} ${name ?? ""}`;
  });
}

const stateResource = z.looseObject({
  urn: z.string(),
  type: z.string(),
  inputs: z.looseObject({ name: z.string().optional().catch(undefined) }).optional(),
  outputs: z.record(z.string(), z.unknown()).optional(),
  delete: z.boolean().optional(),
});
const deploymentState = z.object({ resources: z.array(stateResource).nullish() });
type StateResource = z.infer<typeof stateResource>;

/** Returns the resources of a state, without replaced ones that are still to be deleted. */
function stateResources(deployment: unknown): StateResource[] {
  const { resources } = deploymentState.parse(deployment);
  return (resources ?? []).filter((resource) => resource.delete !== true);
}

/**
 * Returns the Kubernetes object or Helm release of a resource, as the program declared it, or none.
 */
function objectOf({ type, inputs }: StateResource): KubernetesObject[] {
  if (type === "kubernetes:helm.sh/v3:Release")
    return [{ apiVersion: "helm.sh/v3", kind: "Release", metadata: { name: inputs?.name ?? "" } }];
  const object = kubernetesObject.safeParse(inputs);
  return type.startsWith("kubernetes:") && object.success ? [object.data] : [];
}

/**
 * Returns the URNs of the images that the local registry has lost. Neither Pulumi nor its Docker
 * plugin asks the registry.
 */
async function lostImages(resources: readonly StateResource[]): Promise<string[]> {
  const lost = resources.map(async ({ urn, type, outputs }) => {
    const image = outputs?.["repoDigest"];
    const isHeld = type === IMAGE_TYPE && typeof image === "string" && image.startsWith(`${REGISTRY}/`);
    return isHeld && (await hasLost(image)) ? [urn] : [];
  });
  return (await Promise.all(lost)).flat();
}

type Outputs = UpResult["outputs"];

/** Returns the stack's outputs if an event reports them and none is secret. */
function outputsIn({ resOutputsEvent }: EngineEvent): Outputs | undefined {
  const { type, new: after } = resOutputsEvent?.metadata ?? {};
  if (type !== STACK_TYPE || after === undefined) return undefined;
  const outputs = after.outputs as Outputs;
  const text = JSON.stringify(outputs);
  return [SECRET, HIDDEN].some((mark) => text.includes(mark)) ? undefined : outputs;
}

/** Returns the outputs in an event of a preview if the finished state has the same ones. */
function keptOutputs(event: EngineEvent, deployment: unknown): Outputs | undefined {
  const after = outputsIn(event);
  if (after === undefined || pendingOperations(deployment).length > 0) return undefined;
  const before = stateResources(deployment).find(({ type }) => type === STACK_TYPE)?.outputs;
  return isDeepStrictEqual(before, after) ? after : undefined;
}

const STACK_TYPE = "pulumi:pulumi:Stack";
/** Key that marks a secret value. Source: pulumi's sdk/go/common/resource/properties.go, SigKey */
const SECRET = "4dabf18193072939515e22adb298388d";
/** Text in place of a secret value. Source: pulumi's pkg/engine/events.go, filterPropertyValue */
const HIDDEN = "[secret]";

const PROTECTION =
  /error: (unable to replace resource|Preview failed: resource .* cannot be deleted|preview failed)/;

/**
 * Returns true if a preview failed only because of protected resources. Such a preview still
 * reports its changes.
 * @throws the given error if there is another cause
 */
function isProtection(error: unknown): true {
  const errors = diagnostics(messageOf(error))
    .split("\n")
    .filter((line) => line.includes("error: "));
  if (errors.length > 0 && errors.every((line) => PROTECTION.test(line))) return true;
  throw error;
}

const LOCK = /created by .*@(?<host>\S+) \(pid (?<pid>\d+)\)/g;

/**
 * Checks that no process on this machine holds the lock. Processes on other machines cannot be
 * checked.
 * @throws UserError if such a process runs
 */
function rejectRunningProcess(locked: string): void {
  for (const { groups } of locked.matchAll(LOCK)) {
    const pid = Number(groups?.["pid"]);
    if (groups?.["host"] !== hostname() || !isAlive(pid)) continue;
    throw new UserError(
      `the stack is not interrupted: process ${pid} is working on it`,
      "Wait until it ends, or stop it, then run the command again.",
    );
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // The process exists but belongs to another user.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Pulumi's engine for one stack. It uses the same project and state as `pulumi up -s STACK` in its
 * folder.
 */
export class Engine {
  readonly #file: StackFile;
  readonly #found: FoundEngine;

  constructor(file: StackFile, found: FoundEngine) {
    this.#file = file;
    this.#found = found;
  }

  /**
   * Finds or builds the engine.
   * @throws UserError if it is neither available nor can be built
   */
  static async of(file: StackFile): Promise<Engine> {
    return new Engine(file, await findEngine());
  }

  /** Returns the engine for the same stack with other values. */
  with(file: StackFile): Engine {
    return new Engine(file, this.#found);
  }

  /**
   * Builds and pushes the images, and applies the stack to the cluster.
   * @param lostImages URNs of images to push again (default: none)
   * @param waitsFor says what the update waits for, for the line every 15 s (default: nothing)
   */
  async up(lostImages: readonly string[] = [], waitsFor?: () => Promise<string>): Promise<UpResult> {
    const replace = [...lostImages];
    let outputs: Outputs | undefined;
    const apply = async (stack: Stack, options: RunOptions): Promise<UpOutput> => {
      const onEvent = (event: EngineEvent): void => {
        options.onEvent(event);
        if (event.resOutputsEvent?.metadata.type === STACK_TYPE) outputs = outputsIn(event);
      };
      const ask = stack.outputs.bind(stack);
      // The CLI takes half a second to print them.
      stack.outputs = async () => (outputs === undefined ? ask() : {});
      return stack.up({ ...options, onEvent, replace });
    };
    const { changes, value } = await this.#run("pulumi up", apply, waitsFor);
    const asked = Object.entries(value.outputs).map(([name, output]) => [name, output.value as unknown]);
    return { outputs: outputs ?? (Object.fromEntries(asked) as Outputs), changes };
  }

  /**
   * Updates one object of the stack. Does not wait until other objects are ready.
   * @throws UserError if the stack has no such object
   */
  async upObject(kind: string, name: string): Promise<void> {
    await this.#run(`pulumi up --target ${kind}/${name}`, async (stack, options) => {
      const deployment = await this.#deployment();
      const isWanted = (object: KubernetesObject): boolean =>
        object.kind === kind && object.metadata.name === name;
      const found = stateResources(deployment).filter((resource) => objectOf(resource).some(isWanted));
      if (found.length === 0) {
        throw new UserError(
          `stack ${this.#file.stack} has no ${kind} ${name}`,
          `Run \`make up STACK=${this.#file.stack}\` first.`,
        );
      }
      stack.outputs = () => Promise.resolve({});
      return stack.up({ ...options, target: found.map(({ urn }) => urn) });
    });
  }

  /** Returns the changes that `up` would make. Changes nothing. */
  async preview(): Promise<Preview> {
    const { changes, warnings } = await this.#preview(() => true);
    return { changes, warnings };
  }

  /**
   * Returns the effects of `up` that callers would notice, and the outputs if there is nothing to
   * do. Changes nothing.
   */
  async forecast(): Promise<Forecast> {
    // An empty stack has nothing to lose.
    const { changes, warnings, outputs, lostImages } = await this.#preview(
      (resources) => resources.length > 0,
    );
    return { warnings, lostImages, ...(changes.length === 0 && outputs !== undefined && { outputs }) };
  }

  /** @param isNeeded decides from the state's resources; if false, the preview is skipped */
  async #preview(
    isNeeded: (resources: readonly StateResource[]) => boolean,
  ): Promise<Preview & Pick<Forecast, "outputs" | "lostImages">> {
    const { changes, value } = await this.#run("pulumi preview", async (stack, options) => {
      const deployment = await this.#deployment();
      const resources = stateResources(deployment);
      const isLocal = this.#file.settings.cluster === "local";
      const replace = isLocal ? await lostImages(resources) : [];
      const lost = new Map<string, Loss["operation"]>();
      const declared = new Set<string>();
      let outputs: Outputs | undefined;
      const onEvent = (event: EngineEvent): void => {
        options.onEvent(event);
        outputs ??= keptOutputs(event, deployment);
        const { op, urn } = event.resourcePreEvent?.metadata ?? {};
        if (urn === undefined) return;
        if (op === "delete" || op === "replace") lost.set(urn, op);
        else if (op !== "refresh") declared.add(urn);
      };
      // The CLI saves the state after each resource, even in a preview, which discards it. Source:
      // pulumi's pkg/backend/diy/backend.go, DiscardPersister
      stack.workspace.envVars["PULUMI_SKIP_CHECKPOINTS"] = "true";
      const stopped =
        isNeeded(resources) &&
        (await stack.preview({ ...options, onEvent, replace }).then(() => false, isProtection));
      return { resources, lost, declared, stopped, outputs, replace };
    });
    const { resources, lost, declared, stopped, outputs, replace } = value;
    // The engine stops at the first deletion of a protected resource. All other undeclared
    // resources would be deleted too.
    const unseen = stopped ? resources.filter(({ urn }) => !lost.has(urn) && !declared.has(urn)) : [];
    for (const { urn } of unseen) lost.set(urn, "delete");
    const losses = resources.flatMap((resource): Loss[] => {
      const operation = lost.get(resource.urn);
      return operation === undefined ? [] : objectOf(resource).map((object) => ({ operation, object }));
    });
    return {
      changes: [...changes, ...unseen.map(({ urn, type }) => change("delete", type, urn))],
      warnings: warningsOf(resources.flatMap(objectOf), losses),
      lostImages: replace,
      ...(outputs !== undefined && { outputs }),
    };
  }

  /** Removes protection from all resources until the next `up`. */
  async unprotect(): Promise<void> {
    await this.#run("pulumi state unprotect", () => this.#cli("state", "unprotect", "--all", "--yes"));
  }

  /** Returns the stack's objects in the cluster and their drift from the state. Changes nothing. */
  async drift(): Promise<Refreshed> {
    const changes: Change[] = [];
    const objects: LiveObject[] = [];
    const found = {
      onEvent: (event: EngineEvent) => {
        changes.push(...driftOf(event));
        objects.push(...liveOf(event));
      },
    };
    await this.#run("pulumi refresh --preview-only", (stack, options) =>
      stack
        .previewRefresh({ ...options, ...found, expectNoChanges: true })
        // This flag turns a difference into an error, but here it is the result.
        .catch((error: unknown) => {
          if (changes.length === 0) throw error;
        }),
    );
    return { changes, objects };
  }

  /** Makes the state match the cluster after an interrupted command. */
  async repair(): Promise<Repair> {
    const changes: Change[] = [];
    const found = { onEvent: (event: EngineEvent) => changes.push(...driftOf(event)) };
    const { value } = await this.#run("pulumi refresh", async (stack, options) => {
      const deployment = await this.#deployment();
      const refresh = (): Promise<unknown> =>
        stack.refresh({ ...options, ...found, clearPendingCreates: true });
      const unlocked = await refresh().then(
        () => false,
        async (error: unknown) => {
          if (!(error instanceof ConcurrentUpdateError)) throw error;
          rejectRunningProcess(error.message);
          await stack.cancel();
          await refresh();
          return true;
        },
      );
      return { unlocked, interrupted: pendingOperations(deployment) };
    });
    return { ...value, changes };
  }

  /**
   * Removes all resources of the stack and waits until they are gone. For a review stack, it also
   * removes the state.
   */
  async down(): Promise<void> {
    if (this.#file.settings.production) await this.unprotect();
    // No refresh is needed: deleting a missing object succeeds.
    await this.#run("pulumi destroy", (stack, options) => stack.destroy({ ...options, refresh: false }));
    if (!isEphemeral(this.#file.stack)) return;
    await this.#run("pulumi stack rm", async ({ workspace, name }) => workspace.removeStack(name));
  }

  /** Runs a command of the CLI for the stack and returns its output. */
  async #cli(...args: readonly string[]): Promise<string> {
    const { directory, stack } = this.#file;
    const { stdout } = await execa(this.#found.command.command, [...args, "--stack", stack], {
      cwd: directory,
      env: await this.#environment(),
      stdin: "ignore",
    });
    return stdout;
  }

  /**
   * Returns the stack's state. The Automation API would decrypt encrypted values, which takes the
   * CLI 0.2 s.
   */
  async #deployment(): Promise<unknown> {
    const state = JSON.parse(await this.#cli("stack", "export")) as { readonly deployment: unknown };
    return state.deployment;
  }

  async #environment(): Promise<Record<string, string>> {
    return { ...(await backendEnvironment()), ...this.#found.env };
  }

  /** Returns the stack, which may not exist. Each of its commands names it, so none selects it. */
  async #stack(): Promise<Stack> {
    const { stack: stackName, directory: workDir } = this.#file;
    const envVars = await this.#environment();
    const workspace = await LocalWorkspace.create({ workDir, pulumiCommand: this.#found.command, envVars });
    workspace.selectStack = () => Promise.resolve();
    const stack = await Stack.select(stackName, workspace);
    // The Automation API asks for the history after each command, which takes half a second.
    stack.info = () => Promise.resolve(undefined);
    return stack;
  }

  async #run<T>(
    title: string,
    work: (stack: Stack, options: RunOptions) => Promise<T>,
    waitsFor?: () => Promise<string>,
  ): Promise<RunResult<T>> {
    const changes: Change[] = [];
    const options = {
      onEvent: (event: EngineEvent) => changes.push(...changeOf(event)),
      // The local cluster may have been removed since the last run.
      refresh: this.#file.settings.cluster === "local",
    };
    try {
      const stack = await this.#stack();
      const value = await withOverrides(this.#file, async (file) => {
        const once = async (): Promise<T> => work(stack, { ...options, ...file });
        const orNew = async (): Promise<T> =>
          once().catch(async (error: unknown) => {
            if (!isMissing(error)) throw error;
            await stack.workspace.createStack(stack.name);
            return once();
          });
        return step(title, orNew, undefined, waitsFor);
      });
      return { value, changes };
    } catch (error) {
      if (error instanceof UserError) throw error;
      const message = messageOf(error);
      throw (
        programError(message, error) ??
        new UserError(
          `${title} failed: ${diagnostics(message)}`,
          error instanceof ConcurrentUpdateError
            ? `If no other command is running, run \`make repair STACK=${this.#file.stack}\`.`
            : "Fix the reported problem and run the command again; the stack's state is kept.",
          { cause: error },
        )
      );
    }
  }
}

/** Runs `work` with the stack's file and its overrides, if it has any, in a temporary copy. */
async function withOverrides<T>(
  { stack, overridden }: StackFile,
  work: (file: Pick<RunOptions, "configFile">) => Promise<T>,
): Promise<T> {
  if (overridden === undefined) return work({});
  const folder = await mkdtemp(join(tmpdir(), "dubbo-mesh-"));
  try {
    const configFile = join(folder, `Pulumi.${stack}.yaml`);
    await writeFile(configFile, toYaml(overridden), { mode: 0o600 });
    return await work({ configFile });
  } finally {
    await rm(folder, { recursive: true });
  }
}

interface RunOptions {
  onEvent: (event: EngineEvent) => void;
  configFile?: string;
  refresh: boolean;
}

/** Source: pulumi's pkg/backend/backenderr/backenderr.go */
const NO_STACK = /no stack named '.*' found/;

/** Tells whether a command failed because its stack does not exist. */
function isMissing(error: unknown): boolean {
  return error instanceof ExecaError ? NO_STACK.test(reasonOf(error)) : error instanceof StackNotFoundError;
}

interface RunResult<T> {
  readonly value: T;
  readonly changes: readonly Change[];
}

/** Returns the program's own error, if it is the only one and its last line is a fix. */
function programError(message: string, cause: unknown): UserError | undefined {
  const lines = (reportedDiagnostics(message) ?? "").split("\n").map((line) => line.trim());
  const [first, ...errors] = lines.filter((line) => line.startsWith("error: "));
  const about = lines.filter((line) => /^\S+ \(.*\):$/.test(line));
  const [what = "", ...rest] = lines.slice(lines.indexOf(first ?? ""));
  const isOwn = errors.length === 0 && about.length === 1 && about[0]?.startsWith("pulumi:pulumi:Stack ");
  const fix = rest.pop();
  if (isOwn !== true || fix === undefined || what.endsWith("unhandled exception:")) return undefined;
  return new UserError([what.slice("error: ".length), ...rest].join("\n"), fix, { cause });
}
