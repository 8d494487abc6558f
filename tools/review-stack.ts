import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../common/errors.ts";
import { toYaml } from "../common/yaml.ts";
import { PROJECT } from "../settings/settings.ts";
import { SCHEMA_LINE } from "./stack-schema.ts";

/** Target of a pull request's stack. Without a context, it is the local cluster. */
export interface ReviewTarget {
  /** kubectl context. */
  readonly context?: string;
  /** Registry and organisation to push the images to. */
  readonly registry?: string;
}

/**
 * Writes the file of a pull request's stack, `pr-NUMBER`. It uses all defaults and a separate
 * namespace.
 * @returns the stack's name
 * @throws UserError if the number is invalid
 */
export async function writeReviewStack(
  directory: string,
  pullRequest: string,
  { context, registry }: ReviewTarget,
): Promise<string> {
  if (!/^[1-9]\d*$/.test(pullRequest)) {
    throw new UserError(`${pullRequest} is not the number of a pull request`, "Set it, as in PR=7.");
  }
  const stack = `pr-${pullRequest}`;
  const config = {
    ...(context === undefined ? { [`${PROJECT}:cluster`]: "local" } : { [`${PROJECT}:context`]: context }),
    ...(registry !== undefined && { [`${PROJECT}:registry`]: registry }),
    [`${PROJECT}:namespace`]: `dubbo-${stack}`,
  };
  await writeFile(join(directory, `Pulumi.${stack}.yaml`), SCHEMA_LINE + toYaml({ config }));
  return stack;
}
