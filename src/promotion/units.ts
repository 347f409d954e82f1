import { hash } from "node:crypto";
import { z } from "zod";
import type { Database } from "../store/database.ts";
import { feedbackOf, type FeedbackValue } from "../trajectory/feedback.ts";
import type { CanaryUnit } from "./canary.ts";
import { compareOrder } from "./evidence.ts";

/** What the controller asks of captured traffic. */
export interface UnitSource {
  /**
   * The first trajectory of every strong assignment key, in assignment order, from `sinceMs` on. `settledBeforeMs`: no unit assigned before it can still turn up
   * (but for captures that take longer than an outcome may).
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
}

/** What of a trajectory's body a unit is made of. */
const bodySchema = z.object({
  assignment: z
    .object({
      key: z.string(),
      weakKey: z.boolean(),
      arm: z.enum(["stable", "candidate"]),
      probability: z.number(),
      routeVersion: z.number(),
    })
    .nullable(),
  parentId: z.string().nullable(),
  finishReason: z.string().nullable(),
  toolTimings: z.array(z.object({ isError: z.boolean() })),
});

interface Trajectory {
  id: string;
  conversationId: string;
  startedAtMs: number;
  endedAtMs: number;
  adapterDigest: string | null;
  body: z.infer<typeof bodySchema>;
}

/** Units from the tables `trajectories` and `feedback`. `settleMs` is how long a finished call's span may be on its way. */
export function createUnitSource(config: { feedback: string; settleMs: number }, deps: { database: Database }): UnitSource {
  return {
    async load(query) {
      const [trajectories, oldestOpenMs] = await Promise.all([
        readTrajectories(deps.database, query),
        readOldestOpen(deps.database, query),
      ]);
      const outcomes = await readOutcomes(deps.database, query.tenant, config.feedback, trajectories);
      const units = trajectories.flatMap((trajectory) => {
        const { assignment } = trajectory.body;
        return assignment === null ? [] : [toUnit(trajectory, assignment, outcomes.get(trajectory.conversationId) ?? null, query)];
      });
      // The gateway announces every assignment at once, so what was assigned `settleMs` before an open conversation was first heard of is known. A conversation
      // that is open for longer than its outcome may take does not hold up everyone behind it; it comes as a late unit.
      const settledBeforeMs = Math.min(query.nowMs, Math.max(oldestOpenMs, query.nowMs - query.horizonMs)) - config.settleMs;
      return { units: firstOfEachKey(units), settledBeforeMs };
    },
  };
}

async function readTrajectories(database: Database, query: UnitQuery): Promise<Trajectory[]> {
  const rows = await database.kysely
    .selectFrom("trajectories")
    .select(["id", "conversation_id", "started_at_ms", "ended_at_ms", "adapter_digest", "body"])
    .where("experiment_id", "=", query.experimentId)
    // Which experiment a call was in is what telemetry says: a sender may name another tenant's, or another agent's.
    .where("tenant", "=", query.tenant)
    .where("agent", "=", query.agent)
    .where("superseded", "=", false)
    .where("started_at_ms", ">=", query.sinceMs)
    .orderBy("started_at_ms")
    .orderBy("id")
    .execute();
  return rows.flatMap((row) => {
    const body = bodySchema.parse(row.body);
    // A sub-agent's trajectory is part of its parent's unit; a weak key is no random assignment.
    if (body.parentId !== null || body.assignment?.weakKey !== false) return [];
    const { id, conversation_id: conversationId, adapter_digest: adapterDigest } = row;
    return [{ id, conversationId, adapterDigest, startedAtMs: row.started_at_ms, endedAtMs: row.ended_at_ms, body }];
  });
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
async function readOutcomes(
  database: Database,
  tenant: string,
  name: string,
  trajectories: readonly Trajectory[],
): Promise<Map<string, number>> {
  const ids = [...new Set(trajectories.map(({ conversationId }) => conversationId))];
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
  trajectory: Trajectory,
  assignment: NonNullable<Trajectory["body"]["assignment"]>,
  outcome: number | null,
  { candidateDigest, experimentId }: Pick<UnitQuery, "candidateDigest" | "experimentId">,
): CanaryUnit {
  const { finishReason, toolTimings } = trajectory.body;
  return {
    // Evidence is never rewritten, and the key may be anything that the agent sends as its session's id.
    key: hash("sha256", `unit|${experimentId}|${assignment.key}`).slice(0, 32),
    arm: assignment.arm,
    p: assignment.probability,
    routeVersion: assignment.routeVersion,
    assignedAtMs: trajectory.startedAtMs,
    endedAtMs: trajectory.endedAtMs,
    trajectoryId: trajectory.id,
    outcome,
    errors: {
      tool_failure: toolTimings.some(({ isError }) => isError),
      refusal: finishReason === "content_filter" || finishReason === "refusal",
      // Analysed by assigned arm: what fell back to stable stays the candidate's, and counts against it.
      fallback: assignment.arm === "candidate" && trajectory.adapterDigest !== null && trajectory.adapterDigest !== candidateDigest,
    },
  };
}

function firstOfEachKey(units: readonly CanaryUnit[]): CanaryUnit[] {
  const first = new Map<string, CanaryUnit>();
  for (const unit of units.toSorted(compareOrder)) if (!first.has(unit.key)) first.set(unit.key, unit);
  return [...first.values()];
}
