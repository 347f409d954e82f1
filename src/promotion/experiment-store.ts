import type { Transaction } from "kysely";
import { nightshiftError } from "../errors.ts";
import type { RouteTarget } from "../serving/routes.ts";
import type { Database } from "../store/database.ts";
import type { Tables } from "../store/tables.ts";
import type { CanaryParameters } from "./canary.ts";
import {
  evidenceSchema,
  type BoundaryCause,
  type Conclusion,
  type Evidence,
  type FoldParameters,
  type OperatorAction,
} from "./evidence.ts";
import type { GateDecision } from "./gate.ts";
import { isEnded, isLive, transition, TRANSITIONS, type Event, type Promotion } from "./promotion.ts";

/** A promotion with what was fixed when it was submitted. */
export interface Experiment extends Promotion {
  tenant: string;
  model: string;
  runId: string | null;
  /** Salt of the assignment hash: every experiment draws its keys anew. */
  salt: string;
  /** Raised by every write; a writer that knows an older one changes nothing. */
  generation: number;
  /** Config as it was at submission: a later change of config must not change what an old log proves. */
  parameters: FoldParameters;
  /** How long an outcome may take after the unit's last answer. */
  horizonMs: number;
  /** Null where the gate is off; every output says so. */
  gate: GateDecision | null;
  conclusion: Conclusion | null;
  endedAtMs: number | null;
}

/** A candidate that came out of the night. */
export interface Submission {
  /** Chosen by the caller, so that submitting twice is one experiment. */
  id: string;
  tenant: string;
  agent: string;
  model: string;
  runId: string | null;
  candidate: RouteTarget;
  stable: RouteTarget;
  salt: string;
  canary: CanaryParameters;
  horizonMs: number;
  gate: GateDecision | null;
  /** Off: proof is collected, promotion waits for an operator. */
  automatic: boolean;
}

export interface ExperimentStore {
  /** Registers a candidate with its gate's decision. Idempotent by id. A digest's k-th retry runs at α/2ᵏ. */
  submit(submission: Submission): Promise<Experiment>;
  get(id: string): Promise<Experiment | null>;
  /** Newest first. */
  list(agent: string): Promise<readonly Experiment[]>;
  /** Moves it and writes the audit row, both or neither. `conflict`: someone else wrote first, or another experiment of the agent is live. */
  move(
    experiment: Experiment,
    event: Event,
    change: { actor: string; stable?: RouteTarget; conclusion?: Conclusion | null },
  ): Promise<{ status: "moved"; experiment: Experiment } | { status: "ignored" } | { status: "conflict" }>;
  /** The log from `fromSeq` on, in order. */
  evidence(id: string, fromSeq: number): Promise<readonly Evidence[]>;
  /** Appends after exactly `length` rows. `conflict`: the log is longer by now. */
  append(id: string, length: number, rows: readonly Evidence[]): Promise<"appended" | "conflict">;
  /** Records what an operator wants, and raises the generation; the controller carries it out. @throws NightshiftError `experiment_unknown`, `action_refused` */
  act(id: string, action: OperatorAction, actor: string): Promise<void>;
  /** Traffic was disturbed at `atMs`: whoever was in conversation at that instant leaves the analysis, in both arms. */
  disturbed(id: string, cause: Extract<BoundaryCause, "lease_lapse" | "gateway_restart">, atMs: number): Promise<void>;
}

export function createExperimentStore(deps: { database: Database; now: () => number }): ExperimentStore {
  const { kysely } = deps.database;
  const all = kysely.selectFrom("experiments").selectAll();
  return {
    submit: (submission) => deps.database.transaction((transaction) => submit(transaction, submission, deps.now())),
    async get(id) {
      const row = await all.where("id", "=", id).executeTakeFirst();
      return row === undefined ? null : fromRow(row);
    },
    async list(agent) {
      const rows = await all.where("agent", "=", agent).orderBy("created_at_ms", "desc").orderBy("id", "desc").execute();
      return rows.map(fromRow);
    },
    move: (experiment, event, change) =>
      deps.database.transaction((transaction) => move(transaction, experiment, event, change, deps.now())),
    async evidence(id, fromSeq) {
      const rows = await kysely
        .selectFrom("evidence")
        .select("body")
        .where("experiment_id", "=", id)
        .where("seq", ">=", fromSeq)
        .orderBy("seq")
        .execute();
      return rows.map(({ body }) => evidenceSchema.parse(body));
    },
    append: (id, length, rows) =>
      deps.database.transaction(async (transaction) => {
        if ((await logLength(transaction, id)) !== length) return "conflict";
        await insertEvidence(transaction, id, length, rows);
        return "appended";
      }),
    act: (id, action, actor) => deps.database.transaction((transaction) => act(transaction, id, action, actor, deps.now())),
    disturbed: (id, cause, atMs) =>
      deps.database.transaction(async (transaction) => {
        const row: Evidence = { kind: "boundary", atMs, cause, step: null };
        await insertEvidence(transaction, id, await logLength(transaction, id), [row]);
      }),
  };
}

async function submit(transaction: Transaction<Tables>, submission: Submission, nowMs: number): Promise<Experiment> {
  const { id, tenant, agent, candidate, stable, canary, automatic, ...rest } = submission;
  const earlier = await lockAgent(transaction, agent);
  const known = earlier.find((experiment) => experiment.id === id);
  if (known !== undefined) return known;
  const retries = earlier.filter((experiment) => experiment.candidate.digest === candidate.digest).length;
  const registered: Experiment = {
    ...rest,
    ...{ id, tenant, agent, candidate, stable },
    state: "registered",
    step: 0,
    weights: canary.ramp.map(({ weight }) => weight),
    generation: nextGeneration(earlier),
    parameters: { ...canary, alpha: canary.alpha / 2 ** retries, automatic },
    conclusion: null,
    createdAtMs: nowMs,
    stateSinceMs: nowMs,
    endedAtMs: null,
  };
  const hasPassed = submission.gate === null || submission.gate.decision === "pass";
  const experiment = ended(transition(registered, hasPassed ? "gate_passed" : "gate_refused", nowMs) ?? registered, nowMs);
  await transaction.insertInto("experiments").values(toRow(experiment)).execute();
  await audit(transaction, {
    atMs: nowMs,
    actor: "controller",
    action: "experiment_submitted",
    subject: id,
    body: { state: experiment.state },
  });
  return experiment;
}

async function move(
  transaction: Transaction<Tables>,
  experiment: Experiment,
  event: Event,
  change: { actor: string; stable?: RouteTarget; conclusion?: Conclusion | null },
  nowMs: number,
): ReturnType<ExperimentStore["move"]> {
  const siblings = await lockAgent(transaction, experiment.agent);
  const current = siblings.find(({ id }) => id === experiment.id);
  if (current?.generation !== experiment.generation) return { status: "conflict" };
  const moved = transition(current, event, nowMs);
  if (moved === null) return { status: "ignored" };
  if (isLive(moved.state) && siblings.some(({ id, state }) => id !== moved.id && isLive(state))) return { status: "conflict" };
  const next = ended(
    {
      ...moved,
      stable: change.stable ?? moved.stable,
      conclusion: change.conclusion ?? moved.conclusion,
      generation: nextGeneration(siblings),
    },
    nowMs,
  );
  const { id: _, ...columns } = toRow(next);
  await transaction.updateTable("experiments").set(columns).where("id", "=", next.id).execute();
  const body = { event, from: current.state, to: next.state, step: next.step, conclusion: next.conclusion };
  await audit(transaction, { atMs: nowMs, actor: change.actor, action: `experiment_${event}`, subject: next.id, body });
  return { status: "moved", experiment: next };
}

const EVENT_OF_ACTION: Record<OperatorAction, Event> = {
  promote: "operator_promoted",
  rollback: "operator_rolled_back",
  pause: "paused",
  resume: "resumed",
  supersede: "operator_superseded",
};

async function act(transaction: Transaction<Tables>, id: string, action: OperatorAction, actor: string, nowMs: number): Promise<void> {
  const row = await transaction.selectFrom("experiments").select("agent").where("id", "=", id).executeTakeFirst();
  const siblings = row === undefined ? [] : await lockAgent(transaction, row.agent);
  const experiment = siblings.find((one) => one.id === id);
  if (experiment === undefined) throw nightshiftError("experiment_unknown", { id });
  const event = EVENT_OF_ACTION[action];
  const refuse = (why: string) => nightshiftError("action_refused", { action, id, state: experiment.state, why });
  if (TRANSITIONS[experiment.state][event] === null) throw refuse("this state does not allow it");
  await audit(transaction, { atMs: nowMs, actor, action: `operator_${action}`, subject: id, body: {} });
  if (!isLive(experiment.state)) {
    // No log is running: what was promoted is undone, what waits is taken out.
    const isPromoted = experiment.state === "promoted";
    if (isPromoted && siblings.some(({ state }) => isLive(state)))
      throw refuse("another experiment of the agent is live; roll that back first");
    if (isPromoted && siblings.some(({ state, endedAtMs }) => state === "promoted" && (endedAtMs ?? 0) > (experiment.endedAtMs ?? 0)))
      throw refuse("a later promotion is in force; roll that back first");
    await move(transaction, experiment, event, { actor }, nowMs);
    return;
  }
  // Whoever read the log before this row must not move the experiment, or set its routes, after it.
  await transaction
    .updateTable("experiments")
    .set({ generation: nextGeneration(siblings) })
    .where("id", "=", id)
    .execute();
  const rows: Evidence[] = [{ kind: "operator", atMs: nowMs, action, actor }];
  if (action === "pause" || action === "resume") rows.push({ kind: "boundary", atMs: nowMs, cause: action, step: null });
  await insertEvidence(transaction, id, await logLength(transaction, id), rows);
}

/** Every writer locks all of an agent's experiments first, so that two of them cannot both see an empty slot. */
async function lockAgent(transaction: Transaction<Tables>, agent: string): Promise<Experiment[]> {
  const rows = await transaction.selectFrom("experiments").selectAll().where("agent", "=", agent).orderBy("id").forUpdate().execute();
  return rows.map(fromRow);
}

function nextGeneration(experiments: readonly Experiment[]): number {
  return 1 + Math.max(0, ...experiments.map(({ generation }) => generation));
}

function ended(experiment: Experiment, nowMs: number): Experiment {
  return isEnded(experiment.state) ? { ...experiment, endedAtMs: experiment.endedAtMs ?? nowMs } : experiment;
}

async function logLength(transaction: Transaction<Tables>, id: string): Promise<number> {
  const row = await transaction
    .selectFrom("evidence")
    .select(({ fn }) => fn.countAll<number>().as("length"))
    .where("experiment_id", "=", id)
    .executeTakeFirstOrThrow();
  return row.length;
}

async function insertEvidence(transaction: Transaction<Tables>, id: string, length: number, rows: readonly Evidence[]): Promise<void> {
  const values = rows.map((row, index) => ({
    experiment_id: id,
    seq: length + index,
    kind: row.kind,
    body: JSON.stringify(row),
    at_ms: row.atMs,
  }));
  // Postgres takes at most 65,535 parameters in one statement.
  for (let from = 0; from < values.length; from += 1000) {
    await transaction
      .insertInto("evidence")
      .values(values.slice(from, from + 1000))
      .execute();
  }
}

async function audit(
  transaction: Transaction<Tables>,
  row: { atMs: number; actor: string; action: string; subject: string; body: object },
): Promise<void> {
  const { atMs, body, ...columns } = row;
  await transaction
    .insertInto("audit")
    .values({ at_ms: atMs, body: JSON.stringify(body), ...columns })
    .execute();
}

type Row = { generation: number; ended_at_ms: number | null; body: Record<string, unknown> };

function fromRow(row: Row): Experiment {
  return { ...(row.body as unknown as Experiment), generation: row.generation, endedAtMs: row.ended_at_ms };
}

function toRow(experiment: Experiment) {
  return {
    id: experiment.id,
    tenant: experiment.tenant,
    agent: experiment.agent,
    candidate_digest: experiment.candidate.digest,
    stable_digest: experiment.stable.digest,
    state: experiment.state,
    generation: experiment.generation,
    body: JSON.stringify(experiment),
    created_at_ms: experiment.createdAtMs,
    ended_at_ms: experiment.endedAtMs,
  };
}
