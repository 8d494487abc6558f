import { defineConfig } from "vitest/config";

// Java peers as processes of their own, one after the other: they are heavy.
export default defineConfig({
  test: {
    include: ["packages/dubbo-node/interop/**/*.test.ts"],
    testTimeout: 2 * 60_000,
    hookTimeout: 10 * 60_000,
    fileParallelism: false,
    reporters: ["verbose", ["json", { outputFile: "test-results/interop.json" }]],
    disableConsoleIntercept: true,
  },
});
