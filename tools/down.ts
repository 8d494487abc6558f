import { UserError } from "../common/errors.ts";
import { step } from "../common/steps.ts";
import type { Engine } from "./engine/engine.ts";
import { removeImage } from "./engine/images.ts";
import { runProgram } from "./engine/program.ts";
import type { StackFile } from "../stack/stack-file.ts";
import { isEphemeral } from "../stack/files.ts";

/** Something that remains of a removed stack, and the reason. */
export interface Remainder {
  readonly what: string;
  readonly why: string;
}

/** Result of {@link down}. */
export interface DownReport {
  /** Name of the removed stack. */
  readonly removed: string;
  /** Images that were removed from this machine's docker. */
  readonly images: readonly string[];
  /** Things that remain. */
  readonly remains: readonly Remainder[];
}

function remainders(file: StackFile, images: readonly string[], kept: boolean): Remainder[] {
  const { stack, settings } = file;
  const local = settings.cluster === "local";
  const list = images.join(", ");
  const built = images.length > 0;
  return [
    ...(built && kept
      ? [
          {
            what: `images in docker: ${list}`,
            why: "the next `up` need not build them; IMAGES=1 removes them",
          },
        ]
      : []),
    ...(built
      ? [
          {
            what: `images in the registry: ${list}`,
            why: local
              ? "other stacks may use them; `make cluster-clean` removes them"
              : "other stacks may use them; delete them in the registry",
          },
        ]
      : []),
    ...(settings.istio.mode === "existing"
      ? []
      : [{ what: "Istio's namespace and CRDs", why: "all Istio objects of the cluster need the CRDs" }]),
    ...(local
      ? [{ what: "the local cluster", why: "other stacks may run on it; `make cluster-down` removes it" }]
      : []),
    ...(!isEphemeral(stack)
      ? [
          {
            what: "the stack's state and history",
            why: `the next \`up\` continues with them; \`pulumi stack rm ${stack} --preserve-config\` removes them`,
          },
        ]
      : []),
  ];
}

function unknownImages({ encrypted }: StackFile): Remainder {
  const why = `their names depend on the encrypted values of ${encrypted.join(", ")}`;
  return { what: "images, if it built any", why };
}

/**
 * Returns the stack with masked encrypted values, or undefined if a key does not accept its mask.
 * @param file the stack as {@link readStackFile} reads it
 * @param read reads the stack with masks
 */
export async function maskedOrNone(
  file: Pick<StackFile, "encrypted">,
  read: () => Promise<StackFile>,
): Promise<StackFile | undefined> {
  return read().catch((error: unknown) => {
    if (error instanceof UserError && file.encrypted.length > 0) return undefined;
    throw error;
  });
}

/**
 * Removes a stack: its objects, callers before callees, then the namespace. For a pull request's
 * stack, it also removes the state.
 * @param masked the stack with masked encrypted values, needed only for the names of the images;
 *   undefined if a key does not accept its mask
 * @param withImages also removes the stack's images from this machine's docker
 */
export async function down(
  file: StackFile,
  masked: StackFile | undefined,
  engine: Pick<Engine, "down">,
  withImages: boolean,
): Promise<DownReport> {
  const declared = masked && (await runProgram(masked));
  const images = declared?.images.map(({ reference }) => reference) ?? [];
  await engine.down();
  const removed: string[] = [];
  for (const image of withImages ? images : []) {
    const gone = await step(`remove ${image}`, () =>
      removeImage(image, file.directory, file.settings.dockerHost),
    );
    if (gone) removed.push(image);
  }
  return {
    removed: file.stack,
    images: removed,
    remains: [
      ...(masked === undefined ? [unknownImages(file)] : []),
      ...remainders(file, images, !withImages),
    ],
  };
}
