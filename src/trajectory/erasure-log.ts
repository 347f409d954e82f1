import { randomUUID } from "node:crypto";
import type { Kysely, Selectable } from "kysely";
import type { Digest } from "../artifact/artifact-store.ts";
import type { Tables } from "../store/tables.ts";

/** Adds removed rows to a tally. */
export type Count = (kind: string, rows: number) => void;

/** One version of a trajectory. */
export interface Version {
  id: string;
  version: number;
}

/** What is left to do once an erasure's rows are gone, and what it came to. No text and no name is in it. */
export interface ErasureWork {
  /** Objects of the artifact store that held it. */
  objects: readonly Digest[];
  /** Batches that a trainer was given it in. */
  batches: readonly { runId: string; iteration: number }[];
  /** Rows that were removed, by kind. */
  removed: Readonly<Record<string, number>>;
  /** Conversations that are gone, by id: lineage still names them. */
  conversationIds: readonly string[];
  /** How many of them named somebody else, too. */
  sharedConversations: number;
  /** Runs that trained, or would have, on rollouts with its text, and from which iteration on. */
  learned: readonly { runId: string; iteration: number }[];
  /** Runs that were ended because of it. */
  endedRuns: readonly string[];
}

export const NO_WORK: ErasureWork = {
  objects: [],
  batches: [],
  removed: {},
  conversationIds: [],
  sharedConversations: 0,
  learned: [],
  endedRuns: [],
};

export interface Erasure {
  id: string;
  tenant: string;
  /** Keyed hash of the subject; empty where ingest found the rest of one that was erased before. */
  subjectHash: string;
  state: Tables["erasures"]["state"];
  actor: string;
  startedAtMs: number;
  finishedAtMs: number | null;
  work: ErasureWork;
}

/** Asks for conversations to be erased whose subject is known to be erased. The leader does it. */
export async function requestErasure(
  trx: Kysely<Tables>,
  { tenant, nowMs, conversationIds }: { tenant: string; nowMs: number; conversationIds: readonly string[] },
): Promise<void> {
  await insert(trx, { tenant, nowMs, actor: "ingest", subjectHash: "" }, "requested", { ...NO_WORK, conversationIds });
}

/** Writes down what is left to do, in the transaction that removes the rows: from its commit on the erasure is finished whatever dies. Resolves to its id. */
export function startErasure(
  trx: Kysely<Tables>,
  of: { tenant: string; nowMs: number; actor: string; subjectHash: string },
  work: ErasureWork,
): Promise<string> {
  return insert(trx, of, "started", work);
}

/** Erasures in one of these states, or of one subject, oldest first. */
export async function listErasures(
  db: Kysely<Tables>,
  filter: { states?: readonly Erasure["state"][]; tenant?: string; subjectHashes?: readonly string[] },
): Promise<Erasure[]> {
  let query = db.selectFrom("erasures").selectAll().orderBy("started_at_ms").orderBy("id").limit(1_000);
  if (filter.states !== undefined) query = query.where("state", "in", filter.states);
  if (filter.tenant !== undefined) query = query.where("tenant", "=", filter.tenant);
  if (filter.subjectHashes !== undefined) query = query.where("subject_hash", "in", filter.subjectHashes);
  return (await query.execute()).map(fromRow);
}

async function insert(
  trx: Kysely<Tables>,
  { tenant, nowMs, actor, subjectHash }: { tenant: string; nowMs: number; actor: string; subjectHash: string },
  state: Erasure["state"],
  work: ErasureWork,
): Promise<string> {
  const id = randomUUID();
  const body = JSON.stringify(work);
  await trx
    .insertInto("erasures")
    .values({ id, tenant, subject_hash: subjectHash, state, actor, started_at_ms: nowMs, finished_at_ms: null, body })
    .execute();
  return id;
}

function fromRow(row: Selectable<Tables["erasures"]>): Erasure {
  return {
    id: row.id,
    tenant: row.tenant,
    subjectHash: row.subject_hash,
    state: row.state,
    actor: row.actor,
    startedAtMs: row.started_at_ms,
    finishedAtMs: row.finished_at_ms,
    // An older version wrote less.
    work: { ...NO_WORK, ...(row.body as Partial<ErasureWork>) },
  };
}
