import type { Command } from "commander";
import { nightshiftError } from "../errors.ts";
import type { OperatorAction } from "../promotion/evidence.ts";
import { isEnded, isLive, type State } from "../promotion/promotion.ts";
import type { RouteTarget } from "../serving/routes.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, createClient, type ClientOptions } from "./client.ts";
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

/** `nightshift promote|rollback|pause|resume`: what an operator wants of the agent's live experiment. Written to the audit log. */
export function actCommands(program: Command, context: CliContext): void {
  for (const [action, description] of Object.entries(ACTIONS) as [keyof typeof ACTIONS, string][]) {
    clientOptions(program.command(action))
      .description(description)
      .option("-a, --agent <agent>", "agent; may be left out where there is one")
      .option("--actor <name>", "who acts, for the audit log", context.env["USER"] ?? "operator")
      .addHelpText("after", `\nExamples:\n  nightshift ${action}\n  nightshift ${action} --agent shop-support`)
      .action(async (options: ClientOptions & { agent?: string; actor: string }) => {
        const client = createClient(options, context);
        const agent = await chooseAgent(client, options.agent);
        const { experiments } = await client.get<{ experiments: ExperimentRow[] }>("/v1/experiments", { agent });
        const experiment = targetOf(action, experiments);
        if (experiment === undefined) throw nightshiftError("not_found", { what: `experiment of agent ${agent} to ${action}` });
        await client.post(`/v1/experiments/${encodeURIComponent(experiment.id)}/actions`, { action, actor: options.actor });
        const done = { action, experiment: experiment.id, candidate: experiment.candidate.name };
        context.out(options.json ? JSON.stringify(done) : `${action} recorded for ${done.candidate} (experiment ${done.experiment})`);
      });
  }
}

/** The live experiment; else the one that waits; else, to undo it, the newest that was promoted. `experiments` are newest first. */
function targetOf(action: OperatorAction, experiments: readonly ExperimentRow[]): ExperimentRow | undefined {
  return (
    experiments.find(({ state }) => isLive(state)) ??
    (action === "rollback" ? experiments.find(({ state }) => state === "promoted") : experiments.find(({ state }) => !isEnded(state)))
  );
}
