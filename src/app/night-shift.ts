import { createHash } from "node:crypto";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { createCanaryMeters } from "../promotion/canary-meters.ts";
import { createExperimentStore, type ExperimentStore } from "../promotion/experiment-store.ts";
import { runGate } from "../promotion/gate-run.ts";
import type { GateDecision } from "../promotion/gate.ts";
import type { JudgeIdentity } from "../reward/calibration/identity.ts";
import type { PairJudge } from "../reward/pair-judge.ts";
import { examineRun } from "../training/alarms.ts";
import { findAdapter, type RegisteredAdapter } from "../training/adapters.ts";
import { mayPromoteAlone, plannedJudge } from "../training/judge-trust.ts";
import { recordingsOfRun } from "../training/night-start.ts";
import { runNight } from "../training/night.ts";
import { noRecordings, runBootstrap } from "../training/bootstrap.ts";
import { bootstrapPlanOf, type BootstrapDeps } from "../training/bootstrap-plan.ts";
import { liveGateOf } from "./sandbox.ts";
import type { RunQueue } from "../training/run-queue.ts";
import type { Run } from "../training/run-store.ts";

export interface NightShiftOptions {
  agent: string;
  config: AgentConfig;
  runsDirectory: string;
}

export interface NightShiftDeps extends Omit<BootstrapDeps, "judgeDeviation"> {
  pairJudge: PairJudge | null;
  /** Whom the judge of rewards is calibrated as; null without one. */
  judgeIdentity: JudgeIdentity | null;
  /** Off: the agent's router draws per request, so its canaries decide nothing of quality and an operator must. Unset: on. */
  canaryDecides?: boolean;
  /** Which of all agents' runs may be carried out now. */
  queue: Pick<RunQueue, "enter" | "leave">;
}

/** One agent's nights, where they are worked on: continues what was killed, gates what was learned and submits it for promotion. */
export interface NightShift {
  /** Carries out what is unfinished: a running night, then the gate of a finished one. Safe to call after a kill at any point. */
  work(signal: AbortSignal): Promise<void>;
  /** Whether this run is being carried out now: its directory is in use. */
  isBusyWith(runId: string): boolean;
}

export function createNightShift(options: NightShiftOptions, deps: NightShiftDeps): NightShift {
  const experiments = createExperimentStore(deps);
  const { agent } = options;
  let busyWith: string | null = null;
  let isTidy = false;
  return {
    isBusyWith: (runId) => busyWith === runId,
    async work(signal) {
      isTidy ||= await stopForgottenTrainers(agent, deps, signal);
      const [running] = await deps.runs.list({ agent, state: "running", limit: 1 });
      if (running !== undefined) {
        if ((await deps.queue.enter(running.id)) === 0) {
          busyWith = running.id;
          // It may let go of its trainer, or fail to stop it: should the run be over by the next turn, that trainer is a forgotten one.
          isTidy = false;
          await carryOut(running, options, deps, signal).finally(() => {
            busyWith = null;
            deps.queue.leave(running.id);
          });
        }
      }
      const [finished] = await deps.runs.list({ agent, state: "finished", limit: 1 });
      if (finished !== undefined) await gateAndSubmit(finished, options, deps, experiments, signal);
    },
  };
}

/** The newest runs that may have been ended while nobody could stop their trainers: by an operator while there was no leader, by a process that was killed in between. */
const FORGOTTEN_RUNS = 3;
const STOP_FORGOTTEN_MS = 5_000;

/** Resolves to whether that is done: while nobody can be asked the rest of the work must not wait. */
async function stopForgottenTrainers(agent: string, { runs, jobRunner, log }: NightShiftDeps, signal: AbortSignal): Promise<boolean> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(STOP_FORGOTTEN_MS)]);
  try {
    for (const { id, state } of await runs.list({ agent, limit: FORGOTTEN_RUNS })) {
      if (state !== "running") await jobRunner.cancel(id, { signal: limited });
    }
    return true;
  } catch (err) {
    signal.throwIfAborted();
    log.warn({ err, agent }, "trainers of ended runs not looked for");
    return false;
  }
}

async function carryOut(run: Run, options: NightShiftOptions, deps: NightShiftDeps, signal: AbortSignal): Promise<void> {
  const { agent, config, runsDirectory } = options;
  const judgeDeviation = (): Promise<number | null> => Promise.resolve(plannedJudge(run)?.repeatDeviation ?? null);
  const night = { runId: run.id, agent, config, runsDirectory, signal };
  const outcome = await (bootstrapPlanOf(run) === null ? runNight : runBootstrap)(night, { ...deps, judgeDeviation });
  // Nothing of it is looked at again: what it had loaded must not keep another agent's adapter out.
  if (outcome.kind !== "candidate") deps.fleet.release();
}

/** A finished run with a candidate and no experiment is one whose gate has not ended, or may not begin: an alarm about its rewards is open. */
async function gateAndSubmit(
  run: Run,
  { agent, config }: NightShiftOptions,
  deps: NightShiftDeps,
  experiments: ExperimentStore,
  signal: AbortSignal,
): Promise<void> {
  if (run.outcome?.kind !== "candidate" || (await experiments.get(run.id)) !== null) return;
  const candidate = await findAdapter(deps.database, run.outcome.adapterDigest);
  if (candidate === null) throw nightshiftError("artifact_missing", { what: `adapter ${run.outcome.adapterName}` });
  const open = await examineRun(run, deps);
  if (open.length > 0) {
    // Nothing serves it meanwhile. Whoever acknowledges wakes this; a newer night takes its place.
    deps.fleet.release();
    return;
  }
  const stable = await deps.fleet.stable();
  const gate = config.gate.enabled ? await decide(run, candidate, stable, { agent, config, deps, signal }) : null;
  const { state } = await experiments.submit({
    id: run.id,
    tenant: config.tenant,
    agent,
    model: config.model,
    runId: run.id,
    candidate: { name: candidate.name, digest: candidate.digest },
    stable: { name: stable.name, digest: stable.digest },
    salt: createHash("sha256").update(`salt|${run.id}`).digest("hex"),
    canary: config.canary,
    horizonMs: config.outcome.horizonMs,
    gate,
    automatic: deps.canaryDecides !== false && (await mayPromoteAlone(run, config, deps.judgeIdentity, deps.database)),
  });
  createCanaryMeters().moved(agent, state === "refused" ? "gate_refused" : "gate_passed", state);
  deps.fleet.release();
}

async function decide(
  run: Run,
  candidate: RegisteredAdapter,
  stable: { name: string; digest: string },
  { agent, config, deps, signal }: { agent: string; config: AgentConfig; deps: NightShiftDeps; signal: AbortSignal },
): Promise<GateDecision> {
  if (deps.pairJudge === null) throw nightshiftError("run_refused", { agent, problem: `agents.${agent}.pairJudge is not configured` });
  const runId = run.id;
  const isLive = bootstrapPlanOf(run) !== null;
  const live = isLive ? { live: await liveGateOf(run, { agent, config }, deps) } : {};
  const recordings = isLive ? await noRecordings(deps, run.startedAtMs) : await recordingsOfRun(runId, deps);
  if (recordings === null) throw nightshiftError("artifact_missing", { what: `selection of run ${runId}` });
  await deps.fleet.ensureServed(candidate, signal);
  const { policyServer } = deps.fleet;
  return runGate({ runId, config, candidate, stable, signal }, { ...deps, ...live, recordings, policyServer, pairJudge: deps.pairJudge });
}
