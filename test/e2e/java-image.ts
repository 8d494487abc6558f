import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { docker } from "../../packages/local-cluster/docker.ts";
import { BASE_IMAGE, REGISTRY } from "../../common/local-cluster.ts";
import { step } from "../../common/steps.ts";
import { buildJavaPeer, PEER_JAR, PEER_LIBRARIES } from "../../packages/dubbo-node/interop/java-peer.ts";

/** Modules that the peer's classes load. The whole JDK is five times as large. */
const MODULES = "java.se,jdk.unsupported,jdk.crypto.ec";

// Like images of jib: user root, no arguments except those of the application, other options in
// JAVA_TOOL_OPTIONS.
function dockerfile(main: string): string {
  return `FROM ${BASE_IMAGE}
COPY jre /jre
COPY lib /app/lib
COPY peer.jar /app/
USER 0
ENTRYPOINT ["/jre/bin/java", "-cp", "/app/peer.jar:/app/lib/*", "mesh.dubbo.interop.${main}"]
CMD ["--version", "1.0.0"]
`;
}

async function fillContext(context: string): Promise<void> {
  mkdirSync(context, { recursive: true });
  cpSync(PEER_JAR, join(context, "peer.jar"));
  cpSync(PEER_LIBRARIES, join(context, "lib"), { recursive: true });
  const options = ["--strip-debug", "--no-header-files", "--no-man-pages", "--add-modules", MODULES];
  await execa("jlink", [...options, "--output", join(context, "jre")]);
}

async function build(context: string, main: string, name: string): Promise<string> {
  const reference = `${REGISTRY}/dubbo-mesh/${name}:e2e`;
  writeFileSync(join(context, "Dockerfile"), dockerfile(main));
  await docker(["build", "--quiet", "--tag", reference, context]);
  await docker(["push", "--quiet", reference]);
  return reference;
}

/** Images of the Java peer, in the local cluster's registry. */
export interface JavaImages {
  readonly provider: string;
  readonly consumer: string;
}

/** Builds and pushes the Java peer as two images. It needs the local cluster, a JDK and Maven. */
export async function buildJavaImages(): Promise<JavaImages> {
  await buildJavaPeer();
  const context = mkdtempSync(join(tmpdir(), "dubbo-mesh-java-"));
  try {
    return await step("build the Java images", async () => {
      await fillContext(context);
      return {
        provider: await build(context, "Provider", "java-provider"),
        consumer: await build(context, "MeshConsumer", "java-consumer"),
      };
    });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}
