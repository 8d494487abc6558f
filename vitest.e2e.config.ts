import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** By name: mesh.test.ts comes last, since it takes the cluster down, which the others start if need be and leave up. */
class ByName extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return Promise.resolve(files.toSorted((a, b) => (a.moduleId < b.moduleId ? -1 : 1)));
  }
}

// One mesh on one machine: the tests follow each other, and after a failure the rest would say nothing.
export default defineConfig({
  test: {
    include: ["test/e2e/**/*.test.ts"],
    // A second cluster, of two nodes, is for before a release (make soak).
    exclude: process.env["SOAK"] === undefined ? ["test/e2e/locality.test.ts"] : [],
    sequence: { sequencer: ByName },
    testTimeout: 45 * 60_000,
    // The first `make up` on a machine builds the cluster.
    hookTimeout: 45 * 60_000,
    bail: 1,
    fileParallelism: false,
    reporters: ["verbose", ["json", { outputFile: "test-results/e2e.json" }]],
    disableConsoleIntercept: true,
    // States of this run alone: the lock of a run that was interrupted would stop it.
    env: { PULUMI_BACKEND_URL: `file://${mkdtempSync(join(tmpdir(), "dubbo-mesh-state-"))}` },
  },
});
