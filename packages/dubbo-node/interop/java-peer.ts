import { join } from "node:path";
import { execa } from "execa";
import { UserError } from "../../../common/errors.ts";
import { step } from "../../../common/steps.ts";

const FOLDER = join(import.meta.dirname, "java");

/** Classes of the Java peer. */
export const PEER_JAR = join(FOLDER, "target/peer.jar");
/** Folder with the libraries of the Java peer. */
export const PEER_LIBRARIES = join(FOLDER, "target/lib");

/**
 * Builds the Java peer. The first build downloads Dubbo and the generators.
 * @throws UserError if Maven is missing or the build fails
 */
export async function buildJavaPeer(): Promise<void> {
  try {
    await step("build the Java peer with Maven (30 s the first time)", () =>
      execa("mvn", ["--batch-mode", "--quiet", "--file", FOLDER, "package"]),
    );
  } catch (error) {
    throw new UserError("the Java peer cannot be built", "Install a JDK (17 or newer) and Maven.", {
      cause: error,
    });
  }
}

/** Returns the command that runs a main class of the Java peer. */
export function javaCommand(main: "Provider" | "Consumer", args: readonly string[]): [string, ...string[]] {
  return ["java", "-cp", `${PEER_JAR}:${join(PEER_LIBRARIES, "*")}`, `mesh.dubbo.interop.${main}`, ...args];
}
