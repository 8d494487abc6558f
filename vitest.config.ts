import { availableParallelism } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { scratchFolder } from "./test/scratch.ts";

const TESTS = ["test/unit/**/*.test.ts", "packages/*/test/**/*.test.ts"];
/** Tests that replace modules, or set variables that modules read as they load. */
const ALONE = [
  ...["changes", "common/kubeconfig", "configurations", "local-cluster/cluster", "local-cluster/docker"],
  ...["promote/lease", "promote/observe", "tools/find", "tools/kubectl", "tools/program"],
].map((name) => `test/unit/${name}.test.ts`);
/** Tests that mostly wait. */
const WAITING = ["packages/dubbo-node/test/robustness.test.ts"];

export default defineConfig({
  test: {
    testTimeout: 30_000,
    // Most of the time goes into loading the Pulumi SDK, so load it once a worker. One worker more
    // than cores uses the time in which a test waits.
    maxWorkers: availableParallelism() + 1,
    projects: [
      {
        extends: true,
        test: { name: "shared", include: TESTS, exclude: [...ALONE, ...WAITING], isolate: false },
      },
      { extends: true, test: { name: "alone", include: [...WAITING, ...ALONE] } },
    ],
    unstubEnvs: true,
    // Some tests fill and remove the cache. They must never see the one of a cluster that runs.
    env: { DUBBO_MESH_CACHE: join(scratchFolder(), "cache") },
    reporters: ["default", ["json", { outputFile: "test-results/unit.json" }]],
  },
});
