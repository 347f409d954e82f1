import { sql } from "kysely";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";

/**
 * In which order the runs of all agents are carried out, so many at once: each has a trainer from its begin to its end, and a trainer takes a GPU. The order is read from
 * the runs' rows, so whoever is killed and started again finds it as it was.
 */
export interface RunQueue {
  /** How many runs must end before this one may begin; 0 for one that may, and for one that has ended. */
  before(runId: string): Promise<number>;
  /** As `before`; 0 takes a place until `leave`. Looking and taking are one: two runs never take the last place. */
  enter(runId: string): Promise<number>;
  leave(runId: string): void;
}

/** A run without an end. */
interface OpenRun {
  id: string;
  agent: string;
}

export function createRunQueue(
  { runsAtOnce, agents }: { runsAtOnce: number; agents: readonly string[] },
  { database, log }: { database: Database; log: Logger },
): RunQueue {
  const entered = new Set<string>();
  /** What a waiting run was told last: it asks every second. */
  const told = new Map<string, number>();
  let turn: Promise<unknown> = Promise.resolve();
  const look = async (runId: string): Promise<number> => {
    // A run of an agent that the config names no more is carried out by nobody: it must not hold up the others.
    const open = (await openRuns(database)).filter(({ agent }) => agents.includes(agent)).map(({ id }) => id);
    return toEndBefore(runId, [...open.filter((id) => entered.has(id)), ...open.filter((id) => !entered.has(id))], runsAtOnce);
  };
  const enter = async (runId: string): Promise<number> => {
    const before = await look(runId);
    if (before === 0) entered.add(runId);
    if ((told.get(runId) ?? 0) !== before)
      log.info({ run_id: runId, before }, before === 0 ? "run begins after others" : "run waits for others");
    if (before === 0) told.delete(runId);
    else told.set(runId, before);
    return before;
  };
  return {
    before: look,
    enter(runId) {
      const entering = turn.then(() => enter(runId));
      turn = entering.catch(() => undefined);
      return entering;
    },
    leave(runId) {
      entered.delete(runId);
    },
  };
}

/** Pure: `open` in order. */
function toEndBefore(runId: string, open: readonly string[], runsAtOnce: number): number {
  return Math.max(0, open.indexOf(runId) - runsAtOnce + 1);
}

/** What was begun comes first: clocks of two replicas may differ, and what came later must not overtake what is under way. */
async function openRuns({ kysely }: Database): Promise<OpenRun[]> {
  const { rows } = await sql<OpenRun>`select id, agent from runs where state = 'running'
    order by exists (select 1 from run_steps where run_steps.run_id = runs.id) desc, started_at_ms, id`.execute(kysely);
  return rows;
}
