import { reasonOf, UserError } from "../common/errors.ts";
import { type ImageLoad, loadCommand } from "../settings/image-load.ts";

/**
 * Loads an image from docker into the cluster's nodes. The tool skips an image that the nodes have.
 * @returns reference of the image
 * @throws UserError if the tool is missing or fails
 */
export async function loadImage(reference: string, load: ImageLoad): Promise<string> {
  // Most stacks load no image. A dynamic import saves their loading time.
  const { execa, ExecaError } = await import("execa");
  const [tool, ...args] = loadCommand(reference, load);
  try {
    await execa(tool, args, { stdin: "ignore" });
    return reference;
  } catch (error) {
    if (error instanceof ExecaError && error.code === "ENOENT")
      throw new UserError(
        `${tool}, which loads images into the cluster ${load.cluster}, is not installed`,
        `Install ${tool}, or push the images to a registry: REGISTRY=HOST/ORGANISATION.`,
        { cause: error },
      );
    throw new UserError(
      `${tool} could not load ${reference} into the cluster ${load.cluster}: ${reasonOf(error)}`,
      "Fix the reported problem, or push the images to a registry: REGISTRY=HOST/ORGANISATION.",
      { cause: error },
    );
  }
}
