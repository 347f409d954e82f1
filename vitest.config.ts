import { defineConfig } from "vitest/config";

// OpenTelemetry's registration is the process's, and made once.
const REGISTERS_TELEMETRY = ["test/telemetry/**/*.test.ts"];
// Loops that start processes have a run of their own (`npm test`), so that `npm run check` stays short.
const LOOPS = "test/e2e/**";

export default defineConfig({
  test: {
    testTimeout: 20_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        // Files take turns in a worker, so that modules and Postgres' WebAssembly are compiled once per worker, not once per file.
        test: { name: "shared process", include: ["test/**/*.test.ts"], exclude: [LOOPS, ...REGISTERS_TELEMETRY], isolate: false },
      },
      { extends: true, test: { name: "own process", include: REGISTERS_TELEMETRY, isolate: true } },
    ],
  },
});
