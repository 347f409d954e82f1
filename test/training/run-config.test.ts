import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { baseDigest } from "../../src/artifact/base-digest.ts";
import { agentSchema } from "../../src/config-agent.ts";
import { runFileSchema } from "../../src/training/batch-schema.ts";
import { trainerConfig } from "../../src/training/run-config.ts";

const root = join(import.meta.dirname, "../..");

function runFile(night: object) {
  const config = agentSchema.parse({ model: "shop", baseModel: "/base", policyServers: [], night });
  const base = { path: "/base", digest: "sha256:b" };
  return runFileSchema.parse(trainerConfig({ runId: "r", agent: "shop", config, base, start: null }));
}

it("takes ratios against the sampler, and batches for three times the first one's distance from it", () => {
  const { loss, logprob_gate } = runFile({});
  expect(loss.correction).toBeNull();
  expect(logprob_gate).toEqual({ max_mean_abs_delta: 0.05, max_growth: 3 });
});

it("hands the three-policy form over with its bounds", () => {
  expect(runFile({ correction: { form: "three_policy" } }).loss.correction).toEqual({ tis_cap: 2, mask_low: 0.99, mask_high: 1.01 });
  const wider = { form: "three_policy", tisCap: 3, maskLow: 0.9, maskHigh: 1.2 };
  expect(runFile({ correction: wider, loss: "gspo" }).loss).toMatchObject({
    kind: "gspo",
    clip_low: 3e-4,
    correction: { tis_cap: 3, mask_low: 0.9, mask_high: 1.2 },
  });
});

it.each([{ tisCap: 0 }, { maskLow: 1.5 }, { maskHigh: 0.5 }, { form: "four_policy" }])("refuses %j", (correction) => {
  expect(() => runFile({ correction })).toThrow(/correction/);
});

// The trainer computes the digest itself (base_model.py) and refuses another base; trainer/tests/test_example.py trains by this file.
it("names the base model of the trainer's example as the trainer does", async () => {
  const run = runFileSchema.parse(JSON.parse(await readFile(join(root, "trainer/example/run.json"), "utf8")));
  expect(run.base_model.digest).toBe(await baseDigest(join(root, "deploy/quickstart/model")));
});
