import { defineConfig } from "vitest/config";

// Loops that start real processes: one file at a time, because they share two cores with what they start.
export default defineConfig({
  test: {
    include: ["test/e2e/**/*.test.ts"],
    testTimeout: 600_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
    fileParallelism: false,
    // Runs of minutes are not made again to see what a list had in it.
    chaiConfig: { truncateThreshold: 400 },
  },
});
