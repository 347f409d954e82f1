import type { Digest } from "../artifact/artifact-store.ts";
import type { Objective } from "../config-stages.ts";
import { nightshiftError } from "../errors.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { Database } from "../store/database.ts";
import { findAdapter, registerAdapter, type RegisteredAdapter } from "./adapters.ts";
import { writeBatch, type GroupLine } from "./batch.ts";
import { groupLine } from "./group-lines.ts";
import { loadGroups, type StoredGroup } from "./iteration.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { objectiveOf } from "./run-config.ts";
import { noteSilence } from "./silent-trainer.ts";
import { awaitAdapter, isMoved } from "./trainer-output.ts";

interface Training {
  iteration: number;
  runDirectory: string;
  /** How long the trainer had nothing to do while the batch was rolled out, as far as this process knows. */
  idleSeconds: number;
  parentDigest: Digest | null;
}

/**
 * Hands the kept groups to the trainer and registers what it publishes. Null where it took no step, such as SFT of a batch without one good attempt: that adapter is the one
 * before it, and a first one that does nothing could not be proven active. Durable steps `batch-k` and `train-k`.
 */
export async function trainIteration(options: NightOptions, deps: NightDeps, at: Training): Promise<RegisteredAdapter | null> {
  const { runId } = options;
  const objective = objectiveOf(options.config.night.stages, at.iteration);
  await deps.runs.step(runId, `batch-${at.iteration}`, async () => {
    // Looked up again, now that the step is under way: whoever is erased from here on finds it begun, and ends the run.
    const lines = await groupLines(options, deps, at.iteration);
    await writeBatch(at.runDirectory, at.iteration, lines);
    return { groups: lines.length, members: lines.reduce((sum, line) => sum + line.members.length, 0) };
  });
  const { digest } = await deps.runs.step(runId, `train-${at.iteration}`, async () => {
    const adapter = await awaitAndRegister(options, deps, at);
    if (adapter === null) deps.log.info({ run_id: runId, iteration: at.iteration, objective }, "iteration taught nothing");
    return { objective, digest: adapter?.digest ?? null, name: adapter?.name ?? null, idleSeconds: at.idleSeconds };
  });
  if (digest === null) return null;
  const adapter = await findAdapter(deps.database, digest);
  if (adapter === null) throw nightshiftError("artifact_missing", { what: `adapter ${digest}` });
  return adapter;
}

async function groupLines(options: NightOptions, deps: NightDeps, iteration: number): Promise<GroupLine[]> {
  const lines: GroupLine[] = [];
  for (const group of await keptGroups(options, deps, iteration)) {
    const body = await deps.artifacts.get(group.bodyDigest, { signal: options.signal });
    if (body === null) throw await missing(group, options, deps);
    lines.push(groupLine(decodeGroup(body), group.summary.rewards));
  }
  if (lines.length === 0) throw nightshiftError("run_lost_subject", { run: options.runId });
  return lines;
}

async function keptGroups({ runId }: NightOptions, { database }: NightDeps, iteration: number): Promise<StoredGroup[]> {
  return (await loadGroups(database, runId, iteration)).filter(({ summary }) => summary.verdict === "kept");
}

/** A body that went with its row went with its subject. */
async function missing(group: StoredGroup, options: NightOptions, deps: NightDeps): Promise<Error> {
  const left = await keptGroups(options, deps, group.iteration);
  if (left.some(({ id }) => id === group.id)) return nightshiftError("artifact_missing", { what: `group ${group.id}` });
  return nightshiftError("run_lost_subject", { run: options.runId });
}

async function awaitAndRegister(options: NightOptions, deps: NightDeps, at: Training): Promise<RegisteredAdapter | null> {
  const { runId, agent, config, signal } = options;
  const { iteration, runDirectory } = at;
  const { heartbeatTimeoutMs, lora } = config.night;
  const silent = (silentMs: number): Promise<void> => noteSilence({ runId, agent, silentMs }, deps);
  const directory = await awaitAdapter({ runId, agent, runDirectory, iteration, heartbeatTimeoutMs, signal }, { ...deps, silent });
  if (!(await isMoved(directory))) return null;
  return registerAdapter(
    {
      directory,
      tenant: config.tenant,
      agent,
      runId,
      iteration,
      rank: lora.rank,
      baseDigest: deps.fleet.baseDigest,
      parentDigest: at.parentDigest,
      lineage: await lineageOf(deps.database, runId, config.night.stages),
      nowMs: deps.now(),
    },
    deps,
  );
}

/** What an adapter learned from so far, and by what: kept groups with their scenario's trajectory versions. */
async function lineageOf(database: Database, runId: string, stages: readonly Objective[]): Promise<Uint8Array> {
  const groups = (await loadGroups(database, runId)).filter((group) => group.summary.verdict === "kept");
  const rows = await database.kysely.selectFrom("scenarios").select(["id", "body"]).where("run_id", "=", runId).execute();
  const scenarios = new Map(rows.map((row) => [row.id, row.body as unknown as Scenario]));
  const learned = groups.map((group) => {
    const known = scenarios.get(group.scenarioId);
    // Nobody said a made-up task.
    const scenario = known?.origin === "bootstrap" ? undefined : known;
    return {
      group_id: group.id,
      iteration: group.iteration,
      objective: objectiveOf(stages, group.iteration),
      scenario_id: group.scenarioId,
      trajectory_id: scenario?.trajectoryId ?? null,
      trajectory_version: scenario?.trajectoryVersion ?? null,
      conversation_id: scenario?.conversationId ?? null,
    };
  });
  return new TextEncoder().encode(JSON.stringify({ run_id: runId, groups: learned }));
}
