import type { ArtifactStore } from "../artifact/artifact-store.ts";
import { NightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { eraseAlone } from "../store/erased-sources.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { deleteObjects } from "../trajectory/delete-objects.ts";
import { eraseRows, readSaid } from "../trajectory/erase.ts";
import { listErasures, startErasure, type Erasure, type ErasureWork } from "../trajectory/erasure-log.ts";
import { tombstoneHash } from "../trajectory/tombstones.ts";
import { learnedFrom, type LearnedAdapter } from "./learned.ts";
import type { RunFiles } from "./run-files.ts";

/** What an erasure came to. `subjectHash` is the tombstone's; the key itself is kept nowhere. */
export interface ErasureReport {
  id: string;
  tenant: string;
  subjectHash: string;
  /** started: objects or files are still being removed, by the leader. erased: nothing is left but the bytes in the database's files. compacted: those are gone, too. */
  state: Erasure["state"];
  removed: Readonly<Record<string, number>>;
  /** Conversations that named somebody else, too, and are erased whole; nothing more is stored under their ids. */
  sharedConversations: number;
  /** Data sets that held rollouts with its text: the batches are gone, the runs' ids stay. */
  runs: readonly string[];
  adapters: readonly LearnedAdapter[];
  /** Nights that were under way and had handed it to their trainer. */
  endedRuns: readonly string[];
}

/** Carries erasures out. Every step may be repeated, by any process: what was begun is finished whoever dies. */
export interface Eraser {
  /**
   * Removes every row of a subject in one transaction; when it resolves no query, data set or rollout returns it. Then objects and files, unless one of its runs has only just been
   * ended: those the leader removes when the night has let go of them. Repeating it is safe, and moves the tombstone to now.
   * @param subjects The key in every spelling that it may be stored in.
   */
  erase(subject: { tenant: string; subjects: readonly string[]; actor: string }): Promise<ErasureReport>;
  /** Goes on with what is unfinished. `isBusy`: this process is working on the run. Resolves to how many erasures it finished. */
  finish(isBusy: (runId: string) => boolean): Promise<number>;
}

interface EraserDeps {
  database: Database;
  artifacts: ArtifactStore;
  runFiles: RunFiles;
  log: Logger;
  now: () => number;
}

const DATABASE = { isolation: "read committed" } as const;

export function createEraser(deps: EraserDeps): Eraser {
  const { database, log } = deps;
  const ended = createCounter(METRIC.erasures);
  const finishOne = async (erasure: Erasure, isBusy: (runId: string) => boolean): Promise<ErasureReport> => {
    const report = await removeRest(erasure, isBusy, deps);
    if (report.state === "erased") {
      ended.add(1, {});
      log.info(
        { erasure_id: erasure.id, tenant: erasure.tenant, removed: report.removed, adapters: report.adapters.length },
        "subject erased",
      );
    }
    return report;
  };
  return {
    async erase({ tenant, subjects, actor }) {
      const erasure = await removeRows({ tenant, subjects, conversationIds: [], actor }, deps);
      // What this process has just ended may still be worked on, here or elsewhere.
      const isBusy = (runId: string): boolean => erasure.work.endedRuns.includes(runId);
      try {
        return await finishOne(erasure, isBusy);
      } catch (error) {
        if (!(error instanceof NightshiftError) || !error.retryable) throw error;
        log.warn({ err: error, erasure_id: erasure.id }, "erasure goes on when the artifact store is back");
        return reportOf(erasure, { runs: erasure.work.learned.map(({ runId }) => runId), adapters: [] });
      }
    },
    async finish(isBusy) {
      let finished = 0;
      const requests = await listErasures(database.kysely, { states: ["requested"] });
      // Late pieces come by the dozen: what they betrayed goes at once.
      for (const [tenant, own] of Map.groupBy(requests, (request) => request.tenant)) {
        const conversationIds = [...new Set(own.flatMap(({ work }) => work.conversationIds))];
        await removeRows({ tenant, subjects: [], conversationIds, actor: "ingest", replaces: own.map(({ id }) => id) }, deps);
      }
      for (const erasure of await listErasures(database.kysely, { states: ["started"] })) {
        if ((await finishOne(erasure, isBusy)).state === "erased") finished += 1;
      }
      await compact(deps);
      return finished;
    },
  };
}

async function removeRows(
  of: { tenant: string; subjects: readonly string[]; conversationIds: readonly string[]; actor: string; replaces?: readonly string[] },
  { database, now }: EraserDeps,
): Promise<Erasure> {
  const { tenant, subjects, conversationIds, actor } = of;
  const hash = await tombstoneHash(database.kysely, tenant);
  const [subject] = subjects;
  const subjectHash = subject === undefined ? "" : hash({ kind: "subject", id: subject });
  const said = await readSaid(database.kysely, { tenant, subjects, conversationIds });
  return database.transaction(async (trx) => {
    await eraseAlone(trx);
    const nowMs = now();
    const work = await eraseRows(trx, { tenant, hash, subjects, conversationIds, said, nowMs });
    const id = await startErasure(trx, { tenant, nowMs, actor, subjectHash }, work);
    if (of.replaces !== undefined) await trx.deleteFrom("erasures").where("id", "in", of.replaces).execute();
    return { id, tenant, subjectHash, state: "started", actor, startedAtMs: nowMs, finishedAtMs: null, work };
  }, DATABASE);
}

async function removeRest(erasure: Erasure, isBusy: (runId: string) => boolean, deps: EraserDeps): Promise<ErasureReport> {
  const { id, tenant, work } = erasure;
  await deleteObjects(deps, work.objects);
  const taught = await learnedFrom({ tenant, conversationIds: work.conversationIds, learned: work.learned }, deps);
  if (work.batches.some(({ runId }) => isBusy(runId))) return reportOf(erasure, taught);
  for (const batch of work.batches) await deps.runFiles.removeBatch(batch);
  const report = { ...reportOf(erasure, taught), state: "erased" as const };
  await deps.database.transaction(async (trx) => {
    const nowMs = deps.now();
    const marked = await trx
      .updateTable("erasures")
      .set({ state: "erased", finished_at_ms: nowMs })
      .where("id", "=", id)
      .where("state", "=", "started")
      .returning("id")
      .executeTakeFirst();
    // Another process was faster.
    if (marked === undefined || !isWorthRemembering(erasure)) return;
    const { removed, runs, adapters, endedRuns, sharedConversations } = report;
    await trx
      .insertInto("audit")
      .values({
        ...{ at_ms: nowMs, actor: erasure.actor, action: "subject_erased", subject: erasure.subjectHash },
        body: JSON.stringify({ erasure: id, tenant, removed, sharedConversations, runs, adapters, endedRuns }),
      })
      .execute();
  });
  return report;
}

/** One rewriting of the files serves every erasure that is through. Objects are deleted once more: somebody who was killed may have brought one back in between. */
async function compact(deps: EraserDeps): Promise<void> {
  const { database, log } = deps;
  const through = await listErasures(database.kysely, { states: ["erased"] });
  if (through.length === 0) return;
  await deleteObjects(
    deps,
    through.flatMap(({ work }) => work.objects),
  );
  // A late piece of what is gone was never stored.
  if (through.some(({ work }) => hasRemoved(work))) await database.compact("whole");
  const [kept, dropped] = [through.filter(isWorthRemembering), through.filter((erasure) => !isWorthRemembering(erasure))];
  if (kept.length > 0) {
    const ids = kept.map(({ id }) => id);
    await database.kysely.updateTable("erasures").set({ state: "compacted" }).where("id", "in", ids).execute();
    log.info({ erasures: ids.length }, "store compacted");
  }
  if (dropped.length > 0) {
    const ids = dropped.map(({ id }) => id);
    await database.kysely.deleteFrom("erasures").where("id", "in", ids).execute();
  }
}

/** A late piece that took nothing with it is no event. */
function isWorthRemembering({ subjectHash, work }: Erasure): boolean {
  return subjectHash !== "" || hasRemoved(work);
}

function hasRemoved({ removed }: ErasureWork): boolean {
  return Object.values(removed).some((rows) => rows > 0);
}

function reportOf(
  { id, tenant, subjectHash, state, work }: Erasure,
  { runs, adapters }: { runs: readonly string[]; adapters: readonly LearnedAdapter[] },
): ErasureReport {
  const { removed, endedRuns, sharedConversations } = work;
  return { id, tenant, subjectHash, state, removed, sharedConversations, runs, adapters, endedRuns };
}
