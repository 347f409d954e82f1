import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createLocalJobRunner } from "../../src/training/local.ts";
import { testJobRunner } from "../conformance/job-runner.ts";
import { until } from "../e2e/processes.ts";
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

test("the real trainer hashes the base model's files in one run, and reads the digests in the next", { timeout: 300_000 }, async () => {
  const runs = mkdtempSync(join(tmpdir(), "nightshift-digests-"));
  const runner = createLocalJobRunner({ python: resolve(".venv/bin/python"), trainerDirectory: resolve("trainer") }, { log: silentLog() });
  const example = resolve("trainer/example");
  const plan = JSON.parse(readFileSync(join(example, "run.json"), "utf8")) as { base_model: { path: string } };
  const model = resolve(example, plan.base_model.path);
  const train = async (runId: string): Promise<void> => {
    const runDirectory = join(runs, runId);
    cpSync(join(example, "batch-1"), join(runDirectory, "batch-1"), { recursive: true });
    writeFileSync(join(runDirectory, "run.json"), JSON.stringify({ ...plan, base_model: { ...plan.base_model, path: model } }));
    await runner.start({ runId, agent: "shop", runDirectory });
    await until(`${runId} has finished`, 140_000, async () => ((await runner.status(runId)).status === "running" ? null : true));
    expect(await runner.status(runId)).toEqual({ status: "finished" });
  };
  const kept = join(runs, ".digests/shop/base-digests.json");
  await train("first");
  const { mtimeNs } = statSync(kept, { bigint: true });
  expect(Object.keys(JSON.parse(readFileSync(kept, "utf8")) as object)).toContain(join(model, "model.safetensors"));
  await train("second");
  // It is written again where anything had to be hashed.
  expect(statSync(kept, { bigint: true }).mtimeNs).toBe(mtimeNs);
  await runner.close();
  rmSync(runs, { recursive: true });
});
