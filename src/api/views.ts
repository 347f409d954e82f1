import type { ApiDeps, AgentControl } from "./control.ts";
import { look } from "../promotion/canary.ts";
import { applyEvidence, newFold, type Fold } from "../promotion/evidence.ts";
import { createExperimentStore, type Experiment } from "../promotion/experiment-store.ts";
import { funnelOf } from "../trajectory/funnel.ts";
import { readTrainerStatus } from "../training/trainer-output.ts";
import { join } from "node:path";
import type { Run } from "../training/run-store.ts";

/** A run with its steps and, while it runs, what the trainer says. */
export async function runView(run: Run, deps: ApiDeps): Promise<object> {
  const steps = await deps.runs.steps(run.id);
  const trainer = run.state === "running" ? await readTrainerStatus(join(deps.runsDirectory, run.id)) : null;
  // The gate's pairs are many and of interest only one by one.
  return {
    ...run,
    steps: steps.filter(({ step }) => !step.startsWith("gate-")).map(withoutBulk),
    gatePairs: steps.filter(({ step }) => step.startsWith("gate-")).length,
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
export async function experimentView(experiment: Experiment, deps: ApiDeps): Promise<object> {
  const fold = await foldOf(experiment, deps);
  const decision =
    fold.startedAtMs === null ? null : look(fold.canary, experiment.parameters, { startedAtMs: fold.startedAtMs, nowMs: deps.now() });
  const { id, agent, state, step, weights, candidate, stable, gate, conclusion, createdAtMs, endedAtMs, runId, parameters } = experiment;
  return {
    ...{
      id,
      agent,
      runId,
      state,
      step,
      weight: weights[step] ?? 0,
      candidate,
      stable,
      gate,
      conclusion,
      createdAtMs,
      endedAtMs,
      parameters,
    },
    startedAtMs: fold.startedAtMs,
    paused: fold.paused,
    excluded: fold.excluded,
    numbers: decision?.numbers ?? null,
    waitsFor: conclusion === null ? (decision?.detail ?? null) : null,
  };
}

async function foldOf(experiment: Experiment, deps: ApiDeps): Promise<Fold> {
  const rows = await createExperimentStore(deps).evidence(experiment.id, 0);
  return rows.reduce((fold, row) => applyEvidence(fold, row, experiment.parameters), newFold());
}

/** One agent at a glance: what the page and the quickstart poll. */
export async function agentView(control: AgentControl, deps: ApiDeps): Promise<object> {
  const { agent, config, baseDigest } = control;
  const [run] = await deps.runs.list({ agent, limit: 1 });
  const [experiment] = await createExperimentStore(deps).list(agent);
  const routes = await deps.router.routes(agent);
  return {
    agent,
    model: config.model,
    judge: config.judge === undefined ? null : config.judge.driver,
    gateEnabled: config.gate.enabled,
    funnel: await funnelOf(deps.database.kysely, { tenant: config.tenant, agent }),
    stable: routes?.stable ?? { name: config.model, digest: baseDigest },
    routes,
    run: run === undefined ? null : await runView(run, deps),
    experiment: experiment === undefined ? null : await experimentView(experiment, deps),
  };
}
