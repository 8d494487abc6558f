import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/unit/**/*.test.ts", "packages/*/test/**/*.test.ts"],
    testTimeout: 30_000,
    // Most of the time goes into loading the Pulumi SDK: use one worker per core.
    maxWorkers: "100%",
    // Some tests fill and remove the cache. They must never see the one of a cluster that runs.
    env: { DUBBO_MESH_CACHE: mkdtempSync(join(tmpdir(), "dubbo-mesh-unit-")) },
    reporters: ["default", ["json", { outputFile: "test-results/unit.json" }]],
  },
});
