import type { GroupHistory } from "../scenario/rank.ts";
import { wholeScenarioOf } from "../trajectory/record-tape.ts";
import type { Database } from "../store/database.ts";
import type { GroupSummary } from "./group-summary.ts";
import { PROBE_ITERATION } from "./probe.ts";

/** How far back a group still says something about its scenario. */
const MAX_GROUPS = 5_000;

/** How the agent's newest groups went, by scenario id: what selection prefers next. Probes are too small to tell anything but their own night. */
export async function scenarioHistory(database: Database, agent: string): Promise<GroupHistory> {
  const rows = await database.kysely
    .selectFrom("groups")
    .innerJoin("runs", "runs.id", "groups.run_id")
    .select(["groups.scenario_id", "groups.summary"])
    .where("runs.agent", "=", agent)
    .where("groups.iteration", ">", PROBE_ITERATION)
    .orderBy("runs.started_at_ms", "desc")
    .orderBy("groups.iteration", "desc")
    .limit(MAX_GROUPS)
    .execute();
  const history = new Map<string, { spread: number; meanReward: number }>();
  for (const row of rows) {
    const { mean, deviation } = row.summary as unknown as GroupSummary;
    if (mean === null || deviation === null) continue;
    // What is known of a pivot is known of its conversation: the newest of its pivots stands for it.
    for (const id of [row.scenario_id, wholeScenarioOf(row.scenario_id)]) {
      if (!history.has(id)) history.set(id, { spread: deviation, meanReward: mean });
    }
  }
  return history;
}
