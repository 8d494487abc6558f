import { UserError } from "../../lib/errors.ts";
import type { StackFile } from "../stack-file.ts";
import type { Engine } from "./engine.ts";
import { KubectlEngine } from "./kubectl.ts";

/** What `ENGINE=` takes. */
export const ENGINES = ["pulumi", "kubectl"] as const;
export type EngineName = (typeof ENGINES)[number];

/**
 * Picks the engine: the one asked for, else Pulumi's where its CLI is there or can be downloaded, else kubectl.
 * @throws UserError where Pulumi's is asked for and cannot be had
 */
export async function selectEngine(file: StackFile, wanted?: EngineName): Promise<Engine> {
  if (wanted === "kubectl") return new KubectlEngine(file);
  const { findPulumi, installPulumi, PulumiEngine } = await import("./pulumi.ts");
  const command = (await findPulumi()) ?? (await installPulumi());
  if (command !== undefined) return new PulumiEngine(file, command);
  if (wanted === "pulumi") {
    throw new UserError(
      "the Pulumi CLI is not installed, and it cannot be downloaded from its vendor",
      "Install it (https://www.pulumi.com/docs/iac/download-install/), or use ENGINE=kubectl.",
    );
  }
  process.stderr.write(
    "  note  engine kubectl: there is no Pulumi CLI here and it cannot be downloaded from its vendor; " +
      "no state, no engine diff, no secure: values\n",
  );
  return new KubectlEngine(file);
}
