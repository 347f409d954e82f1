import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { nightshiftError } from "../errors.ts";
import type { OperatorAction } from "../promotion/evidence.ts";
import { isEnded, isLive, type State } from "../promotion/promotion.ts";
import type { RouteTarget } from "../serving/routes.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, createClient, type ApiClient, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";

const ACTIONS = {
  promote: "make the running canary's candidate stable now, whatever the evidence",
  rollback: "take the candidate out at once; without a running canary, undo the newest promotion",
  pause: "keep the canary's promotion on hold; harm still rolls it back",
  resume: "let a paused canary go on",
} as const satisfies Partial<Record<OperatorAction, string>>;

interface ExperimentRow {
  id: string;
  state: State;
  candidate: RouteTarget;
}

interface ActOptions extends ClientOptions {
  agent?: string;
  actor: string;
  onlyRunning?: true;
  wait?: true;
}

const POLL_MS = 500;

/** `nightshift promote|rollback|pause|resume`: what an operator wants of the agent's live experiment. Written to the audit log. */
export function actCommands(program: Command, context: CliContext): void {
  for (const [action, description] of Object.entries(ACTIONS) as [keyof typeof ACTIONS, string][]) {
    const command = clientOptions(program.command(action))
      .description(description)
      .option("-a, --agent <agent>", "agent; may be left out where there is one")
      .option("--actor <name>", "who acts, for the audit log", context.env["USER"] ?? "operator")
      .addHelpText("after", `\nExamples:\n  nightshift ${action}\n  nightshift ${action} --agent shop-support`)
      .action((options: ActOptions) => act(action, options, context));
    if (action !== "rollback") continue;
    command
      .option("--only-running", "undo no promotion: without a running canary there is nothing to do, and that is well")
      .option("--wait", "until all traffic is on stable");
  }
}

async function act(action: keyof typeof ACTIONS, options: ActOptions, context: CliContext): Promise<void> {
  const client = createClient(options, context);
  const agent = await chooseAgent(client, options.agent);
  const { experiments } = await client.get<{ experiments: ExperimentRow[] }>("/v1/experiments", { agent });
  const experiment = options.onlyRunning ? experiments.find(({ state }) => isLive(state)) : targetOf(action, experiments);
  if (experiment === undefined && !options.onlyRunning)
    throw nightshiftError("not_found", { what: `experiment of agent ${agent} to ${action}` });
  if (experiment !== undefined)
    await client.post(`/v1/experiments/${encodeURIComponent(experiment.id)}/actions`, { action, actor: options.actor });
  // Also where no canary runs any more: one that has just ended may still have its traffic.
  if (options.wait) await untilStable(client, agent, context);
  const done = { action, experiment: experiment?.id ?? null, candidate: experiment?.candidate.name ?? null };
  const text =
    experiment === undefined
      ? `no canary of ${agent} is running`
      : `${action} recorded for ${done.candidate} (experiment ${done.experiment})`;
  context.out(options.json ? JSON.stringify(done) : text);
}

/** What routes traffic has no candidate any more. The state of an experiment changes before its traffic does. */
async function untilStable(client: ApiClient, agent: string, context: CliContext): Promise<void> {
  for (;;) {
    const { agents } = await client.get<{ agents: { agent: string; routes: { candidate: object | null } | null }[] }>("/v1/status");
    if ((agents.find((one) => one.agent === agent)?.routes?.candidate ?? null) === null) return;
    await sleep(POLL_MS, undefined, { signal: context.signal });
  }
}

/** The live experiment; else the one that waits; else, to undo it, the newest that was promoted. `experiments` are newest first. */
function targetOf(action: OperatorAction, experiments: readonly ExperimentRow[]): ExperimentRow | undefined {
  return (
    experiments.find(({ state }) => isLive(state)) ??
    (action === "rollback" ? experiments.find(({ state }) => state === "promoted") : experiments.find(({ state }) => !isEnded(state)))
  );
}
