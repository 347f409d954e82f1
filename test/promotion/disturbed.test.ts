import { afterAll, expect, test } from "vitest";
import { recordDisturbance } from "../../src/promotion/disturbed.ts";
import { createExperimentStore } from "../../src/promotion/experiment-store.ts";
import { QUICKSTART } from "../bench/canary/simulate.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const database = await memoryDatabase();
afterAll(() => database.close());

test("a disturbance is a boundary of the agent's live experiment, and of nothing where none is live", async () => {
  const experiments = createExperimentStore({ database, now: () => 1_000 });
  const disturbance = { agent: "shop", cause: "lease_lapse", atMs: 900 } as const;
  const submitted = await experiments.submit({
    ...{ id: "e", tenant: "default", agent: "shop", model: "shop", runId: null, salt: "s", horizonMs: 1, gate: null, automatic: true },
    ...{ candidate: { name: "shop-1", digest: "sha256:1" }, stable: { name: "shop", digest: "sha256:0" }, canary: QUICKSTART },
  });
  expect(await recordDisturbance(disturbance, experiments)).toEqual({ experimentId: null });
  const queued = await experiments.move(submitted, "enqueued", { actor: "test" });
  if (queued.status !== "moved") throw new Error("it was gated");
  await experiments.move(queued.experiment, "slot_free", { actor: "test" });

  expect(await recordDisturbance({ ...disturbance, agent: "another" }, experiments)).toEqual({ experimentId: null });
  expect(await recordDisturbance(disturbance, experiments)).toEqual({ experimentId: "e" });
  expect(await experiments.evidence("e", 0)).toEqual([{ kind: "boundary", atMs: 900, cause: "lease_lapse", step: null }]);
});
