import { join } from "node:path";
import { NightshiftError, type ErrorCode } from "../errors.ts";
import type { RegisteredAdapter } from "./adapters.ts";
import { examineRun } from "./alarms.ts";
import type { StoredGroup } from "./iteration.ts";
import { withIdleTrainer } from "./idle-trainer.ts";
import { auditJudge } from "./judge-audit.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { pause } from "./night-rollouts.ts";
import { prepareRun, type Policy } from "./night-start.ts";
import { trainIteration } from "./night-train.ts";
import { byPlan } from "./planned-night.ts";
import type { RunOutcome } from "./run-store.ts";
import { watchRun } from "./run-watch.ts";

/** What a night cannot do anything about and that passes: the run stays open, and whoever called comes again. */
const OUTAGES: ReadonlySet<ErrorCode> = new Set([
  "artifact_store_unavailable",
  "artifact_store_refused",
  "store_unavailable",
  "cluster_unavailable",
]);

/**
 * Carries a run out by `learn`. Every step is durable, so calling it again with the same run
 * continues where it was killed. Resolves to the outcome; the run's row is finished by then, by whoever it was. Rejects only when `signal` aborts, for a defect, or while the
 * artifact store or the database is away.
 */
export async function carryOut<Deps extends NightDeps>(
  options: NightOptions,
  deps: Deps,
  learn: (options: NightOptions, deps: Deps) => Promise<RunOutcome>,
): Promise<RunOutcome> {
  const log = deps.log.child({ run_id: options.runId });
  const watch = watchRun(options, deps.runs);
  let isOver = true;
  try {
    const config = byPlan(await deps.runs.get(options.runId), options.config);
    const outcome = await learn({ ...options, config, signal: watch.signal }, { ...deps, log });
    await deps.runs.finish(options.runId, "finished", outcome, deps.now());
    log.info({ outcome: outcome.kind }, "run finished");
    return outcome;
  } catch (error) {
    const ended = watch.endedAs();
    if (ended !== null) return ended;
    isOver = !options.signal.aborted && error instanceof NightshiftError && !OUTAGES.has(error.code);
    if (!isOver || !(error instanceof NightshiftError)) throw error;
    const { code, message, fix } = error;
    const outcome: RunOutcome =
      code === "trainer_no_capacity" ? { kind: "no_capacity", reason: message, fix } : { kind: "failed", code, message, fix };
    await deps.runs.finish(options.runId, outcome.kind === "failed" ? "failed" : "finished", outcome, deps.now());
    if (outcome.kind === "failed") log.error({ err: error, code }, "run failed");
    else log.warn({ outcome: outcome.kind, reason: message }, "run finished");
    return outcome;
  } finally {
    watch.stop();
    // Of a run that is not over whoever comes next goes on with the trainer, where that can be.
    const { jobRunner } = deps;
    if (!isOver) await jobRunner.release(options.runId);
    else
      await jobRunner.cancel(options.runId, { signal: options.signal }).catch((err: unknown) => log.error({ err }, "trainer not stopped"));
  }
}

export interface Begun {
  start: Awaited<ReturnType<typeof prepareRun>>;
  runDirectory: string;
}

/** Fixes what the run starts from and starts its trainer. */
export async function beginTraining(options: NightOptions, deps: NightDeps): Promise<Begun> {
  const { runId, signal } = options;
  const runDirectory = join(options.runsDirectory, runId);
  const start = await prepareRun(options, deps, runDirectory);
  await deps.jobRunner.start({ runId, agent: options.agent, runDirectory }, { signal });
  return { start, runDirectory };
}

/** (Roll out and judge → batch → train) × iterations, each with the adapter of the one before. */
export async function learnByIterations(
  options: NightOptions,
  deps: NightDeps,
  { start, runDirectory }: Begun,
  rollOut: (at: { iteration: number; policy: Policy }) => Promise<readonly StoredGroup[]>,
): Promise<RunOutcome> {
  const { runId, config } = options;
  let policy: Policy = start;
  let candidate: RegisteredAdapter | null = null;
  for (let iteration = 1; iteration <= config.night.iterations; iteration += 1) {
    if (candidate !== null) await deps.fleet.ensureServed(candidate, options.signal);
    const { result: groups, idleMs } = await withIdleTrainer({ ...options, runDirectory }, deps, () => rollOut({ iteration, policy }));
    const kept = groups.filter((group) => group.summary.verdict === "kept");
    if (kept.length === 0) {
      if (candidate === null) return { kind: "nothing_to_learn", reason: `none of ${groups.length} groups had signal` };
      break;
    }
    const trained = await trainIteration(options, deps, {
      iteration,
      runDirectory,
      idleSeconds: Math.round(idleMs / 1_000),
      parentDigest: candidate?.digest ?? start.adapterDigest,
    });
    // What the trainer did not move is the policy that there is.
    if (trained === null) continue;
    candidate = trained;
    policy = trained;
  }
  if (candidate === null) return { kind: "nothing_to_learn", reason: "the trainer took no step" };
  await auditJudge(options, { ...deps, sleep: pause });
  const run = await deps.runs.get(runId);
  if (run !== null) await examineRun(run, deps);
  return { kind: "candidate", adapterDigest: candidate.digest, adapterName: candidate.name };
}
