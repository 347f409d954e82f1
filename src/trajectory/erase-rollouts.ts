import { type Kysely, sql } from "kysely";
import type { Digest } from "../artifact/artifact-store.ts";
import { nightshiftError } from "../errors.ts";
import type { Tables } from "../store/tables.ts";
import type { Count, ErasureWork, Version } from "./erasure-log.ts";
import { scenarioIdOf, tapeIdOf } from "./record-tape.ts";

/** Scenarios, groups, gate pairs and judge replies that were made of these trajectories, whoever's scenario they belong to. */
export async function removeRollouts(
  trx: Kysely<Tables>,
  { gone, left }: { gone: readonly Version[]; left: readonly Version[] },
  nowMs: number,
  count: Count,
): Promise<Pick<ErasureWork, "objects" | "learned" | "batches" | "endedRuns">> {
  const versions = [...gone, ...left];
  const scenarioIds = versions.map(scenarioIdOf);
  const tapes = versions.map(tapeIdOf);
  // An older version called a tape by its trajectory alone.
  const sources = [...new Set([...versions.map(({ id }) => id), ...tapes, ...scenarioIds])].toSorted();
  // Of a conversation that others are still in, later versions may teach.
  const buried = [...new Set([...gone.map(({ id }) => id), ...tapes, ...scenarioIds])].toSorted();
  await sql`insert into erased_sources (source, at_ms) select s, ${nowMs}::bigint from unnest(${buried}::text[]) as s on conflict do nothing`.execute(
    trx,
  );
  const objects = await sql<{ digest: Digest }>`
    delete from object_sources where digest in (select digest from object_sources where source = any(${sources}::text[])) returning digest`.execute(
    trx,
  );
  const digests = [...new Set(objects.rows.map(({ digest }) => digest))];
  const groups = await sql<{ run_id: string; iteration: number; verdict: string; body_digest: Digest }>`
    delete from groups where body_digest = any(${digests}::text[]) or split_part(scenario_id, '.', 1) = any(${scenarioIds}::text[])
    returning run_id, iteration, summary ->> 'verdict' as verdict, body_digest`.execute(trx);
  count("groups", groups.rows.length);
  const scenarios = await sql`delete from scenarios where split_part(id, '.', 1) = any(${scenarioIds}::text[])`.execute(trx);
  count("scenarios", Number(scenarios.numAffectedRows ?? 0));
  const pairs = await sql`
    delete from run_steps where step like 'gate-%' and split_part(step, '-', 2) = any(${scenarioIds}::text[])`.execute(trx);
  count("gate_pairs", Number(pairs.numAffectedRows ?? 0));
  const replies = await sql<{ cache_key: string }>`
    delete from judge_sources where cache_key in (select cache_key from judge_sources where source = any(${sources}::text[])) returning cache_key`.execute(
    trx,
  );
  const judged = await sql`
    delete from judge_results where cache_key = any(${[...new Set(replies.rows.map((row) => row.cache_key))]}::text[])`.execute(trx);
  count("judge_results", Number(judged.numAffectedRows ?? 0));
  const batches = await handedOver(
    trx,
    groups.rows.filter(({ verdict }) => verdict === "kept"),
  );
  const bodies = new Set([...digests, ...groups.rows.map((row) => row.body_digest)]);
  return { objects: [...bodies], learned: firstOfEachRun(batches), batches, endedRuns: await endRuns(trx, batches, nowMs) };
}

/** Of the iterations of these groups those whose batch was begun. */
async function handedOver(
  trx: Kysely<Tables>,
  groups: readonly { run_id: string; iteration: number }[],
): Promise<{ runId: string; iteration: number }[]> {
  const { rows } = await sql<{ run_id: string; iteration: number }>`
    select distinct g.run_id, g.iteration from unnest(${groups.map((group) => group.run_id)}::text[], ${groups.map((group) => group.iteration)}::bigint[]) as g(run_id, iteration)
    join run_steps s on s.run_id = g.run_id and s.step = 'batch-' || g.iteration order by 1, 2`.execute(trx);
  return rows.map((row) => ({ runId: row.run_id, iteration: row.iteration }));
}

function firstOfEachRun(groups: readonly { runId: string; iteration: number }[]): { runId: string; iteration: number }[] {
  const first = new Map<string, number>();
  for (const { runId, iteration } of groups) first.set(runId, Math.min(iteration, first.get(runId) ?? iteration));
  return [...first].map(([runId, iteration]) => ({ runId, iteration })).toSorted((a, b) => (a.runId < b.runId ? -1 : 1));
}

/** A night whose trainer may have read the subject is over; one that has not handed it over goes on without it. */
async function endRuns(trx: Kysely<Tables>, batches: readonly { runId: string; iteration: number }[], nowMs: number): Promise<string[]> {
  const ended: string[] = [];
  for (const runId of new Set(batches.map((batch) => batch.runId))) {
    const { code, message, fix } = nightshiftError("run_lost_subject", { run: runId });
    const outcome = JSON.stringify({ kind: "failed", code, message, fix });
    const { rows } = await sql<{ id: string }>`
      update runs set state = 'failed', outcome = ${outcome}::json, finished_at_ms = ${nowMs}
      where id = ${runId} and state = 'running' returning id`.execute(trx);
    ended.push(...rows.map(({ id }) => id));
  }
  return ended;
}
