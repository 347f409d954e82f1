import type { GroupHistory } from "../scenario/rank.ts";
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
    if (mean === null || deviation === null || history.has(row.scenario_id)) continue;
    history.set(row.scenario_id, { spread: deviation, meanReward: mean });
  }
  return history;
}
