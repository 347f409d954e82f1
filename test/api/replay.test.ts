import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { saveTrajectories } from "../../src/trajectory/save-trajectories.ts";
import type { Database } from "../../src/store/database.ts";
import { conversation, lookup, refund } from "../rollout/build.ts";
import { planOf, scenarioOf } from "../rollout/plan.ts";
import { createScriptedPolicy } from "../rollout/scripted-policy.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { apiWorld, NOW_MS, type ApiWorld } from "./world.ts";

let database: Database;
let world: ApiWorld;
let groupId: string;

/** One group of three whose members look the order up as recorded, then look another one up, of which no tape says anything. */
beforeAll(async () => {
  database = await memoryDatabase();
  world = await apiWorld(database);
  const recorded = conversation("c1", [lookup("A1"), refund("A1")], { says: "refund A1, not A2" });
  await database.transaction((trx) => saveTrajectories(trx, ["c1"], [recorded]));
  const policy = createScriptedPolicy(({ messages }) => ({
    calls: [{ tool: "lookup_order", args: { order_id: messages.some(({ role }) => role === "tool") ? "A2" : "A1" } }],
  }));
  const group = await rolloutGroup(planOf(recorded, policy));
  groupId = group.groupId;
  const body = encodeGroup(group);
  const artifacts = createFileArtifactStore({ dir: join(world.dir, "artifacts") });
  const { digest } = await artifacts.put(body);
  await world.runs.create({ id: group.runId, tenant: "acme", agent: "support", plan: {}, nowMs: NOW_MS });
  const scenario = scenarioOf(recorded);
  await database.kysely
    .insertInto("scenarios")
    .values({ run_id: group.runId, id: scenario.id, split: "train", body: JSON.stringify(scenario) })
    .execute();
  const summary = JSON.stringify({ verdict: "replay_dropped", rewards: [null, 0.5, null] });
  await database.kysely
    .insertInto("groups")
    .values({ id: groupId, run_id: group.runId, iteration: 0, scenario_id: scenario.id, body_digest: digest, summary })
    .execute();
});
afterAll(async () => {
  await world.close();
  await database.close();
});

describe("POST /v1/replay/:group", () => {
  it("shows the group with its fidelity and every member's end", async () => {
    const { status, body } = await world.post(`/v1/replay/${groupId}`, {});
    expect(status).toBe(200);
    expect(body).toMatchObject({
      ...{ status: "group", groupId, trajectoryId: "c1", verdict: "replay_dropped" },
      fidelity: { decision: "step-only", divergenceStep: 1, divergenceDepth: 1, reasons: ["few_unmasked", "masked_by_replay"] },
    });
    const member = { end: { status: "masked", cause: "replay_miss" }, callsByRung: { R1: 1, R7: 1 } };
    expect(body.members).toMatchObject([
      { index: 0, reward: null, ...member },
      { index: 1, reward: 0.5, ...member },
      { index: 2, reward: null, ...member },
    ]);
  });

  it("shows one member beside the conversation that it replayed", async () => {
    const { body } = await world.post(`/v1/replay/${groupId}?member=1`, {});
    expect(body).toMatchObject({ status: "rollout", members: 3, member: { index: 1, reward: 0.5 }, divergedAt: 1 });
    expect(body.turns.map(({ difference }: { difference: string }) => difference)).toEqual(["same", "calls", "only_recorded"]);
    expect(body.turns[0].rollout.calls[0].answered).toMatchObject({ rung: "R1", confidence: 1, servedFrom: { tape: "c1@1", entry: 0 } });
    expect(body.turns[1].recorded.calls).toMatchObject([{ tool: "issue_refund", arguments: '{"order_id":"A1"}', answered: null }]);
    expect(body.turns[1].rollout.calls).toMatchObject([{ arguments: '{"order_id":"A2"}', result: null, answered: { rung: "R7" } }]);
  });

  it.each([
    { query: "?member=3", status: 404, says: /member 3 in group \w+: it has 0 to 2/ },
    { query: "?member=-1", status: 400, says: /member: / },
    { query: "?membr=1", status: 400, says: /Unrecognized key: "membr"/ },
  ])("answers $query with $status", async ({ query, status, says }) => {
    const answer = await world.post(`/v1/replay/${groupId}${query}`, {});
    expect(answer.status).toBe(status);
    expect(answer.body.error.message).toMatch(says);
  });

  it("is a 404 for a member of what is no group", async () => {
    expect((await world.post("/v1/replay/c1?member=0", {})).status).toBe(404);
  });
});
