import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { UserError } from "../../common/errors.ts";
import { type KubernetesObject, kubernetesObject } from "../../common/kubernetes-object.ts";
import { PROJECT } from "../../settings/settings.ts";
import type { StackFile } from "../../stack/stack-file.ts";
import { IMAGE_TYPE } from "../../settings/names.ts";
import type { DeclaredImage } from "./images.ts";

const imageInputs = z.object({
  imageName: z.string(),
  build: z.object({
    context: z.string(),
    dockerfile: z.string(),
    platform: z.string(),
    args: z.record(z.string(), z.string()),
    network: z.string(),
  }),
});

/** Objects, images and outputs that the program declares. */
export interface Declared {
  /** The objects, each after its dependencies. They refer to images by tag. */
  readonly objects: readonly KubernetesObject[];
  readonly images: readonly DeclaredImage[];
  readonly outputs: Readonly<Record<string, unknown>>;
}

function recordImage(images: DeclaredImage[], inputs: unknown): Record<string, unknown> {
  const { imageName, build } = imageInputs.parse(inputs);
  images.push({ reference: imageName, ...build });
  return { imageName, repoDigest: imageName };
}

/**
 * Returns mocks that replace the engine. They record declared resources and reject unknown ones.
 */
function recorder(objects: KubernetesObject[], images: DeclaredImage[]): pulumi.runtime.Mocks {
  const record = (type: string, inputs: unknown): Record<string, unknown> => {
    if (type === IMAGE_TYPE) return recordImage(images, inputs);
    // Only the engine knows the objects of a chart.
    if (type === "kubernetes:helm.sh/v3:Release") return {};
    if (type.startsWith("kubernetes:")) {
      const object = kubernetesObject.parse(inputs);
      objects.push(object);
      return object;
    }
    if (/^(pulumi:(providers|pulumi)|dubbo-mesh):/.test(type)) return {};
    throw new Error(`the program declares a ${type}, which cannot be rendered`);
  };
  return {
    call: ({ token }) => {
      throw new Error(`the program calls ${token}, which cannot be rendered`);
    },
    newResource: async ({ type, name, inputs }) => {
      // One turn of the event loop, as with an engine, lets resources register after their
      // dependencies.
      await new Promise((resolve) => setImmediate(resolve));
      return { id: `${name}-id`, state: record(type, inputs as unknown) };
    },
  };
}

async function plain(outputs: object): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    pulumi.output(outputs as Record<string, unknown>).apply(resolve);
  });
}

/**
 * Runs the program to its end and returns the plain values of its outputs. An output of a failed
 * resource never resolves. The runtime reports such a failure as unhandled, possibly several times,
 * until all pending work is done.
 */
async function outputsOf(program: () => Promise<object>): Promise<Record<string, unknown>> {
  let fail: (reason: unknown) => void = () => undefined;
  const failed = new Promise<never>((_resolve, reject) => {
    fail = reject;
  });
  process.on("unhandledRejection", fail);
  try {
    return await Promise.race([program().then(plain), failed]);
  } finally {
    await pulumi.runtime.disconnect();
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", fail);
  }
}

/** Converts an error that the program made for Pulumi back. Its last line is the fix. */
function fromRunError(error: unknown): unknown {
  if (!pulumi.RunError.isInstance(error)) return error;
  const [fix = "", ...lines] = error.message.split("\n").reverse();
  return lines.length === 0 ? error : new UserError(lines.reverse().join("\n"), fix, { cause: error });
}

/** Rejects values that only Pulumi's engine can read. */
function rejectEncrypted({ stack, encrypted }: StackFile): void {
  if (encrypted.length === 0) return;
  throw new UserError(
    `stack ${stack} has encrypted values (${encrypted.join(", ")}), which only Pulumi can read`,
    "Use `make preview`, or give these keys plain values.",
  );
}

/**
 * Runs the program without an engine and returns its declarations, without the objects of Istio's
 * charts.
 * @throws UserError if the program rejects the stack, or if the stack has encrypted values
 */
export async function runProgram(file: StackFile): Promise<Declared> {
  rejectEncrypted(file);
  const objects: KubernetesObject[] = [];
  const images: DeclaredImage[] = [];
  const config = Object.entries(file.raw).map(([key, value]) => [`${PROJECT}:${key}`, value]);
  pulumi.runtime.setAllConfig(Object.fromEntries(config) as Record<string, string>);
  await pulumi.runtime.setMocks(recorder(objects, images), PROJECT, file.stack, false);
  const [{ default: program }, { unchecked }] = await Promise.all([
    import("../../index.ts"),
    import("../../stack/checks.ts"),
  ]);
  const outputs = await outputsOf(() => program(unchecked)).catch((error: unknown) => {
    throw fromRunError(error);
  });
  return { objects, images, outputs };
}
