/** Settings of a mesh that a program passes in, without a stack file. */
import type { z } from "zod";
import { UserError } from "../common/errors.ts";
import { checkCombinations, describeIssue, unquoted } from "./issues.ts";
import { keys } from "./keys.ts";
import { type MeshModel, modelOf } from "./model.ts";
import type { serviceKeys } from "./services.ts";

/** Keys for the cluster and the image builds. A program sets these up itself. */
const PLACEMENT = {
  cluster: true,
  context: true,
  kubeconfig: true,
  registry: true,
  baseImage: true,
  platform: true,
} as const;

/** Keys that describe a mesh. */
export const meshKeys = keys.omit(PLACEMENT);

/** Service of a mesh. Its image is built elsewhere, and no command promotes its versions. */
export type ServiceInput = Omit<z.input<typeof serviceKeys>, "app" | "build" | "promotion">;

/** Mesh that a program passes in: the keys of docs/configuration.md without those of its place. */
export interface MeshInput extends Omit<z.input<typeof meshKeys>, "services"> {
  /** The Dubbo applications of the mesh, at least one. */
  readonly services: readonly ServiceInput[];
}

const meshSchema = meshKeys.superRefine((given, context) => {
  checkCombinations({ ...given, cluster: "existing" }, context);
});

/**
 * Checks a mesh and fills in its defaults.
 * @param built services whose images the program builds and passes to the components
 * @throws UserError that names each wrong or unknown key
 */
export function meshModel(given: MeshInput, built: readonly string[] = []): MeshModel {
  // The schema requires `image` or `build`. The program builds these images itself.
  const services = given.services.map((service) =>
    built.includes(service.name) ? { ...service, build: { context: service.name } } : service,
  );
  const { error, data } = meshSchema.safeParse({ ...given, services }, { error: unquoted });
  if (error !== undefined) {
    throw new UserError(
      error.issues.map((issue) => describeIssue(issue)).join("; "),
      "Correct the arguments of the mesh; docs/configuration.md lists all keys.",
    );
  }
  return modelOf({ ...data, cluster: "existing" });
}
