import { randomUUID } from "node:crypto";
import type { BootstrapDesk } from "../api/control.ts";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { JudgeIdentity } from "../reward/calibration/identity.ts";
import { scenarioOfTask } from "../scenario/bootstrap/task-scenario.ts";
import { scenarioPlace } from "../training/bootstrap.ts";
import type { BootstrapPlan, Sandbox } from "../training/bootstrap-plan.ts";
import { planJudge } from "../training/judge-trust.ts";
import type { NightDeps } from "../training/night-context.ts";
import { planNight } from "../training/planned-night.ts";
import { writeTasks } from "../training/write-tasks.ts";
import { requireJudges } from "./night-desk.ts";

/** Where runs of an agent without recordings are asked for, on any replica of the control service. */
export function createBootstrapDesk(
  { agent, config, identity, sandbox }: { agent: string; config: AgentConfig; identity: JudgeIdentity | null; sandbox: () => Sandbox },
  deps: Pick<NightDeps, "database" | "runs" | "now">,
): BootstrapDesk {
  const planOf = ({ tasks, systemPrompt }: Partial<Parameters<BootstrapDesk["start"]>[0]>): BootstrapPlan => {
    const { bootstrap } = config;
    if (bootstrap === undefined) throw nightshiftError("bootstrap_not_configured", { agent });
    return { tasks: tasks ?? bootstrap.tasks, systemPrompt: systemPrompt ?? bootstrap.systemPrompt ?? null };
  };
  const { night } = config;
  return {
    async start({ force, ...wish }) {
      sandbox();
      requireJudges(agent, config);
      const runId = randomUUID();
      const judge = await planJudge(agent, config, { identity, force }, deps.database);
      const plan = { ...planNight(config), judge, bootstrap: planOf(wish) };
      await deps.runs.create({ id: runId, tenant: config.tenant, agent, plan, nowMs: deps.now() });
      return { runId };
    },

    async dryRun({ signal, progress, ...wish }) {
      const { world, writer } = sandbox();
      const { tasks: count, systemPrompt: prompt } = planOf(wish);
      const systemPrompt = prompt ?? undefined;
      const tools = await world.tools({ signal });
      const instructions = config.bootstrap?.instructions;
      const order = { agent, tools, systemPrompt, instructions, count, seed: night.seed, runId: null, signal };
      const { tasks, ...written } = await writeTasks({ ...order, progress: (done) => progress(done, count) }, writer);
      const place = { ...scenarioPlace(agent, config), tools, systemPrompt, nowMs: deps.now() };
      const shown = tasks.map((task) => ({ split: scenarioOfTask(task, place).split, ...task }));
      const train = shown.filter(({ split }) => split === "train").length;
      return {
        agent,
        tools: tools.map(({ name }) => ({ name })),
        tasks: shown,
        ...written,
        isolation: world.isolation,
        iterations: night.iterations,
        rollouts: Math.min(train, night.scenarios) * night.groupSize * night.iterations,
        maxToolCalls: config.bootstrap?.maxCalls ?? 0,
      };
    },
  };
}
