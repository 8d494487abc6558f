import { readFile } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import {
  ConcurrentUpdateError,
  type EngineEvent,
  LocalWorkspace,
  PulumiCommand,
  type Stack,
  type StepEventMetadata,
} from "@pulumi/pulumi/automation/index.js";
import { execa } from "execa";
import { z } from "zod";
import { messageOf, UserError } from "../../lib/errors.ts";
import { step } from "../../lib/steps.ts";
import type { StackFile } from "../stack-file.ts";
import { isEphemeral } from "../stacks.ts";
import type { Change, Engine, Operation, Preview, Repair, UpResult } from "./engine.ts";
import { type KubernetesObject, kubernetesObject } from "./program.ts";
import { type Loss, type Warning, warningsOf } from "./warnings.ts";

const VENDOR = "https://get.pulumi.com";
const VENDOR_TIMEOUT_MS = 5_000;

function pulumiHome(): string {
  return process.env["PULUMI_HOME"] ?? join(homedir(), ".pulumi");
}

/** The Pulumi CLI on PATH or in its home; undefined where there is none. */
export async function findPulumi(): Promise<PulumiCommand | undefined> {
  for (const options of [{}, { root: pulumiHome() }]) {
    const found = await PulumiCommand.get(options).catch(() => undefined);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Downloads the Pulumi CLI into its home; undefined where its vendor does not answer within 5 s, or the download fails. */
export async function installPulumi(): Promise<PulumiCommand | undefined> {
  const reachable = await fetch(VENDOR, {
    method: "HEAD",
    signal: AbortSignal.timeout(VENDOR_TIMEOUT_MS),
  }).then(
    () => true,
    () => false,
  );
  if (!reachable) return undefined;
  return step("download the Pulumi CLI", () => PulumiCommand.install({ root: pulumiHome() })).catch(
    () => undefined,
  );
}

/** Whether the user has logged in to a backend with `pulumi login`. */
async function isLoggedIn(): Promise<boolean> {
  const credentials = await readFile(join(pulumiHome(), "credentials.json"), "utf8").catch(() => "{}");
  return Boolean((JSON.parse(credentials) as { current?: string }).current);
}

/** The environment of the CLI: the user's own, with a file backend and an empty passphrase where nothing is chosen. */
async function environment(): Promise<Record<string, string>> {
  const { env } = process;
  const passphrase = env["PULUMI_CONFIG_PASSPHRASE"] ?? env["PULUMI_CONFIG_PASSPHRASE_FILE"];
  const chosen = env["PULUMI_BACKEND_URL"] !== undefined || (await isLoggedIn());
  return {
    PULUMI_SKIP_UPDATE_CHECK: "true",
    ...(!chosen && { PULUMI_BACKEND_URL: "file://~" }),
    ...(passphrase === undefined && { PULUMI_CONFIG_PASSPHRASE: "" }),
  };
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  create: "create",
  update: "update",
  delete: "delete",
  replace: "replace",
};

/** The change that an engine event tells of, if it tells of one. */
export function changeOf(event: EngineEvent): Change[] {
  return stepChange(event.resourcePreEvent?.metadata);
}

/** The difference between state and cluster that an event of a refresh tells of: what was found is known when its look ends. */
export function driftOf(event: EngineEvent): Change[] {
  return stepChange(event.resOutputsEvent?.metadata);
}

function stepChange(metadata: StepEventMetadata | undefined): Change[] {
  const operation = metadata && OPERATIONS[metadata.op];
  if (!operation) return [];
  const diffs = metadata.diffs ?? [];
  const told = change(operation, metadata.type, metadata.urn);
  return [{ ...told, ...(diffs.length > 0 && { detail: diffs.join(", ") }) }];
}

function change(operation: Operation, type: string, urn: string): Change {
  return { operation, target: `${type} ${urn.split("::").at(-1) ?? urn}` };
}

const pending = z.object({
  pending_operations: z
    .array(z.object({ type: z.string(), resource: z.object({ urn: z.string() }) }))
    .nullish(),
});

/** What a state says was begun and not seen to its end. */
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
  delete: z.boolean().optional(),
});
const deploymentState = z.object({ resources: z.array(stateResource).nullish() });
type StateResource = z.infer<typeof stateResource>;

/** The resources of a state, without those that a replacement has left to be deleted. */
function stateResources(deployment: unknown): StateResource[] {
  const { resources } = deploymentState.parse(deployment);
  return (resources ?? []).filter((resource) => resource.delete !== true);
}

/** The Kubernetes object that a resource stands for, as the program declared it, or the Helm release; else none. */
function objectOf({ type, inputs }: StateResource): KubernetesObject[] {
  if (type === "kubernetes:helm.sh/v3:Release")
    return [{ apiVersion: "helm.sh/v3", kind: "Release", metadata: { name: inputs?.name ?? "" } }];
  const object = kubernetesObject.safeParse(inputs);
  return type.startsWith("kubernetes:") && object.success ? [object.data] : [];
}

const PROTECTION =
  /error: (unable to replace resource|Preview failed: resource .* cannot be deleted|preview failed)/;

/** True where a preview failed for nothing but what Pulumi protects: it has told what it would change all the same. Else it throws. */
function isProtection(error: unknown): true {
  const errors = diagnostics(messageOf(error))
    .split("\n")
    .filter((line) => line.includes("error: "));
  if (errors.length > 0 && errors.every((line) => PROTECTION.test(line))) return true;
  throw error;
}

const LOCK = /created by .*@(?<host>\S+) \(pid (?<pid>\d+)\)/g;

/** Refuses to break the lock of a command that still runs on this machine; of another machine's nothing can be known here. */
function refuseRunning(locked: string): void {
  for (const { groups } of locked.matchAll(LOCK)) {
    const pid = Number(groups?.["pid"]);
    if (groups?.["host"] !== hostname() || !isAlive(pid)) continue;
    throw new UserError(
      `the stack is not interrupted: process ${pid} works on it`,
      "Wait until it ends, or end it, then run the command again.",
    );
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // There is one, of another user.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Pulumi's own engine, by the Automation API: the same project and state as `pulumi up -s STACK` in its folder. */
export class PulumiEngine implements Engine {
  readonly name = "pulumi";
  readonly #file: StackFile;
  readonly #command: PulumiCommand;

  constructor(file: StackFile, command: PulumiCommand) {
    this.#file = file;
    this.#command = command;
  }

  async up(): Promise<UpResult> {
    const { changes, value } = await this.#run("pulumi up", (stack, options) => stack.up(options));
    const outputs = Object.entries(value.outputs).map(([name, output]) => [name, output.value as unknown]);
    return { outputs: Object.fromEntries(outputs) as Record<string, unknown>, changes };
  }

  async preview(): Promise<Preview> {
    const { changes, value } = await this.#run("pulumi preview", async (stack, options) => {
      const state: { readonly deployment: unknown } = await stack.exportStack();
      const lost = new Map<string, Loss["operation"]>();
      const declared = new Set<string>();
      const onEvent = (event: EngineEvent): void => {
        options.onEvent(event);
        const { op, urn } = event.resourcePreEvent?.metadata ?? {};
        if (urn === undefined) return;
        if (op === "delete" || op === "replace") lost.set(urn, op);
        else if (op !== "refresh") declared.add(urn);
      };
      const stopped = await stack.preview({ ...options, onEvent }).then(() => false, isProtection);
      return { resources: stateResources(state.deployment), lost, declared, stopped };
    });
    const { resources, lost, declared, stopped } = value;
    // At the first deletion of what is protected the engine stops: what is not declared either would go, too.
    const unseen = stopped ? resources.filter(({ urn }) => !lost.has(urn) && !declared.has(urn)) : [];
    for (const { urn } of unseen) lost.set(urn, "delete");
    const losses = resources.flatMap((resource): Loss[] => {
      const operation = lost.get(resource.urn);
      return operation === undefined ? [] : objectOf(resource).map((object) => ({ operation, object }));
    });
    return {
      changes: [...changes, ...unseen.map(({ urn, type }) => change("delete", type, urn))],
      warnings: warningsOf(resources.flatMap(objectOf), losses),
    };
  }

  async warnings(): Promise<readonly Warning[]> {
    return (await this.preview()).warnings;
  }

  async unprotect(): Promise<void> {
    const { directory, stack } = this.#file;
    const args = ["state", "unprotect", "--all", "--yes", "--stack", stack];
    await this.#run("pulumi state unprotect", async () =>
      execa(this.#command.command, args, { cwd: directory, env: await environment(), stdin: "ignore" }),
    );
  }

  async drift(): Promise<readonly Change[]> {
    const changes: Change[] = [];
    const found = { onEvent: (event: EngineEvent) => changes.push(...driftOf(event)) };
    await this.#run("pulumi refresh --preview-only", (stack, options) =>
      stack
        .previewRefresh({ ...options, ...found, expectNoChanges: true })
        // The flag makes a difference an error, which is the answer here.
        .catch((error: unknown) => {
          if (changes.length === 0) throw error;
        }),
    );
    return changes;
  }

  async repair(): Promise<Repair> {
    const changes: Change[] = [];
    const found = { onEvent: (event: EngineEvent) => changes.push(...driftOf(event)) };
    const { value } = await this.#run("pulumi refresh", async (stack, options) => {
      const state: { readonly deployment: unknown } = await stack.exportStack();
      const refresh = (): Promise<unknown> =>
        stack.refresh({ ...options, ...found, clearPendingCreates: true });
      const unlocked = await refresh().then(
        () => false,
        async (error: unknown) => {
          if (!(error instanceof ConcurrentUpdateError)) throw error;
          refuseRunning(error.message);
          await stack.cancel();
          await refresh();
          return true;
        },
      );
      return { unlocked, interrupted: pendingOperations(state.deployment) };
    });
    return { ...value, changes };
  }

  async down(): Promise<void> {
    if (this.#file.settings.production) await this.unprotect();
    await this.#run("pulumi destroy", (stack, options) => stack.destroy(options));
    if (!isEphemeral(this.#file.stack)) return;
    await this.#run("pulumi stack rm", async ({ workspace, name }) => workspace.removeStack(name));
  }

  async #stack(): Promise<Stack> {
    const { stack: stackName, directory: workDir } = this.#file;
    const options = { pulumiCommand: this.#command, envVars: await environment() };
    return LocalWorkspace.createOrSelectStack({ stackName, workDir }, options);
  }

  async #run<T>(title: string, work: (stack: Stack, options: RunOptions) => Promise<T>): Promise<Ran<T>> {
    const changes: Change[] = [];
    const options = {
      onEvent: (event: EngineEvent) => changes.push(...changeOf(event)),
      ...(this.#file.overridden && { configFile: this.#file.path }),
      // The local cluster can have been taken down under the stack.
      refresh: this.#file.settings.cluster === "local",
    };
    try {
      const stack = await this.#stack();
      return { value: await step(title, () => work(stack, options)), changes };
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw new UserError(
        `${title} failed: ${diagnostics(messageOf(error))}`,
        error instanceof ConcurrentUpdateError
          ? `If no command works on it any more, run \`make repair STACK=${this.#file.stack}\`.`
          : "Mend what it names and run the command again; the stack's state is kept.",
        { cause: error },
      );
    }
  }
}

interface RunOptions {
  onEvent: (event: EngineEvent) => void;
  configFile?: string;
  refresh: boolean;
}

interface Ran<T> {
  readonly value: T;
  readonly changes: readonly Change[];
}

const DIAGNOSTICS = /^Diagnostics:\n(?<text>.*?)\n*^(?:Outputs|Policies|Resources|Duration):/ms;

/** What the engine reports as wrong: its diagnostics or, where it did not come to them, its errors, once. */
function diagnostics(message: string): string {
  const reported = DIAGNOSTICS.exec(message)?.groups?.["text"];
  if (reported !== undefined) return `\n${reported}`;
  // The Automation API repeats the command's output behind `err?`.
  const [output = ""] = message.split("\n err?: ");
  const lines = output.split("\n").map((line) => line.replace(/^ ?(stdout|stderr): /, ""));
  const errors = lines.filter((line) => /error|denied|refused/i.test(line));
  return (errors.length === 0 ? message : [...new Set(errors)].join("\n")).trim();
}
