import { nightshiftError } from "../errors.ts";
import { createCallBudget } from "../rollout/live/call-budget.ts";
import type { LiveWorld } from "../rollout/live/live-world.ts";
import type { Recordings } from "../rollout/recordings.ts";
import { scenarioOfTask } from "../scenario/bootstrap/task-scenario.ts";
import type { TaskTool } from "../scenario/bootstrap/tool-list.ts";
import type { Scenario, Split } from "../scenario/scenario.ts";
import { bootstrapPlanOf, type BootstrapDeps, type Sandbox } from "./bootstrap-plan.ts";
import { callsOfRun, rollOutLive } from "./bootstrap-rollouts.ts";
import { beginTraining, carryOut, learnByIterations } from "./learning.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { reportReplay } from "./night-fidelity.ts";
import { loadScenarios, saveScenarios } from "./run-scenarios.ts";
import type { RunOutcome } from "./run-store.ts";
import { writeTasks, type WrittenTasks } from "./write-tasks.ts";

interface ChosenTasks extends Record<Split, string[]> {
  isolation: LiveWorld["isolation"];
  difficulties: Record<string, number>;
  asked: number;
  unusable: number;
  leftOut: WrittenTasks["leftOut"];
}

/**
 * One run of an agent that has no recordings yet: (list tools → make tasks up) → (roll out in the sandbox → judge → batch → train) × iterations, as `carryOut` has it. Durable steps
 * `tools` and `tasks`, then those of a night. A group that was in flight when the process was killed is played again: what it wrote stays in a sandbox that nothing sets back.
 */
export function runBootstrap(options: NightOptions, deps: BootstrapDeps): Promise<RunOutcome> {
  return carryOut(options, deps, learn);
}

async function learn(options: NightOptions, deps: BootstrapDeps): Promise<RunOutcome> {
  const { runId, config } = options;
  const sandbox = deps.sandbox();
  const { world } = sandbox;
  const run = await deps.runs.get(runId);
  const startedAtMs = run?.startedAtMs ?? deps.now();
  const tasks = await makeUpTasks(options, deps, { ...sandbox, startedAtMs });
  if (tasks.train.length === 0) return { kind: "nothing_to_learn", reason: "every task is held out" };
  const bootstrap = bootstrapConfigOf(options);
  const used = await callsOfRun(deps.database, runId);
  // From its own begin: before that it may have waited for other runs.
  const begunAtMs = Math.min(...(await deps.runs.steps(runId)).map((step) => step.startedAtMs), deps.now());
  const budget = createCallBudget({ maxCalls: bootstrap.maxCalls, used, untilMs: begunAtMs + bootstrap.maxMs }, deps);
  const playing = {
    ...options,
    config: { ...config, replay: { ...config.replay, concurrency: Math.min(config.replay.concurrency, world.concurrency) } },
  };
  const recordings = await noRecordings(deps, startedAtMs);
  const begun = await beginTraining(options, deps);
  const outcome = await learnByIterations(options, deps, begun, async ({ iteration, policy }) => {
    const groups = await rollOutLive(playing, deps, {
      world,
      iteration,
      policy,
      recordings,
      budget,
      scenarioIds: tasks.train,
      startedAtMs,
    });
    await reportReplay(options, deps, { iteration, recordings });
    return groups;
  });
  const spent = budget.spent();
  if (spent !== null) deps.log.warn({ run_id: runId, problem: spent }, "sandbox budget spent");
  return outcome.kind === "nothing_to_learn" && spent !== null ? { ...outcome, reason: `${outcome.reason}; ${spent}` } : outcome;
}

function bootstrapConfigOf({ agent, config }: Pick<NightOptions, "agent" | "config">) {
  if (config.bootstrap === undefined) throw nightshiftError("bootstrap_not_configured", { agent });
  return config.bootstrap;
}

/** The run's tasks are made up once, of the tools as they were listed then. Durable steps `tools` and `tasks`. */
async function makeUpTasks(
  options: NightOptions,
  deps: NightDeps,
  { world, writer, startedAtMs }: Sandbox & { startedAtMs: number },
): Promise<ChosenTasks> {
  const { runId, agent, config, signal } = options;
  const { instructions } = bootstrapConfigOf(options);
  const { tools } = await deps.runs.step<{ tools: TaskTool[] }>(runId, "tools", async () => ({
    tools: [...(await world.tools({ signal }))],
  }));
  return deps.runs.step<ChosenTasks>(runId, "tasks", async () => {
    const run = await deps.runs.get(runId);
    const plan = run === null ? null : bootstrapPlanOf(run);
    const systemPrompt = plan?.systemPrompt ?? undefined;
    const count = plan?.tasks ?? bootstrapConfigOf(options).tasks;
    const written = await writeTasks({ agent, tools, systemPrompt, instructions, count, seed: config.night.seed, runId, signal }, writer);
    const scenarios = written.tasks.map((task) =>
      scenarioOfTask(task, { ...scenarioPlace(agent, config), tools, systemPrompt, nowMs: startedAtMs }),
    );
    await saveScenarios(deps, runId, scenarios);
    const idsOf = (split: Split): string[] => scenarios.filter((one) => one.split === split).map(({ id }) => id);
    const { asked, unusable, leftOut } = written;
    const difficulties = countBy(written.tasks.map(({ difficulty }) => String(difficulty)));
    return { train: idsOf("train"), held_out: idsOf("held_out"), isolation: world.isolation, difficulties, asked, unusable, leftOut };
  });
}

/** What every scenario of an agent has in common. */
export function scenarioPlace(agent: string, { tenant, scenario, replay }: NightOptions["config"]) {
  return { tenant, agent, heldOutShare: scenario.heldOutShare, maxCalls: replay.maxCalls };
}

/** The tasks that a run's gate is played on, which trained nothing. */
export async function heldOutTasks(runId: string, { runs, database }: Pick<NightDeps, "runs" | "database">): Promise<Scenario[]> {
  const step = (await runs.steps(runId)).find(({ step: name }) => name === "tasks");
  if (step?.output == null) throw nightshiftError("artifact_missing", { what: `tasks of run ${runId}` });
  return loadScenarios(database, runId, (step.output as unknown as ChosenTasks).held_out);
}

/** Nothing was recorded, and nothing is answered from it. */
export function noRecordings({ recordings }: Pick<NightDeps, "recordings">, nowMs: number): Promise<Recordings> {
  return recordings({ nowMs, pins: { trajectories: [], others: [] } });
}

function countBy(keys: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const key of keys) counts[key] = (counts[key] ?? 0) + 1;
  return counts;
}
