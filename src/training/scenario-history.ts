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
    .orderBy("groups.id")
    .limit(MAX_GROUPS)
    .execute();
  const own = new Map<string, { spread: number; meanReward: number }>();
  const ofPivots = new Map<string, { spread: number; meanReward: number }>();
  for (const row of rows) {
    const { mean, deviation } = row.summary as unknown as GroupSummary;
    if (mean === null || deviation === null) continue;
    const past = { spread: deviation, meanReward: mean };
    if (!own.has(row.scenario_id)) own.set(row.scenario_id, past);
    const whole = wholeScenarioOf(row.scenario_id);
    if (whole !== row.scenario_id && !ofPivots.has(whole)) ofPivots.set(whole, past);
  }
  // What is known of a pivot is known of its conversation where nothing is known of that as a whole: the newest of its pivots stands for it.
  return new Map([...ofPivots, ...own]);
}
