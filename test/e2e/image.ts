import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { BUNDLE } from "../../apps/bundle.ts";
import { docker } from "../../packages/local-cluster/docker.ts";
import { BASE_IMAGE, REGISTRY } from "../../common/local-cluster.ts";
import { step } from "../../common/steps.ts";

const DOCKERFILE = `FROM ${BASE_IMAGE}
COPY main.mjs /app/
USER 1000:1000
ENTRYPOINT ["node", "/app/main.mjs"]
`;

/** CommonJS libraries in the bundle ask for Node's modules by `require`, which an ES module does not have; by a name that the bundle has not. */
const REQUIRE = `import{createRequire as requireOf}from"node:module";const require=requireOf(import.meta.url);`;

function bundle(entry: string, outfile: string): void {
  buildSync({ ...BUNDLE, entryPoints: [entry], outfile, banner: { js: REQUIRE } });
}

/** Builds and pushes the provider that fails as it is asked to (faulty/main.ts), to the local cluster's registry. */
export async function buildFaultyProvider(): Promise<string> {
  const context = mkdtempSync(join(tmpdir(), "dubbo-mesh-faulty-"));
  try {
    bundle(join(import.meta.dirname, "faulty/main.ts"), join(context, "main.mjs"));
    writeFileSync(join(context, "Dockerfile"), DOCKERFILE);
    // By its content: the kubelet pulls no tag that it has.
    const tag = createHash("sha256")
      .update(readFileSync(join(context, "main.mjs")))
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
