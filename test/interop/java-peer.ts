import { join } from "node:path";
import { execa } from "execa";
import { step } from "../../lib/steps.ts";

const FOLDER = join(import.meta.dirname, "java");
const CLASS_PATH = [join(FOLDER, "target/peer.jar"), join(FOLDER, "target/lib/*")].join(":");

/** Builds the Java peer; Maven fetches Dubbo and the generators the first time. */
export async function buildJavaPeer(): Promise<void> {
  await step("build the Java peer with Maven (30 s the first time)", () =>
    execa("mvn", ["--batch-mode", "--quiet", "--file", FOLDER, "package"]),
  );
}

/** The command that runs one of the peer's main classes. */
export function javaCommand(main: "Provider" | "Consumer", args: readonly string[]): [string, ...string[]] {
  return ["java", "-cp", CLASS_PATH, `mesh.dubbo.interop.${main}`, ...args];
}
