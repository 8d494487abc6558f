import type { V1Pod } from "@kubernetes/client-node";
import { clusterUp } from "../packages/local-cluster/cluster.ts";
import { UserError } from "../common/errors.ts";
import { step } from "../common/steps.ts";
import { confirmWarnings } from "./confirm.ts";
import { type Change, Engine, type UpResult } from "./engine/engine.ts";
import { findEngine } from "./engine/find.ts";
import { describeWaits, firstReply, loggingConsumer, withWaitReasons } from "./first-reply.ts";
import { LiveMesh } from "./mesh.ts";
import type { StackFile } from "../stack/stack-file.ts";

/** Result of {@link up}. */
export interface UpReport {
  readonly changes: readonly Change[];
  /** Log line with the consumer's first reply; undefined if the stack runs no consumer. */
  readonly reply: string | undefined;
  readonly outputs: Readonly<Record<string, unknown>>;
}

/**
 * Applies a stack to the cluster. If callers would notice, it first requires the stack name. If the
 * preview has no changes, it does nothing.
 * @param confirmed stack name that the user has typed
 * @param pods returns the stack's pods, to explain a long wait or an error (default: none)
 * @throws UserError before any change, if callers would notice and the name is missing or wrong
 */
export async function change(
  file: Pick<StackFile, "stack">,
  engine: Pick<Engine, "forecast" | "unprotect" | "up">,
  confirmed?: string,
  pods: () => Promise<readonly V1Pod[]> = () => Promise.resolve([]),
): Promise<UpResult> {
  const { warnings, outputs, lostImages } = await engine.forecast();
  if (outputs !== undefined) return { outputs, changes: [] };
  await confirmWarnings(file, warnings, confirmed);
  if (warnings.length > 0) await engine.unprotect();
  const waitsFor = async (): Promise<string> => describeWaits(await pods());
  return engine.up(lostImages, waitsFor).catch(async (error: unknown) => {
    throw error instanceof UserError ? withWaitReasons(error, await pods()) : error;
  });
}

/**
 * Deploys a stack, from nothing if needed. It starts the local cluster if the stack uses it, builds
 * the images and applies the objects. Then it waits for the consumer's first reply. Existing parts
 * stay unchanged.
 * @param confirmed stack name that the user has typed, to accept changes that callers notice
 * @throws UserError before any change, if callers would notice and the name is missing or wrong
 */
export async function up(file: StackFile, confirmed?: string): Promise<UpReport> {
  const { settings } = file;
  const engine = await Engine.of(file);
  if (settings.cluster === "local") await clusterUp(findEngine);
  const mesh = new LiveMesh(settings);
  const pods = async (): Promise<V1Pod[]> =>
    // The engine's error matters more, even if the cluster no longer answers.
    (await Promise.all(settings.services.map(({ name }) => mesh.pods(name).catch(() => [])))).flat();
  const { changes, outputs } = await change(file, engine, confirmed, pods);
  const consumer = loggingConsumer(file);
  const reply =
    consumer === undefined
      ? undefined
      : await step("wait for the consumer's first reply", () => firstReply(mesh, consumer));
  return { changes, reply, outputs };
}
