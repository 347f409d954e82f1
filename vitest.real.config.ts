import { defineConfig } from "vitest/config";

// Real servers in their own processes: one file at a time, because they share two cores with what they start.
export default defineConfig({
  test: {
    include: ["test/real/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 180_000,
    maxWorkers: 1,
    fileParallelism: false,
    // Runs of minutes are not made again to see what a list had in it.
    chaiConfig: { truncateThreshold: 400 },
  },
});
