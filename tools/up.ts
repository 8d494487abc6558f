import type { V1Pod } from "@kubernetes/client-node";
import { clusterUp } from "../packages/local-cluster/cluster.ts";
import { UserError } from "../common/errors.ts";
import { step } from "../common/steps.ts";
import { confirmWarnings } from "./confirm.ts";
import { type Change, Engine, type UpResult } from "./engine/engine.ts";
import { findEngine } from "./engine/find.ts";
import { firstReply, loggingConsumer, withPods } from "./first-reply.ts";
import { Mesh } from "./mesh.ts";
import type { StackFile } from "../stack/stack-file.ts";

/** What came of {@link up}. */
export interface UpReport {
  /** What was changed. */
  readonly changes: readonly Change[];
  /** The line in which the consumer quotes its first reply; undefined where the stack runs no consumer. */
  readonly reply: string | undefined;
  /** The stack's outputs. */
  readonly outputs: Readonly<Record<string, unknown>>;
}

/**
 * Brings the cluster to the stack's state, unless calls would feel it and nobody has said that this is meant. Where the preview finds
 * nothing to do, nothing more is run.
 * @param confirmed the stack's name as somebody typed it
 * @param pods asks for the stack's pods, which an engine's error is told with (default: none)
 * @throws UserError before anything is changed, where calls would feel it and the name was not typed
 */
export async function change(
  file: Pick<StackFile, "stack">,
  engine: Pick<Engine, "forecast" | "unprotect" | "up">,
  confirmed?: string,
  pods: () => Promise<readonly V1Pod[]> = () => Promise.resolve([]),
): Promise<UpResult> {
  const { warnings, outputs } = await engine.forecast();
  if (outputs !== undefined) return { outputs, changes: [] };
  await confirmWarnings(file, warnings, confirmed);
  if (warnings.length > 0) await engine.unprotect();
  return engine.up().catch(async (error: unknown) => {
    throw error instanceof UserError ? withPods(error, await pods()) : error;
  });
}

/**
 * Brings a stack up, from nothing if need be: the local cluster if the stack asks for it, the images, the objects; then waits
 * for the consumer's first reply. What is there already is left as it is.
 * @param confirmed the stack's name as somebody typed it, who means what calls would feel
 * @throws UserError before anything is changed, where calls would feel it and the name was not typed
 */
export async function up(file: StackFile, confirmed?: string): Promise<UpReport> {
  const { settings } = file;
  const engine = await Engine.of(file);
  if (settings.cluster === "local") await clusterUp(findEngine);
  const mesh = new Mesh(settings);
  const pods = async (): Promise<V1Pod[]> =>
    // What there is to tell is the engine's error, whether or not the cluster still answers.
    (await Promise.all(settings.services.map(({ name }) => mesh.pods(name).catch(() => [])))).flat();
  const { changes, outputs } = await change(file, engine, confirmed, pods);
  const consumer = loggingConsumer(settings.services);
  const reply =
    consumer === undefined
      ? undefined
      : await step("wait for the consumer's first reply", () => firstReply(mesh, consumer));
  return { changes, reply, outputs };
}
