import { expect, it } from "vitest";
import { silentLog } from "../../src/log.ts";
import type { Scenario } from "../../src/scenario/scenario.ts";
import { loadScenarios, saveScenarios } from "../../src/training/run-scenarios.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { conversation, lookup } from "../rollout/build.ts";
import { scenarioOf } from "../rollout/plan.ts";

it("keeps a single step as the last group that was cut there made it", async () => {
  const database = await memoryDatabase();
  const step = (group: string, members: number): Scenario => ({
    ...scenarioOf(conversation("c", [lookup("A1")])),
    id: "s.1",
    cutFrom: { group, reason: "no_signal", members },
  });
  const other = { ...step("g1", 1), id: "s.2" };
  await saveScenarios({ database, log: silentLog() }, "run", [step("g1", 2), other]);
  await saveScenarios({ database, log: silentLog() }, "run", [step("g2", 3)]);
  await saveScenarios({ database, log: silentLog() }, "another run", [step("g9", 9)]);
  const loaded = await loadScenarios(database, "run", ["s.1", "s.2"]);
  expect(loaded.map(({ cutFrom }) => cutFrom)).toEqual([
    { group: "g2", reason: "no_signal", members: 3 },
    { group: "g1", reason: "no_signal", members: 1 },
  ]);
  await database.close();
});
