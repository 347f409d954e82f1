import { defineConfig } from "vitest/config";

// OpenTelemetry's registration is the process's, and made once.
const REGISTERS_TELEMETRY = ["test/telemetry/**/*.test.ts"];
// What starts processes has runs of its own (`npm test`, `npm run test:real`), so that `npm run check` stays short.
const OWN_RUNS = ["test/e2e/**", "test/real/**"];
// Recorded SDKs bring packages of their own, and those their tests.
const NOT_OURS = ["**/node_modules/**"];

export default defineConfig({
  test: {
    testTimeout: 20_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        // Files take turns in a worker, so that modules and Postgres' WebAssembly are compiled once per worker, not once per file.
        test: {
          name: "shared process",
          include: ["test/**/*.test.ts"],
          exclude: [...OWN_RUNS, ...REGISTERS_TELEMETRY, ...NOT_OURS],
          isolate: false,
        },
      },
      { extends: true, test: { name: "own process", include: REGISTERS_TELEMETRY, isolate: true } },
    ],
  },
});
