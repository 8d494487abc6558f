import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { scratchFolder } from "./test/scratch.ts";

/**
 * Sorts tests by name. mesh.test.ts comes last: it removes the cluster. The other tests start the
 * cluster if necessary and keep it.
 */
class ByName extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return Promise.resolve(files.toSorted((a, b) => (a.moduleId < b.moduleId ? -1 : 1)));
  }
}

/** Tests that run only before a release (make soak), because CI also builds everything. */
const BEFORE_RELEASE = ["collector", "configuration-size", "environments", "locality", "public"].map(
  (name) => `test/e2e/${name}.test.ts`,
);

// All tests share one mesh, so they run in sequence. After a failure, later results would be
// meaningless.
export default defineConfig({
  test: {
    include: ["test/e2e/**/*.test.ts"],
    exclude: process.env["SOAK"] === undefined ? BEFORE_RELEASE : [],
    sequence: { sequencer: ByName },
    testTimeout: 45 * 60_000,
    // The first `make up` on a machine builds the cluster.
    hookTimeout: 45 * 60_000,
    bail: 1,
    fileParallelism: false,
    reporters: ["verbose", ["json", { outputFile: "test-results/e2e.json" }]],
    disableConsoleIntercept: true,
    // Keep the state of this run separate: the lock of an interrupted run would block it.
    env: { PULUMI_BACKEND_URL: `file://${scratchFolder()}` },
  },
});
