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
  /**
   * As `before`, without those that nobody asks for: their agent's gate is being played. 0 takes a place until `leave`, even where the run's row ends meanwhile: its trainer may
   * still be stopping. A run that has ended takes none. Looking and taking are one: two runs never take the last place.
   */
  enter(runId: string): Promise<number>;
  leave(runId: string): void;
}

/** Agents ask every second. */
const ASKS_WITHIN_MS = 10_000;

/** A run without an end. */
interface OpenRun {
  id: string;
  agent: string;
}

export function createRunQueue(
  { runsAtOnce, agents }: { runsAtOnce: number; agents: readonly string[] },
  { database, log, monotonicMs = () => performance.now() }: { database: Database; log: Logger; monotonicMs?: () => number },
): RunQueue {
  /** When a run was last asked for, or seen first: whoever comes up again after a restart keeps its turn. */
  const askedMs = new Map<string, number>();
  const entered = new Set<string>();
  /** What a waiting run was told last: it asks every second. */
  const told = new Map<string, number>();
  let turn: Promise<unknown> = Promise.resolve();
  /** Without a place, in order. A run of an agent that the config names no more is carried out by nobody: it must not hold up the others. */
  const waiting = async (): Promise<string[]> => {
    const open = (await openRuns(database)).filter(({ agent }) => agents.includes(agent));
    return open.map(({ id }) => id).filter((id) => !entered.has(id));
  };
  const enter = async (runId: string): Promise<number> => {
    const now = monotonicMs();
    askedMs.set(runId, now);
    const open = await waiting();
    for (const id of open) if (!askedMs.has(id)) askedMs.set(id, now);
    for (const id of askedMs.keys())
      if (!open.includes(id)) {
        askedMs.delete(id);
        told.delete(id);
      }
    if (!open.includes(runId) && !entered.has(runId)) return 1;
    const asking = open.filter((id) => now - (askedMs.get(id) ?? now) < ASKS_WITHIN_MS);
    const before = toEndBefore(runId, [...entered, ...asking], runsAtOnce);
    if (before === 0) entered.add(runId);
    if ((told.get(runId) ?? 0) !== before)
      log.info({ run_id: runId, before }, before === 0 ? "run begins after others" : "run waits for others");
    if (before === 0) told.delete(runId);
    else told.set(runId, before);
    return before;
  };
  return {
    before: async (runId) => toEndBefore(runId, [...entered, ...(await waiting())], runsAtOnce),
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
