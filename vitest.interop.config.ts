import { defineConfig } from "vitest/config";
import { scratchFolder } from "./test/scratch.ts";

scratchFolder();

// Run one test file at a time: each starts Java processes, which need much CPU and memory.
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
