import { sql } from "kysely";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { expireClaims, expireConversations, expireFeedback, expireLoose, expireMedia, type Expiry } from "../trajectory/expire.ts";
import { NOTICE_MS, retentionInForce, type RetentionDays } from "./retention-notice.ts";
import type { RunFiles } from "./run-files.ts";
import { namedAdapters, neededConversations, unfinishedRuns } from "./still-needed.ts";

/** What one sweep removed, by kind. */
export interface RetentionReport {
  atMs: number;
  removed: Readonly<Record<string, number>>;
}

/** Removes what is older than its tenant keeps, in batches, so that nobody waits long. Idempotent; a sweep that was killed is gone on with by the next one. */
export interface Retention {
  /** Rejects when `signal` aborts, between two batches. */
  sweep(options?: { signal?: AbortSignal }): Promise<RetentionReport>;
}

interface RetentionDeps {
  database: Database;
  artifacts: ArtifactStore;
  runFiles: RunFiles;
  /** Takes copies of adapters that were made before a time and are not named; resolves to how many. Null where adapters are used where they are kept. */
  sweepCache: ((options: { beforeMs: number; keep: ReadonlySet<string> }) => Promise<number>) | null;
  log: Logger;
  now: () => number;
}

const DAY_MS = 86_400_000;
const CONVERSATIONS_AT_ONCE = 100;
const ROWS_AT_ONCE = 1_000;
const RUNS_AT_ONCE = 10;
const KEY = "retention";

export function createRetention(tenants: Readonly<Record<string, RetentionDays>>, deps: RetentionDeps): Retention {
  const counter = createCounter(METRIC.retentionRemoved);
  return {
    async sweep({ signal } = {}) {
      const atMs = deps.now();
      const removed = new Map<string, number>();
      const count = (kind: string, rows: number): void => {
        if (rows === 0) return;
        removed.set(kind, (removed.get(kind) ?? 0) + rows);
        counter.add(rows, { "nightshift.kind": kind });
      };
      const exhaust = async (limit: number, batch: () => Promise<number>): Promise<void> => {
        for (let taken = limit; taken >= limit;) {
          signal?.throwIfAborted();
          taken = await batch();
        }
      };
      const inForce = await noticed(tenants, atMs, deps);
      const { attempt, failed } = createAttempts(deps.log, signal);
      for (const [tenant, days] of inForce) {
        if (days === null) continue;
        const captured = { tenant, beforeMs: atMs - days.capturedDays * DAY_MS, limit: ROWS_AT_ONCE };
        const nights = { tenant, beforeMs: atMs - days.nightsDays * DAY_MS, limit: RUNS_AT_ONCE };
        await attempt(() => sweepCaptured(captured, { ...deps, count, exhaust }));
        await attempt(() => sweepNights(nights, { ...deps, count, exhaust }));
      }
      // Replies and files know no tenant: the one that keeps its nights longest decides.
      const longestDays = Math.max(...[...inForce.values()].map((days) => days?.nightsDays ?? Number.POSITIVE_INFINITY));
      if (Number.isFinite(longestDays)) {
        const beforeMs = atMs - longestDays * DAY_MS;
        await attempt(() => exhaust(ROWS_AT_ONCE, () => expireReplies(deps.database, beforeMs, count)));
        await attempt(() => sweepFiles(beforeMs, { ...deps, count }));
      }
      const report = { atMs, removed: Object.fromEntries(removed) };
      if (removed.size > 0) {
        await deps.database.compact("space");
        deps.log.info({ removed: report.removed }, "retention removed what was too old");
      }
      if (failed.length > 0) throw failed[0];
      await remember(deps.database, report);
      return report;
    },
  };
}

/** What one part of a sweep cannot do holds back no other; the sweep fails when all have been tried. */
function createAttempts(log: Logger, signal: AbortSignal | undefined) {
  const failed: unknown[] = [];
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      signal?.throwIfAborted();
      log.warn({ err: error }, "a part of retention failed, the others go on");
      failed.push(error);
    }
  };
  return { attempt, failed };
}

/** What each tenant's retention is just now; null where nothing may go yet. */
async function noticed(
  tenants: Readonly<Record<string, RetentionDays>>,
  nowMs: number,
  { database, log }: RetentionDeps,
): Promise<Map<string, RetentionDays | null>> {
  const inForce = new Map<string, RetentionDays | null>();
  for (const [tenant, configured] of Object.entries(tenants)) {
    const { days, isNew } = await retentionInForce(database, tenant, configured, nowMs);
    inForce.set(tenant, days);
    if (isNew)
      log.warn(
        { tenant, ...configured, from: new Date(nowMs + NOTICE_MS).toISOString() },
        "what is older than a new retention keeps will go",
      );
  }
  return inForce;
}

/** The last sweep that was done; null before the first. */
export async function lastRetention(database: Database): Promise<RetentionReport | null> {
  const row = await database.kysely.selectFrom("settings").select("value").where("key", "=", KEY).executeTakeFirst();
  return row === undefined ? null : (row.value as unknown as RetentionReport);
}

type Sweeping = RetentionDeps & {
  count: (kind: string, rows: number) => void;
  exhaust: (limit: number, batch: () => Promise<number>) => Promise<void>;
};

async function sweepCaptured(old: Expiry, { database, artifacts, now, count, exhaust }: Sweeping): Promise<void> {
  const conversations = { ...old, limit: CONVERSATIONS_AT_ONCE };
  // Asked for every batch: a run may have been started since the one before.
  await exhaust(conversations.limit, async () => {
    const needed = await neededConversations(database.kysely, old.tenant);
    return expireConversations(database, { ...conversations, needed }, count);
  });
  await exhaust(old.limit, () => expireLoose(database.kysely, old, count));
  await exhaust(old.limit, () => expireFeedback(database.kysely, old, count));
  const remove = (digest: Digest): Promise<void> => artifacts.delete(digest);
  await exhaust(old.limit, () => expireClaims(database, { ...old, nowMs: now(), remove }, count));
  await exhaust(old.limit, () => expireMedia(database, old, artifacts, count));
}

/** Rows of a run go last: whoever is killed before finds it again. */
async function sweepNights(
  { tenant, beforeMs, limit }: Expiry,
  { database, artifacts, runFiles, count, exhaust }: Sweeping,
): Promise<void> {
  const db = database.kysely;
  await exhaust(limit, async () => {
    const unfinished = await unfinishedRuns(db, tenant);
    const { rows } = await sql<{ id: string }>`
      select r.id from runs r where r.tenant = ${tenant} and r.state <> 'running' and r.finished_at_ms < ${beforeMs} and r.id <> all(${unfinished}::text[])
      and (exists (select 1 from run_steps s where s.run_id = r.id) or exists (select 1 from groups g where g.run_id = r.id)
        or exists (select 1 from object_sources o where o.run_id = r.id))
      order by r.finished_at_ms limit ${limit}`.execute(db);
    for (const { id } of rows) {
      const bodies = await sql<{ digest: Digest }>`
        select digest from object_sources where run_id = ${id} union select body_digest from groups where run_id = ${id}`.execute(db);
      for (const { digest } of bodies.rows) await artifacts.delete(digest);
      await runFiles.removeRun(id);
      for (const table of ["groups", "object_sources", "scenarios", "run_steps"] as const) {
        const { numDeletedRows } = await db.deleteFrom(table).where("run_id", "=", id).executeTakeFirst();
        if (table !== "object_sources") count(table, Number(numDeletedRows));
      }
      count("run_directories", 1);
    }
    return rows.length;
  });
}

async function expireReplies(database: Database, beforeMs: number, count: Sweeping["count"]): Promise<number> {
  const { rows } = await sql<{ cache_key: string }>`
    delete from judge_results where ctid in (select ctid from judge_results where created_at_ms < ${beforeMs} limit ${ROWS_AT_ONCE})
    returning cache_key`.execute(database.kysely);
  await sql`delete from judge_sources where cache_key = any(${rows.map((row) => row.cache_key)}::text[])`.execute(database.kysely);
  count("judge_results", rows.length);
  return rows.length;
}

/** Directories of runs that no row knows any more, and copies of adapters that nobody names. */
async function sweepFiles(beforeMs: number, { database, runFiles, sweepCache, count }: Omit<Sweeping, "exhaust">): Promise<void> {
  for (const { runId, changedAtMs } of await runFiles.list()) {
    if (changedAtMs >= beforeMs) continue;
    const known = await database.kysely.selectFrom("runs").select("id").where("id", "=", runId).executeTakeFirst();
    if (known !== undefined) continue;
    await runFiles.removeRun(runId);
    count("run_directories", 1);
  }
  if (sweepCache !== null) count("adapter_copies", await sweepCache({ beforeMs, keep: await namedAdapters(database.kysely) }));
}

async function remember(database: Database, report: RetentionReport): Promise<void> {
  const value = JSON.stringify(report);
  await database.kysely
    .insertInto("settings")
    .values({ key: KEY, value })
    .onConflict((conflict) => conflict.column("key").doUpdateSet({ value }))
    .execute();
}
