import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { silentLog } from "../../src/log.ts";
import { createLocalJobRunner } from "../../src/training/local.ts";
import { testJobRunner } from "../conformance/job-runner.ts";
import { scriptedRun, writeScriptedTrainer } from "./scripted-trainer.ts";

testJobRunner(
  "local",
  async () => {
    const root = mkdtempSync(join(tmpdir(), "nightshift-local-"));
    writeScriptedTrainer(root);
    const another = () => createLocalJobRunner({ python: resolve(".venv/bin/python"), trainerDirectory: root }, { log: silentLog() });
    const runner = another();
    return {
      ...{ runner, another },
      run: (runId, plan) => scriptedRun(join(root, runId), plan),
      async close() {
        await runner.close();
        rmSync(root, { recursive: true });
      },
    };
  },
  { outlives: false },
  10_000,
);
