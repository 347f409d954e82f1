import type { ColumnType, Generated, JSONColumnType } from "kysely";
import type { ErasureTables } from "./tables-erasure.ts";

/** Column types of the one schema. Times are epoch milliseconds unless the name says `_ns`. Large bodies live in the artifact store by digest. */
export interface Tables extends ErasureTables {
  spans: SpanTable;
  log_events: LogEventTable;
  conversations: ConversationTable;
  conversation_traces: ConversationTraceTable;
  messages: MessageTable;
  trajectories: TrajectoryTable;
  feedback: FeedbackTable;
  tool_schemas: ToolSchemaTable;
  scenarios: ScenarioTable;
  runs: RunTable;
  run_steps: RunStepTable;
  groups: GroupTable;
  judge_results: JudgeResultTable;
  judge_spending: JudgeSpendingTable;
  judge_calibrations: JudgeCalibrationTable;
  alarms: AlarmTable;
  adapters: AdapterTable;
  attestations: AttestationTable;
  experiments: ExperimentTable;
  evidence: EvidenceTable;
  routes: RouteTable;
  audit: AuditTable;
  settings: SettingTable;
}

/**
 * Documents that people or prompts read are `json`, which keeps them as written: key order is part of a tool schema and of a transcript.
 * Only what SQL looks into is `jsonb`.
 *
 * bigint columns come back as strings from Postgres; the drivers turn int8 into number (all our values are below 2^53).
 */
type Json<T extends object = Record<string, unknown>> = JSONColumnType<T>;
type Bytes = ColumnType<Uint8Array, Uint8Array, Uint8Array>;

interface SpanTable {
  tenant: string;
  trace_id: string;
  span_id: string;
  /** Protobuf `ResourceSpans` with its resource, scope and just this span. */
  raw: Bytes;
  received_at_ms: number;
}

interface LogEventTable {
  tenant: string;
  /** sha256 over (trace id, span id, event name, time, body). */
  hash: string;
  trace_id: string | null;
  span_id: string | null;
  raw: Bytes;
  received_at_ms: number;
}

interface ConversationTable {
  id: string;
  tenant: string;
  agent: string;
  key_kind: "conversation" | "session" | "trace";
  key: string;
  state: "open" | "complete";
  /** By the collector's clock, or ingest's where that is behind: what was assigned before it is known. */
  first_received_ms: number;
  /** By ingest's clock, like everything that completion compares. */
  last_received_ms: number;
  /** When the roots of all its traces were seen to have ended (the last of them, by ingest's clock); null while one is missing. */
  root_ended_ms: number | null;
  /** Not looked at again before this time: a tool call still dangles. Any arrival resets it to 0. */
  not_before_ms: number;
  /** Grows when a completed conversation gets a late span. */
  version: number;
  /** Counts deliveries: what was assembled from an older count may not be saved. */
  arrivals: number;
}

interface ConversationTraceTable {
  tenant: string;
  trace_id: string;
  conversation_id: string;
  /** When the trace's root span was stored; null while it has not ended. */
  root_ended_ms: number | null;
}

interface MessageTable {
  hash: string;
  body: Json;
}

interface TrajectoryTable {
  id: string;
  version: number;
  conversation_id: string;
  conversation_key: string;
  tenant: string;
  agent: string;
  subject: string | null;
  started_at_ms: number;
  ended_at_ms: number;
  adapter_digest: string | null;
  experiment_id: string | null;
  content_hash: string;
  /** Hashes into `messages`, in order. */
  message_hashes: Json<string[]>;
  /** The trajectory without its messages (trajectory.ts). */
  body: Json;
  trainable: boolean;
  reasons: Json<string[]>;
  superseded: boolean;
}

interface FeedbackTable {
  tenant: string;
  target_kind: "conversation" | "trace" | "span" | "response" | "subject";
  target: string;
  name: string;
  source: string;
  /** What was said, as feedback.ts has it. */
  value: Json<{ value: boolean | number | string | { demonstration: readonly object[] }; explanation?: string }>;
  at_ms: number;
}

interface ToolSchemaTable {
  tenant: string;
  agent: string;
  tool: string;
  schema_hash: string;
  definition: Json;
  last_seen_ms: number;
}

interface ScenarioTable {
  run_id: string;
  id: string;
  split: "train" | "held_out";
  body: Json;
}

interface RunTable {
  id: string;
  tenant: string;
  agent: string;
  /** running | finished | failed | cancelled; at most one running per agent (unique index). */
  state: string;
  started_at_ms: number;
  finished_at_ms: number | null;
  plan: Json;
  outcome: Json | null;
}

interface RunStepTable {
  run_id: string;
  step: string;
  started_at_ms: number;
  finished_at_ms: number | null;
  output: Json | null;
}

interface GroupTable {
  id: string;
  run_id: string;
  iteration: number;
  scenario_id: string;
  /** Digest of the group's JSON in the artifact store. */
  body_digest: string;
  summary: Json;
}

interface JudgeResultTable {
  cache_key: string;
  body: Json;
  created_at_ms: number;
}

interface JudgeSpendingTable {
  run_id: string;
  /** What was judged: `reward` (groups) or `gate` (pairs). */
  role: string;
  model: string;
  input_tokens: Generated<number>;
  output_tokens: Generated<number>;
  cost: Generated<number>;
  /** Held for questions without an answer yet. A process that was killed leaves them held: what it had asked may have been paid. */
  reserved_tokens: Generated<number>;
  reserved_cost: Generated<number>;
  /** Questions that were not asked because the budget was spent. */
  refused: Generated<number>;
  /** The budget that was in force when the last question was asked. */
  max_tokens: number;
  max_cost: number | null;
}

interface JudgeCalibrationTable {
  id: string;
  tenant: string;
  agent: string;
  /** Hash of what makes the judge this one. */
  identity: string;
  body: Json;
  created_at_ms: number;
}

/** What a run's rewards seem to pay for beside the task. Holds nobody's text. */
interface AlarmTable {
  run_id: string;
  id: string;
  tenant: string;
  agent: string;
  body: Json;
  raised_at_ms: number;
  acknowledged_at_ms: number | null;
  acknowledged_by: string | null;
  /** In the operator's words. */
  reason: string | null;
}

interface AdapterTable {
  digest: string;
  name: string;
  number: number;
  tenant: string;
  agent: string;
  run_id: string;
  iteration: number;
  parent_digest: string | null;
  manifest: Json;
  created_at_ms: number;
}

interface AttestationTable {
  digest: string;
  replica: string;
  /** Identity of the server process: a restart needs a new proof. */
  instance: string;
  decision: Json;
  at_ms: number;
}

interface ExperimentTable {
  id: string;
  tenant: string;
  agent: string;
  candidate_digest: string;
  stable_digest: string;
  state: string;
  /** Fencing: a write with an older generation changes nothing. */
  generation: number;
  body: Json;
  created_at_ms: number;
  ended_at_ms: number | null;
}

interface EvidenceTable {
  experiment_id: string;
  seq: number;
  kind: string;
  body: Json;
  at_ms: number;
}

interface RouteTable {
  agent: string;
  version: number;
  generation: number;
  body: Json;
}

interface AuditTable {
  id: Generated<number>;
  at_ms: number;
  actor: string;
  action: string;
  subject: string;
  body: Json;
}

interface SettingTable {
  key: string;
  value: Json;
}
