import type { Kysely } from "kysely";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import { digestOf } from "../artifact/digest.ts";
import type { AgentConfig } from "../config.ts";
import type { Logger } from "../log.ts";
import type { RewardCheck } from "../reward/independent/check-module.ts";
import type { Judge, JudgeResult, ScoreOptions } from "../reward/judge.ts";
import { encodeGroup } from "../rollout/encode-group.ts";
import type { TrajectoryGroup } from "../rollout/group.ts";
import { sourcesOfGroup } from "../rollout/sources.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { Database } from "../store/database.ts";
import { anyErased, holdErasures } from "../store/erased-sources.ts";
import type { Tables } from "../store/tables.ts";
import { readSummary, summarise, type GroupSummary, type Recorded } from "./group-summary.ts";

export interface IterationDeps {
  database: Database;
  artifacts: ArtifactStore;
  judge: Judge;
  /** What is weighed in beside the judge; null where nothing is configured. */
  rewardCheck: RewardCheck | null;
  /** What production did in a scenario; null where it is gone. */
  recordedOf: (scenario: { scenarioId: string }) => Recorded | null;
  log: Logger;
  now: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Rolls one scenario out with tonight's policy; null where it is not to be played any more. */
  rollOut: (scenario: Scenario, signal: AbortSignal) => Promise<TrajectoryGroup | null>;
}

const JUDGE_ATTEMPTS = 5;

/**
 * Rolls out and judges the scenarios of one iteration. Every group is durable once judged: what a killed run had finished is not done again.
 * Resolves when all have an end; a judge that stays down leaves `judge_unavailable` groups, never a zero.
 */
export async function runIteration(
  options: {
    runId: string;
    iteration: number;
    scenarios: readonly Scenario[];
    config: AgentConfig;
    /** The judge's own repeat deviation, as far as it is known. */
    judgeDeviation: number;
    /** What was recorded stands beside the members for the judge, whatever its configuration says. */
    anchored?: boolean;
    /** Members of a group as it is rolled out. Default: the night's. */
    groupSize?: number;
    signal: AbortSignal;
    /** What else than the usual verdict is kept of a group. */
    verdict?: (summary: GroupSummary) => string;
  },
  deps: IterationDeps,
): Promise<void> {
  const { config, judgeDeviation, signal } = options;
  const done = new Set((await loadGroups(deps.database, options.runId, options.iteration)).map((group) => group.scenarioId));
  const waiting = options.scenarios.filter((scenario) => !done.has(scenario.id));
  // A lane per group in flight: rollouts inside a group run together, so a few groups fill the policy server.
  const lanes = Math.max(1, Math.ceil(config.replay.concurrency / (options.groupSize ?? config.night.groupSize)));
  const lane = async (): Promise<void> => {
    for (let scenario = waiting.shift(); scenario !== undefined; scenario = waiting.shift()) {
      const group = await deps.rollOut(scenario, signal);
      if (group === null) continue;
      const recorded = deps.recordedOf(group);
      const anchor = options.anchored === true || config.judge?.anchor === true ? (recorded?.attempt ?? null) : null;
      const result = await judgeWithPatience(group, { signal, anchor }, deps);
      const summary = summarise(group, result, { config, judgeDeviation, check: deps.rewardCheck, recorded });
      if (summary.withoutProbability !== undefined && summary.withoutProbability > 0) {
        deps.log.warn(
          { group_id: group.groupId, members: summary.withoutProbability },
          "policy server had no probability for a sampled token",
        );
      }
      await saveGroup(group, options.verdict === undefined ? summary : { ...summary, verdict: options.verdict(summary) }, deps);
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
    summary: readSummary(row.summary),
  }));
}

/** Asks a judge that is away again after a while, a few times. Resolves to what it said last. Rejects only when `signal` aborts, or the database is away. */
export async function judgeWithPatience(
  group: TrajectoryGroup,
  options: ScoreOptions & { signal: AbortSignal },
  deps: Pick<IterationDeps, "judge" | "log" | "sleep">,
): Promise<JudgeResult> {
  for (let attempt = 1; ; attempt += 1) {
    const result = await deps.judge.score(group, options);
    if (result.status !== "retryable" || attempt === JUDGE_ATTEMPTS) return result;
    deps.log.warn({ group_id: group.groupId, code: result.error.code, attempt }, "judge gave no result, waiting");
    await deps.sleep(result.retryAfterMs, options.signal);
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
