import type { ApiDeps, AgentControl } from "./control.ts";
import type { Scope } from "./scope.ts";
import { look, type CanaryDecision } from "../promotion/canary.ts";
import { applyEvidence, newFold, type Fold, type FoldParameters } from "../promotion/evidence.ts";
import { createExperimentStore, type Experiment } from "../promotion/experiment-store.ts";
import { iterationsOf } from "./iterations.ts";
import { candidateWeight, isLive } from "../promotion/promotion.ts";
import { readSpending } from "../reward/client/budget.ts";
import { funnelOf } from "../trajectory/funnel.ts";
import { replayOfSteps } from "../training/night-fidelity.ts";
import type { Check } from "../reward/hacking/examine.ts";
import { listAlarms } from "../training/alarms.ts";
import { judgeView, plannedJudge } from "../training/judge-trust.ts";
import { lastRetention } from "../training/retention.ts";
import { readTrainerStatus } from "../training/trainer-output.ts";
import { join } from "node:path";
import type { Run } from "../training/run-store.ts";

export type RunView = Awaited<ReturnType<typeof runView>>;
export type ExperimentView = Awaited<ReturnType<typeof experimentView>>;
export type AgentView = Awaited<ReturnType<typeof agentView>>;

/** A run with its steps and, while it runs, what the trainer says. */
export async function runView(run: Run, deps: ApiDeps) {
  const steps = await deps.runs.steps(run.id);
  const trainer = run.state === "running" ? await readTrainerStatus(join(deps.runsDirectory, run.id)) : null;
  // The gate's pairs are many and of interest only one by one.
  const pairs = steps.filter(({ step }) => step.startsWith("gate-"));
  return {
    ...run,
    /** Runs, of whatever agent, that must end before it begins. */
    before: run.state === "running" ? await deps.queue.before(run.id) : 0,
    judge: plannedJudge(run),
    alarms: await listAlarms(deps.database, { runId: run.id }),
    /** How every suspicion came out; null before the rewards were examined. */
    checks: (steps.find(({ step, finishedAtMs }) => step === "alarms" && finishedAtMs !== null)?.output?.["checks"] ?? null) as
      | Check[]
      | null,
    steps: steps.filter(({ step }) => !step.startsWith("gate-")).map(withoutBulk),
    iterations: await iterationsOf(deps.database, run.id),
    /** What the run's judges have used of their budgets, and how often they were not asked because one was spent. */
    judgeSpending: await readSpending(deps.database, run.id),
    replay: replayOfSteps(steps),
    gatePairs: { begun: pairs.length, finished: pairs.filter(({ finishedAtMs }) => finishedAtMs !== null).length },
    trainer,
  };
}

/** Lists inside a step's output become their lengths: a run view is polled every second. */
function withoutBulk<Step extends { output: Record<string, unknown> | null }>(step: Step): Step {
  if (step.output === null) return step;
  const output = Object.fromEntries(Object.entries(step.output).map(([key, value]) => [key, Array.isArray(value) ? value.length : value]));
  return { ...step, output };
}

/** An experiment with the numbers of its log. */
export async function experimentView(experiment: Experiment, deps: ApiDeps) {
  const fold = await foldOf(experiment, deps);
  const decision =
    fold.startedAtMs === null ? null : look(fold.canary, experiment.parameters, { startedAtMs: fold.startedAtMs, nowMs: deps.now() });
  const { id, agent, state, step, candidate, stable, gate, conclusion, createdAtMs, endedAtMs, runId, parameters } = experiment;
  return {
    ...{ id, agent, runId, state, step, candidate, stable, gate, conclusion, createdAtMs, endedAtMs, parameters },
    weight: candidateWeight(experiment),
    /** `per_request`: there is no quality decision, only an operator's. */
    draws: deps.router.draws(agent),
    startedAtMs: fold.startedAtMs,
    paused: fold.paused,
    excluded: fold.excluded,
    numbers: decision?.numbers ?? null,
    waitsFor: conclusion === null && decision !== null ? waitsFor(decision, parameters, deps.router.draws(agent)) : null,
  };
}

/** Proof without a calibrated judge waits for an operator; so does every canary whose conversations see both arms. */
function waitsFor(
  { action, reason, detail }: CanaryDecision,
  { automatic }: FoldParameters,
  draws: ReturnType<ApiDeps["router"]["draws"]>,
): { reason: string; detail: string } {
  if (draws === "per_request")
    return { reason: "unsupported", detail: "the router draws per request: no quality decision, promote or roll back by hand" };
  return action === "promote" && !automatic ? { reason: "judge_uncalibrated", detail } : { reason, detail };
}

async function foldOf(experiment: Experiment, deps: ApiDeps): Promise<Fold> {
  const rows = await createExperimentStore(deps).evidence(experiment.id, 0);
  return rows.reduce((fold, row) => applyEvidence(fold, row, experiment.parameters), newFold());
}

export type ControlView = Awaited<ReturnType<typeof controlView>>;

/** A leader that was not heard of for this long is not called one. */
const LEADER_SILENT_MS = 5_000;

/** Who answered, and who leads. `leader` is null while nobody does, as far as this replica knows. */
export async function controlView({ replica, watch, monotonicMs, database, tenant }: Scope) {
  const known = watch.leader();
  const { name, epoch, sinceMs } = known?.record ?? {};
  const isSelf = replica.isLeader() && name === replica.name;
  const isHeard = isSelf || (known?.heardAtMs != null && monotonicMs() - known.heardAtMs < LEADER_SILENT_MS);
  return {
    answeredBy: replica.name,
    role: replica.isLeader() ? ("leader" as const) : ("follower" as const),
    leader: isHeard && name !== undefined ? { name, epoch, sinceMs } : null,
    /** When the leader last removed what was too old, and what that was, of all tenants: null to one of them. */
    retention: tenant === null ? await lastRetention(database) : null,
  };
}

/** One agent at a glance: what the page and the quickstart poll. */
export async function agentView(control: AgentControl, deps: ApiDeps) {
  const { agent, config, baseDigest } = control;
  const [run] = await deps.runs.list({ agent, limit: 1 });
  const experiments = await createExperimentStore(deps).list(agent);
  // A newer candidate that waits in the queue must not hide the one that takes traffic.
  const experiment = experiments.find(({ state }) => isLive(state)) ?? experiments[0];
  const routes = await deps.router.routes(agent);
  const judgeTrust = await judgeView(agent, config, control.calibrator?.identity ?? null, deps);
  return {
    agent,
    model: config.model,
    judge: config.judge === undefined ? null : config.judge.driver,
    pairJudge: config.pairJudge === undefined ? null : config.pairJudge.driver,
    gateEnabled: config.gate.enabled,
    sabotage: config.night.sabotage ?? null,
    judgeTrust,
    slots: await control.slots(),
    promotesOnItsOwn: !config.requireCalibration || judgeTrust.status === "calibrated",
    funnel: await funnelOf(deps.database.kysely, { tenant: config.tenant, agent }),
    stable: routes?.stable ?? { name: config.model, digest: baseDigest },
    routes,
    run: run === undefined ? null : await runView(run, deps),
    experiment: experiment === undefined ? null : await experimentView(experiment, deps),
  };
}
