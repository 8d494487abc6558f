import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/unit/**/*.test.ts", "packages/*/test/**/*.test.ts"],
    testTimeout: 30_000,
    // Loading the Pulumi SDK is most of the time: one worker a core.
    maxWorkers: "100%",
    reporters: ["default", ["json", { outputFile: "test-results/unit.json" }]],
  },
});
