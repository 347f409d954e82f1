import { hash } from "node:crypto";
import { sql } from "kysely";
import { z } from "zod";
import type { Database } from "../store/database.ts";
import { feedbackOf, type FeedbackValue } from "../trajectory/feedback.ts";
import type { CanaryUnit } from "./canary.ts";
import { compareOrder } from "./evidence.ts";

/** What the controller asks of captured traffic. */
export interface UnitSource {
  /**
   * The first trajectory of every strong assignment key that is not `known`, in assignment order, from `sinceMs` on: at most `UNITS_AT_ONCE`, the rest when those
   * are known. `settledBeforeMs`: no unit assigned before it can still turn up (but for captures that take longer than an outcome may).
   */
  load(query: UnitQuery): Promise<{ units: readonly CanaryUnit[]; settledBeforeMs: number }>;
}

export interface UnitQuery {
  experimentId: string;
  tenant: string;
  agent: string;
  candidateDigest: string;
  horizonMs: number;
  sinceMs: number;
  nowMs: number;
  /** Keys of units that the log has already: their outcomes are not asked for again. */
  known: ReadonlySet<string>;
}

/** A turn of the controller is short whatever it finds, so that an operator's rollback never waits behind one. */
export const UNITS_AT_ONCE = 500;

const assignmentSchema = z.object({
  key: z.string(),
  weakKey: z.boolean(),
  arm: z.enum(["stable", "candidate"]),
  probability: z.number(),
  routeVersion: z.number(),
});

/** What of a trajectory's body a unit is made of; the rest may be megabytes. */
const partsSchema = z.object({
  assignment: assignmentSchema.nullable(),
  parentId: z.string().nullable(),
  finishReason: z.string().nullable(),
  toolTimings: z.array(z.object({ isError: z.boolean() })),
});

/** A unit without its outcome, which may still come. */
interface Draft {
  conversationId: string;
  unit: Omit<CanaryUnit, "outcome">;
}

/** What the trajectories of one experiment are, by the written row: null says that this one is no unit. */
interface Drafts {
  experimentId: string;
  byRow: ReadonlyMap<string, Draft | null>;
}

/** Changes with every write to a row, as reopened conversations make them. */
const writtenRow = sql<string>`concat_ws('@', id, version, xmin)`.as("row");

/**
 * Units of one agent from the tables `trajectories` and `feedback`; each trajectory is read once, and again when it was written again. `settleMs` is how long a finished call's span may be on its way.
 */
export function createUnitSource(config: { feedback: string; settleMs: number }, deps: { database: Database }): UnitSource {
  let drafts: Drafts = { experimentId: "", byRow: new Map() };
  return {
    async load(query) {
      const before = drafts.experimentId === query.experimentId ? drafts.byRow : new Map<string, Draft | null>();
      const [byRow, oldestOpenMs] = await Promise.all([readDrafts(deps.database, query, before), readOldestOpen(deps.database, query)]);
      drafts = { experimentId: query.experimentId, byRow };
      const found = firstOfEachKey([...byRow.values()].filter((draft) => draft !== null))
        .filter(({ unit }) => !query.known.has(unit.key))
        .slice(0, UNITS_AT_ONCE);
      const outcomes = await readOutcomes(deps.database, query.tenant, config.feedback, found);
      const units = found.map(({ conversationId, unit }) => ({ ...unit, outcome: outcomes.get(conversationId) ?? null }));
      // The gateway announces every assignment at once, so what was assigned `settleMs` before an open conversation was first heard of is known. A conversation
      // that is open for longer than its outcome may take does not hold up everyone behind it; it comes as a late unit.
      const settledBeforeMs = Math.min(query.nowMs, Math.max(oldestOpenMs, query.nowMs - query.horizonMs)) - config.settleMs;
      return { units, settledBeforeMs };
    },
  };
}

/** The experiment's trajectories as they are now, in no order. Only those that `before` does not have are read. */
async function readDrafts(
  database: Database,
  query: UnitQuery,
  before: ReadonlyMap<string, Draft | null>,
): Promise<Map<string, Draft | null>> {
  const rows = await database.kysely
    .selectFrom("trajectories")
    .select(["id", writtenRow])
    .where("experiment_id", "=", query.experimentId)
    // Which experiment a call was in is what telemetry says: a sender may name another tenant's, or another agent's.
    .where("tenant", "=", query.tenant)
    .where("agent", "=", query.agent)
    .where("superseded", "=", false)
    .where("started_at_ms", ">=", query.sinceMs)
    // Follows from the line before; it is what the index goes by.
    .where("ended_at_ms", ">=", query.sinceMs)
    .execute();
  const known = new Map<string, Draft | null>();
  const unread: string[] = [];
  for (const { id, row } of rows) {
    const draft = before.get(row);
    if (draft === undefined) unread.push(id);
    else known.set(row, draft);
  }
  return unread.length === 0 ? known : new Map([...known, ...(await readTrajectories(database, query, unread))]);
}

async function readTrajectories(database: Database, query: UnitQuery, ids: readonly string[]): Promise<Map<string, Draft | null>> {
  const rows = await database.kysely
    .selectFrom("trajectories")
    .select(["id", "conversation_id", "started_at_ms", "ended_at_ms", "adapter_digest", writtenRow])
    .select(
      sql`json_build_object('assignment', body->'assignment', 'parentId', body->'parentId', 'finishReason', body->'finishReason', 'toolTimings', body->'toolTimings')`.as(
        "parts",
      ),
    )
    .where(sql<boolean>`id = any(${ids}::text[])`)
    .where("superseded", "=", false)
    .execute();
  return new Map(
    rows.map((row) => {
      const { assignment, parentId, ...parts } = partsSchema.parse(row.parts);
      // A sub-agent's trajectory is part of its parent's unit; a weak key is no random assignment.
      if (parentId !== null || assignment === null || assignment.weakKey) return [row.row, null];
      const { id, conversation_id: conversationId, adapter_digest: adapterDigest } = row;
      const trajectory = { id, startedAtMs: row.started_at_ms, endedAtMs: row.ended_at_ms, adapterDigest, ...parts };
      return [row.row, { conversationId, unit: toUnit(trajectory, assignment, query) }];
    }),
  );
}

async function readOldestOpen(database: Database, query: UnitQuery): Promise<number> {
  const row = await database.kysely
    .selectFrom("conversations")
    .select(({ fn }) => fn.min<number | null>("first_received_ms").as("oldest"))
    .where("state", "=", "open")
    .where("tenant", "=", query.tenant)
    .where("agent", "=", query.agent)
    .executeTakeFirst();
  return row?.oldest ?? Number.POSITIVE_INFINITY;
}

/**
 * Latest countable value of the outcome's feedback per conversation, whichever of its names the feedback was given by. What names the subject alone counts only
 * where nothing names the conversation: it is said of all of them at once.
 */
async function readOutcomes(database: Database, tenant: string, name: string, drafts: readonly Draft[]): Promise<Map<string, number>> {
  const ids = [...new Set(drafts.map(({ conversationId }) => conversationId))];
  const outcomes = new Map<string, number>();
  for (const [conversationId, all] of await feedbackOf(database.kysely, tenant, ids)) {
    const said = all.filter((item) => item.name === name && toOutcome(item.value) !== null);
    const told = said.findLast(({ targetKind }) => targetKind !== "subject") ?? said.at(-1);
    const latest = told === undefined ? null : toOutcome(told.value);
    if (latest !== null) outcomes.set(conversationId, latest);
  }
  return outcomes;
}

/** Y in [0, 1]; text and demonstrations say nothing that can be counted. */
function toOutcome(value: FeedbackValue): number | null {
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "number" && Number.isFinite(value) ? Math.min(1, Math.max(0, value)) : null;
}

function toUnit(
  trajectory: Pick<z.infer<typeof partsSchema>, "finishReason" | "toolTimings"> & {
    id: string;
    startedAtMs: number;
    endedAtMs: number;
    adapterDigest: string | null;
  },
  assignment: z.infer<typeof assignmentSchema>,
  { candidateDigest, experimentId }: Pick<UnitQuery, "candidateDigest" | "experimentId">,
): Draft["unit"] {
  const { finishReason, toolTimings, adapterDigest } = trajectory;
  return {
    // Evidence is never rewritten, and the key may be anything that the agent sends as its session's id.
    key: hash("sha256", `unit|${experimentId}|${assignment.key}`).slice(0, 32),
    arm: assignment.arm,
    p: assignment.probability,
    routeVersion: assignment.routeVersion,
    assignedAtMs: trajectory.startedAtMs,
    endedAtMs: trajectory.endedAtMs,
    trajectoryId: trajectory.id,
    errors: {
      tool_failure: toolTimings.some(({ isError }) => isError),
      refusal: finishReason === "content_filter" || finishReason === "refusal",
      // Analysed by assigned arm: what fell back to stable stays the candidate's, and counts against it.
      fallback: assignment.arm === "candidate" && adapterDigest !== null && adapterDigest !== candidateDigest,
    },
  };
}

function firstOfEachKey(drafts: readonly Draft[]): Draft[] {
  const first = new Map<string, Draft>();
  for (const draft of drafts.toSorted((a, b) => compareOrder(a.unit, b.unit))) {
    if (!first.has(draft.unit.key)) first.set(draft.unit.key, draft);
  }
  return [...first.values()];
}
