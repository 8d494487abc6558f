import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { BUNDLE } from "../../apps/bundle.ts";
import { docker } from "../../packages/local-cluster/docker.ts";
import { BASE_IMAGE, REGISTRY } from "../../common/local-cluster.ts";
import { step } from "../../common/steps.ts";

function dockerfile(fault: string): string {
  return `FROM ${BASE_IMAGE}
COPY main.mjs /app/
ENV FAULT=${fault}
USER 1000:1000
ENTRYPOINT ["node", "/app/main.mjs"]
`;
}

function bundle(entry: string, outfile: string): void {
  buildSync({ ...BUNDLE, entryPoints: [entry], outfile });
}

/**
 * Builds the faulty provider (faulty/main.ts), and pushes it to the registry of the local cluster.
 * @param fault value of the variable FAULT (default: none)
 */
export async function buildFaultyProvider(fault = ""): Promise<string> {
  const context = mkdtempSync(join(tmpdir(), "dubbo-mesh-faulty-"));
  try {
    bundle(join(import.meta.dirname, "faulty/main.ts"), join(context, "main.mjs"));
    writeFileSync(join(context, "Dockerfile"), dockerfile(fault));
    // The tag depends on the content, because the kubelet does not pull a tag again.
    const tag = createHash("sha256")
      .update(readFileSync(join(context, "main.mjs")))
      .update(fault)
      .digest("hex")
      .slice(0, 16);
    const reference = `${REGISTRY}/dubbo-mesh/faulty-provider:${tag}`;
    await step("build the faulty provider", async () => {
      await docker(["build", "--quiet", "--tag", reference, context]);
      await docker(["push", "--quiet", reference]);
    });
    return reference;
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}
