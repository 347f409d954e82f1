import type { Kysely } from "kysely";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import { digestOf } from "../artifact/digest.ts";
import type { AgentConfig } from "../config.ts";
import type { NightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Judge, JudgeResult } from "../reward/judge.ts";
import { groupSignal } from "../reward/signal.ts";
import { encodeGroup } from "../rollout/encode-group.ts";
import type { TrajectoryGroup } from "../rollout/group.ts";
import { sourcesOfGroup } from "../rollout/sources.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { Database } from "../store/database.ts";
import { anyErased, holdErasures } from "../store/erased-sources.ts";
import type { Tables } from "../store/tables.ts";

/** What is kept of a judged group beside its body: enough for the funnel, the batch and the page. */
export interface GroupSummary {
  rewards: (number | null)[];
  explanations: (string | null)[];
  judge: { driver: string; model: string; rubricVersion: string; inputTokens: number; outputTokens: number; cached: boolean } | null;
  /** `kept`, or why the group does not train. */
  verdict: string;
  mean: number | null;
  deviation: number | null;
  members: number;
  masked: Record<string, number>;
  weight: number;
  callsByRung: Record<string, number>;
  simulatedShare: number;
  /** Missing in groups from before there was a choice. */
  played?: TrajectoryGroup["played"];
}

export interface IterationDeps {
  database: Database;
  artifacts: ArtifactStore;
  judge: Judge;
  log: Logger;
  now: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Rolls one scenario out with tonight's policy. */
  rollOut: (scenario: Scenario, signal: AbortSignal) => Promise<TrajectoryGroup>;
}

const JUDGE_ATTEMPTS = 5;

/**
 * Rolls out and judges the scenarios of one iteration. Every group is durable once judged: what a killed run had finished is not done again.
 * Resolves when all have an end; a judge that stays down leaves `judge_unavailable` groups, never a zero.
 */
export async function runIteration(
  options: { runId: string; iteration: number; scenarios: readonly Scenario[]; config: AgentConfig; signal: AbortSignal },
  deps: IterationDeps,
): Promise<void> {
  const done = new Set((await loadGroups(deps.database, options.runId, options.iteration)).map((group) => group.scenarioId));
  const waiting = options.scenarios.filter((scenario) => !done.has(scenario.id));
  // A lane per group in flight: rollouts inside a group run together, so a few groups fill the policy server.
  const lanes = Math.max(1, Math.ceil(options.config.replay.concurrency / options.config.night.groupSize));
  const lane = async (): Promise<void> => {
    for (let scenario = waiting.shift(); scenario !== undefined; scenario = waiting.shift()) {
      const group = await deps.rollOut(scenario, options.signal);
      const result = await judgeWithPatience(group, options.signal, deps);
      await saveGroup(group, summarise(group, result, options.config), deps);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

/** A group of a run with its summary; the body comes from the artifact store by digest. */
export interface StoredGroup {
  id: string;
  runId: string;
  iteration: number;
  scenarioId: string;
  bodyDigest: Digest;
  summary: GroupSummary;
}

/** Groups of a run (of one iteration), in the order of their ids: the order of a batch must not depend on who finished first. */
export async function loadGroups(database: Database, runId: string, iteration?: number): Promise<StoredGroup[]> {
  let query = database.kysely.selectFrom("groups").selectAll().where("run_id", "=", runId).orderBy("iteration").orderBy("id");
  if (iteration !== undefined) query = query.where("iteration", "=", iteration);
  return (await query.execute()).map((row) => ({
    id: row.id,
    runId: row.run_id,
    iteration: row.iteration,
    scenarioId: row.scenario_id,
    bodyDigest: row.body_digest as Digest,
    summary: row.summary as unknown as GroupSummary,
  }));
}

async function judgeWithPatience(group: TrajectoryGroup, signal: AbortSignal, deps: IterationDeps): Promise<JudgeResult> {
  for (let attempt = 1; ; attempt += 1) {
    const result = await deps.judge.score(group, { signal });
    if (result.status !== "retryable" || attempt === JUDGE_ATTEMPTS) return result;
    deps.log.warn({ group_id: group.groupId, code: result.error.code, attempt }, "judge gave no result, waiting");
    await deps.sleep(result.retryAfterMs, signal);
  }
}

/**
 * Whose text a group holds is written down before its object is, so that an erasure finds the object of a process that was killed in between. A group of somebody who
 * was erased meanwhile is not kept.
 */
async function saveGroup(group: TrajectoryGroup, summary: GroupSummary, deps: IterationDeps): Promise<void> {
  const body = encodeGroup(group);
  const digest = digestOf(body);
  const sources = sourcesOfGroup(group);
  const row = { id: group.groupId, run_id: group.runId, iteration: group.iteration, scenario_id: group.scenarioId, body_digest: digest };
  const unlessErased = (write: (trx: Kysely<Tables>) => Promise<unknown>): Promise<boolean> =>
    deps.database.transaction(
      async (trx) => {
        await holdErasures(trx);
        if (await anyErased(trx, sources)) return false;
        await write(trx);
        return true;
      },
      { isolation: "read committed" },
    );
  const announced = await unlessErased((trx) =>
    trx
      .insertInto("object_sources")
      .values(sources.map((source) => ({ digest, source, run_id: group.runId, at_ms: deps.now() })))
      .onConflict((conflict) => conflict.doNothing())
      .execute(),
  );
  const isKept =
    announced &&
    (await unlessErased(async (trx) => {
      // While no erasure can begin: one would look for the object before it is there.
      await deps.artifacts.put(body);
      await trx
        .insertInto("groups")
        .values({ ...row, summary: JSON.stringify(summary) })
        .onConflict((conflict) => conflict.column("id").doNothing())
        .execute();
    }));
  if (isKept) return;
  deps.log.info({ group_id: group.groupId, run_id: group.runId }, "group left out: a subject in it was erased");
}

function summarise(group: TrajectoryGroup, result: JudgeResult, config: AgentConfig): GroupSummary {
  const rewards = result.status === "scored" ? [...result.rewards] : group.members.map(() => null);
  const scored = rewards.filter((reward) => reward !== null);
  const mean = scored.length === 0 ? null : scored.reduce((sum, reward) => sum + reward, 0) / scored.length;
  const deviation = mean === null ? null : Math.sqrt(scored.reduce((sum, reward) => sum + (reward - mean) ** 2, 0) / scored.length);
  return {
    rewards,
    explanations: result.status === "scored" ? [...result.explanations] : group.members.map(() => null),
    judge: result.status === "scored" ? judgeOf(result) : null,
    verdict: verdictOf(group, result, rewards, config),
    mean,
    deviation,
    members: group.members.length,
    masked: countMasked(group),
    weight: group.fidelity.weight,
    callsByRung: { ...group.fidelity.callsByRung },
    simulatedShare: group.fidelity.simulatedShare,
    ...(group.played === undefined ? {} : { played: group.played }),
  };
}

function judgeOf(result: Extract<JudgeResult, { status: "scored" }>): GroupSummary["judge"] {
  const { driver, model, rubricVersion, inputTokens, outputTokens, cached } = result.provenance;
  return { driver, model, rubricVersion, inputTokens, outputTokens, cached };
}

/** Replay's word comes first, then the judge's, then the spread rule's. */
function verdictOf(group: TrajectoryGroup, result: JudgeResult, rewards: readonly (number | null)[], config: AgentConfig): string {
  if (group.fidelity.decision === "drop") return "replay_dropped";
  if (result.status === "no_signal") return result.reason;
  if (result.status !== "scored") return unavailable(result.error);
  const signal = groupSignal(group, rewards, { minSpread: config.night.minSpread, judgeDeviation: config.night.judgeDeviation });
  return signal.keep ? "kept" : signal.reason;
}

function unavailable(error: NightshiftError): string {
  return error.retryable ? "judge_unavailable" : error.code;
}

function countMasked(group: TrajectoryGroup): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { end } of group.members) {
    if (end.status === "masked") counts[end.cause] = (counts[end.cause] ?? 0) + 1;
  }
  return counts;
}
