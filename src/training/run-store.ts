import { nightshiftError } from "../errors.ts";
import type { Database } from "../store/database.ts";
import { holdErasures } from "../store/erased-sources.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { createStepMeasure, type StepMeasure } from "./step-measure.ts";

/** What a finished run came to. */
export type RunOutcome =
  | { kind: "candidate"; adapterDigest: string; adapterName: string }
  /** Every group was without signal, or there was nothing trainable: not a failure. */
  | { kind: "nothing_to_learn"; reason: string }
  /** There was nowhere to train: no failure either, and the next night tries again. */
  | { kind: "no_capacity"; reason: string; fix: string }
  | { kind: "failed"; code: string; message: string; fix: string };

export interface Run {
  id: string;
  tenant: string;
  agent: string;
  state: "running" | "finished" | "failed" | "cancelled";
  startedAtMs: number;
  finishedAtMs: number | null;
  plan: Record<string, unknown>;
  outcome: RunOutcome | null;
}

export interface RunStep {
  step: string;
  startedAtMs: number;
  finishedAtMs: number | null;
  output: Record<string, unknown> | null;
}

/**
 * Runs and their durable steps. A step's output is written once, after its effect, and the first one written stands; a run that was killed repeats the step it was in and
 * reads the outputs of those before, so every step must be safe to start again.
 */
export interface RunStore {
  /** @throws NightshiftError `run_in_progress` when the agent has a running run: the run lock is a unique index. */
  create(run: { id: string; tenant: string; agent: string; plan: Record<string, unknown>; nowMs: number }): Promise<void>;
  finish(id: string, state: "finished" | "failed" | "cancelled", outcome: RunOutcome, nowMs: number): Promise<void>;
  get(id: string): Promise<Run | null>;
  /** Newest first. */
  list(filter: { tenant?: string; agent?: string; state?: Run["state"]; limit: number }): Promise<Run[]>;
  steps(runId: string): Promise<RunStep[]>;
  /** The stored output of a finished step, or the result of `work`, stored. */
  step<T extends object>(runId: string, step: string, work: () => Promise<T>): Promise<T>;
}

/**
 * An operator wants no more of it: whoever carries it out lets go within a second. Resolves to the state that it is in then; null where there is no such run. That it was asked for is
 * audited in the same transaction.
 */
export async function cancelRun(
  { id, actor }: { id: string; actor: string },
  { database, now }: { database: Database; now: () => number },
): Promise<Run["state"] | null> {
  const { code, message, fix } = nightshiftError("run_cancelled", { run: id, actor });
  const ending: Ending = { id, state: "cancelled", outcome: { kind: "failed", code, message, fix }, nowMs: now() };
  const { agent, state } = await database.transaction(async (trx) => {
    const ended = await endRun(trx, ending);
    const run = await trx.selectFrom("runs").select("state").where("id", "=", id).executeTakeFirst();
    if (run === undefined) return { agent: null, state: null };
    const row = { at_ms: now(), actor, action: "run_cancelled", subject: id, body: JSON.stringify({ state: run.state }) };
    await trx.insertInto("audit").values(row).execute();
    return { agent: ended, state: run.state as Run["state"] };
  });
  if (agent !== null) countEnd(agent, ending.outcome);
  return state;
}

interface Ending {
  id: string;
  state: "finished" | "failed" | "cancelled";
  outcome: RunOutcome;
  nowMs: number;
}

/** The run's agent; null where the run had ended before, or there is none. */
async function endRun(db: Database["kysely"], { id, state, outcome, nowMs }: Ending): Promise<string | null> {
  const row = await db
    .updateTable("runs")
    .set({ state, outcome: JSON.stringify(outcome), finished_at_ms: nowMs })
    .where("id", "=", id)
    .where("state", "=", "running")
    .returning("agent")
    .executeTakeFirst();
  return row?.agent ?? null;
}

function countEnd(agent: string, outcome: RunOutcome): void {
  const errorType = outcome.kind === "failed" ? { "error.type": outcome.code } : {};
  createCounter(METRIC.runs).add(1, { "nightshift.agent": agent, "nightshift.outcome": outcome.kind, ...errorType });
}

export function createRunStore(database: Database, now: () => number): RunStore {
  const db = database.kysely;
  const measure = createStepMeasure();
  return {
    create: (run) => createRun(db, run),

    async finish(id, state, outcome, nowMs) {
      const agent = await endRun(db, { id, state, outcome, nowMs });
      if (agent !== null) countEnd(agent, outcome);
    },

    async get(id) {
      const row = await db.selectFrom("runs").selectAll().where("id", "=", id).executeTakeFirst();
      return row === undefined ? null : toRun(row);
    },

    async list(filter) {
      let query = db.selectFrom("runs").selectAll().orderBy("started_at_ms", "desc").limit(filter.limit);
      if (filter.tenant !== undefined) query = query.where("tenant", "=", filter.tenant);
      if (filter.agent !== undefined) query = query.where("agent", "=", filter.agent);
      if (filter.state !== undefined) query = query.where("state", "=", filter.state);
      return (await query.execute()).map(toRun);
    },

    async steps(runId) {
      const rows = await db.selectFrom("run_steps").selectAll().where("run_id", "=", runId).orderBy("started_at_ms").execute();
      return rows.map((row) => ({ step: row.step, startedAtMs: row.started_at_ms, finishedAtMs: row.finished_at_ms, output: row.output }));
    },

    step: (runId, step, work) => durableStep(database, { now, measure }, { runId, step }, work),
  };
}

async function createRun(db: Database["kysely"], run: Parameters<RunStore["create"]>[0]): Promise<void> {
  const created = await db
    .insertInto("runs")
    .values({
      id: run.id,
      tenant: run.tenant,
      agent: run.agent,
      state: "running",
      started_at_ms: run.nowMs,
      finished_at_ms: null,
      plan: JSON.stringify(run.plan),
      outcome: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning("id")
    .executeTakeFirst();
  if (created !== undefined) return;
  const running = await db
    .selectFrom("runs")
    .select("id")
    .where("tenant", "=", run.tenant)
    .where("agent", "=", run.agent)
    .where("state", "=", "running")
    .executeTakeFirst();
  throw nightshiftError("run_in_progress", { agent: run.agent, run: running?.id ?? run.id });
}

async function durableStep<T extends object>(
  database: Database,
  { now, measure }: { now: () => number; measure: StepMeasure },
  { runId, step }: { runId: string; step: string },
  work: () => Promise<T>,
): Promise<T> {
  const db = database.kysely;
  const known = await finishedOutput<T>(db, runId, step);
  if (known !== null) return known;
  await database.transaction(
    async (trx) => {
      // An erasure either finds the step begun, or has removed what the step will look up.
      await holdErasures(trx);
      await trx
        .insertInto("run_steps")
        .values({ run_id: runId, step, started_at_ms: now(), finished_at_ms: null, output: null })
        .onConflict((conflict) => conflict.columns(["run_id", "step"]).doNothing())
        .execute();
    },
    { isolation: "read committed" },
  );
  const output = await measure({ runId, step }, work);
  const stored = await db
    .updateTable("run_steps")
    .set({ finished_at_ms: now(), output: JSON.stringify(output) })
    .where("run_id", "=", runId)
    .where("step", "=", step)
    .where("finished_at_ms", "is", null)
    .returning("step")
    .executeTakeFirst();
  // Another process finished the same step meanwhile. What follows must build on what is stored.
  return stored === undefined ? ((await finishedOutput<T>(db, runId, step)) ?? output) : output;
}

async function finishedOutput<T extends object>(db: Database["kysely"], runId: string, step: string): Promise<T | null> {
  const row = await db
    .selectFrom("run_steps")
    .select(["finished_at_ms", "output"])
    .where("run_id", "=", runId)
    .where("step", "=", step)
    .executeTakeFirst();
  return row === undefined || row.finished_at_ms === null ? null : (row.output as T);
}

function toRun(row: {
  id: string;
  tenant: string;
  agent: string;
  state: string;
  started_at_ms: number;
  finished_at_ms: number | null;
  plan: object;
  outcome: object | null;
}): Run {
  return {
    id: row.id,
    tenant: row.tenant,
    agent: row.agent,
    state: row.state as Run["state"],
    startedAtMs: row.started_at_ms,
    finishedAtMs: row.finished_at_ms,
    plan: row.plan as Record<string, unknown>,
    outcome: row.outcome as RunOutcome | null,
  };
}
