import { sql } from "kysely";
import type { Database } from "../store/database.ts";

/** What one iteration of a run has come to so far. */
export interface IterationView {
  iteration: number;
  /** Judged groups; `kept` of them train. */
  groups: number;
  kept: number;
  /** Groups that do not train, by reason. */
  dropped: Record<string, number>;
  /** Mean over the judged groups of their members' mean reward; null while none is judged. */
  meanReward: number | null;
}

/** Iterations of a run that have at least one judged group, in order; probes are none. Counted by the database: a page polls this every second. */
export async function iterationsOf(database: Database, runId: string): Promise<IterationView[]> {
  const { rows } = await sql<{ iteration: number; verdict: string; groups: number; judged: number; total: number | null }>`
    select iteration, summary ->> 'verdict' as verdict, count(*) as groups,
      count(summary ->> 'mean') as judged, sum((summary ->> 'mean')::float8) as total
    from groups where run_id = ${runId} and iteration > 0 group by 1, 2 order by 1, 2`.execute(database.kysely);
  const byIteration = Map.groupBy(rows, ({ iteration }) => iteration);
  return [...byIteration].map(([iteration, verdicts]) => {
    const judged = sum(verdicts, (row) => row.judged);
    return {
      iteration,
      groups: sum(verdicts, (row) => row.groups),
      kept: verdicts.find(({ verdict }) => verdict === "kept")?.groups ?? 0,
      dropped: Object.fromEntries(verdicts.filter(({ verdict }) => verdict !== "kept").map(({ verdict, groups }) => [verdict, groups])),
      meanReward: judged === 0 ? null : sum(verdicts, (row) => row.total ?? 0) / judged,
    };
  });
}

function sum<Row>(rows: readonly Row[], of: (row: Row) => number): number {
  return rows.reduce((total, row) => total + of(row), 0);
}
