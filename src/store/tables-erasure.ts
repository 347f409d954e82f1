import type { JSONColumnType } from "kysely";

/** What erasure and retention need to know: whose a trace is, what was made of whom, what must not come back. */
export interface ErasureTables {
  trace_subjects: TraceSubjectTable;
  former_conversations: FormerConversationTable;
  conversation_media: ConversationMediaTable;
  claims: ClaimTable;
  object_sources: ObjectSourceTable;
  judge_sources: JudgeSourceTable;
  tombstones: TombstoneTable;
  erased_sources: ErasedSourceTable;
  erasures: ErasureTable;
}

/** Subjects that the spans and log events of a trace name. */
interface TraceSubjectTable {
  tenant: string;
  subject: string;
  trace_id: string;
}

/** Conversations that a trace was filed under before a later span named a better one. */
interface FormerConversationTable {
  tenant: string;
  trace_id: string;
  conversation_id: string;
}

/** Objects of the artifact store that hold a conversation's images and sounds. Written before the object is; the object may go when no conversation that exists names it. */
interface ConversationMediaTable {
  conversation_id: string;
  digest: string;
  tenant: string;
}

/** Objects that carried what was larger than a record, by the traces in them ("" for none). The row outlives its object: it says that the object is gone on purpose. */
interface ClaimTable {
  tenant: string;
  digest: string;
  trace_id: string;
  received_at_ms: number;
  deleted_at_ms: number | null;
}

/** Whose text a group's body holds: ids of trajectories, and of the scenario. Written before the object is. */
interface ObjectSourceTable {
  digest: string;
  source: string;
  run_id: string;
  at_ms: number;
}

/** As `object_sources`, for what a judge answered. */
interface JudgeSourceTable {
  cache_key: string;
  source: string;
}

/** Keyed hashes of erased subjects, conversations and traces: what comes back of them is not stored. */
interface TombstoneTable {
  tenant: string;
  hash: string;
  at_ms: number;
}

/** Trajectories and scenarios that were erased: what is still being made of them is not stored. */
interface ErasedSourceTable {
  source: string;
  at_ms: number;
}

interface ErasureTable {
  id: string;
  tenant: string;
  subject_hash: string;
  /** requested: rows are still there. started: rows are gone, objects and files are not. erased: all is gone. compacted: the database's files were rewritten. */
  state: "requested" | "started" | "erased" | "compacted";
  actor: string;
  started_at_ms: number;
  finished_at_ms: number | null;
  body: JSONColumnType<Record<string, unknown>>;
}
