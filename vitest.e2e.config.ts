import { defineConfig } from "vitest/config";

// One mesh on one machine: the tests follow each other, and after a failure the rest would say nothing.
export default defineConfig({
  test: {
    include: ["test/e2e/**/*.test.ts"],
    testTimeout: 45 * 60_000,
    hookTimeout: 5 * 60_000,
    bail: 1,
    fileParallelism: false,
    reporters: ["verbose", ["json", { outputFile: "test-results/e2e.json" }]],
    disableConsoleIntercept: true,
  },
});
