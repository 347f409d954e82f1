import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { agentSchema } from "../../src/config-agent.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { pinRecordings, recordingsOfRun } from "../../src/training/night-start.ts";
import type { NightDeps, NightOptions } from "../../src/training/night-context.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { subjectWorld, type SubjectWorld } from "../subjects/world.ts";

const directory = mkdtempSync(join(tmpdir(), "nightshift-walls-"));
let database: Database;
let world: SubjectWorld;
beforeAll(async () => {
  database = await memoryDatabase();
  world = await subjectWorld(database, directory);
});
afterAll(async () => {
  await world.close();
  await database.close();
  rmSync(directory, { recursive: true });
});

const configWith = (heldOutClusterShare: number) =>
  agentSchema.parse({ model: "m", baseModel: "b", scenario: { quarantineMs: 0, minUsersPerCluster: 1, heldOutClusterShare } });

test("a night hands its walls on to the next one, and keeps its own whatever comes or is configured later", async () => {
  const tasks = ["lamp broke", "parcel lost", "invoice wrong", "password gone"];
  const asks = (task: number): string => `${tasks[task]} ${"please help with that ".repeat(task + 1)}`;
  const talked = new Map<number, string>();
  for (const task of tasks.keys()) for (const who of ["ann", "bob"]) talked.set(task, (await world.talk(`${who}-${task}`, asks(task))).id);
  const night = async (runId: string, config: ReturnType<typeof configWith>) => {
    const { runs, clock } = world;
    await runs.create({ id: runId, tenant: "default", agent: "shop", plan: {}, nowMs: clock.nowMs });
    const deps = { runs, recordings: (asked: object) => loadRecordings(database, { agent: "shop", config, nowMs: clock.nowMs, ...asked }) };
    const { recordings } = await pinRecordings({ runId, config } as NightOptions, deps as NightDeps, clock.nowMs);
    await runs.finish(runId, "finished", { kind: "nothing_to_learn", reason: "" }, clock.nowMs);
    clock.nowMs += 1_000;
    return { heldOut: recordings.walls.heldOutClusters, again: () => recordingsOfRun(runId, deps) };
  };
  const first = await night("night-1", configWith(0.5));
  expect(first.heldOut.length).toBeGreaterThan(0);
  expect(first.heldOut.length).toBeLessThan(8);

  const late = new Map<number, string>();
  for (const task of tasks.keys()) late.set(task, (await world.talk(`eve-${task}`, asks(task))).id);
  // No new cluster would be held out any more: what is, is remembered, and what comes joins it.
  const second = await night("night-2", configWith(0));
  const of = (night: { heldOut: readonly string[] }, ids: ReadonlyMap<number, string>): boolean[] =>
    [...ids.values()].map((id) => night.heldOut.includes(id));
  expect(of(second, talked)).toEqual(of(first, talked));
  expect(of(second, late)).toEqual(of(first, talked));
  expect((await first.again())?.walls.heldOutClusters).toEqual(first.heldOut);
});
