import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { NightshiftError, nightshiftError } from "../errors.ts";
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
  andWaiting?: true;
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
      .option("--and-waiting", "take out candidates that wait for their turn, too: no canary begins after this one")
      .option("--wait", "until whatever splits the agent's traffic sends all of it to stable");
  }
}

async function act(action: keyof typeof ACTIONS, options: ActOptions, context: CliContext): Promise<void> {
  const client = createClient(options, context);
  const agent = await chooseAgent(client, options.agent);
  const { experiments } = await client.get<{ experiments: ExperimentRow[] }>("/v1/experiments", { agent });
  const experiment = options.onlyRunning ? experiments.find(({ state }) => isLive(state)) : targetOf(action, experiments);
  if (experiment === undefined && !options.onlyRunning)
    throw nightshiftError("not_found", { what: `experiment of agent ${agent} to ${action}` });
  const post = ({ id }: ExperimentRow, wanted: OperatorAction): Promise<unknown> =>
    client.post(`/v1/experiments/${encodeURIComponent(id)}/actions`, { action: wanted, actor: options.actor });
  // First: the place that a running one leaves is theirs at once.
  const waiting = options.andWaiting ? experiments.filter(({ state }) => !isLive(state) && !isEnded(state)) : [];
  for (const one of waiting) await post(one, "supersede");
  if (experiment !== undefined) await post(experiment, action);
  // Also where no canary runs any more: one that has just ended may still have its traffic.
  if (options.wait) await untilStable(client, agent, context);
  const done = { action, experiment: experiment?.id ?? null, candidate: experiment?.candidate.name ?? null };
  const text =
    experiment === undefined
      ? `no canary of ${agent} is running`
      : `${action} recorded for ${done.candidate} (experiment ${done.experiment})`;
  context.out(options.json ? JSON.stringify(done) : [text, ...waiting.map((one) => `${one.candidate.name} no longer waits`)].join("\n"));
}

/** Asks whatever splits the traffic: an experiment's state changes before its traffic does, and what the database knows of another system's weights is not what those are. */
async function untilStable(client: ApiClient, agent: string, context: CliContext): Promise<void> {
  for (;;) {
    const candidate = await client.get<{ candidate: { weight: number } | null }>("/v1/traffic", { agent }).then(
      (traffic) => traffic.candidate,
      (error: unknown) => {
        // Nothing is known of the weights while the cluster does not answer.
        if (error instanceof NightshiftError && error.code === "cluster_unavailable") return undefined;
        throw error;
      },
    );
    if (candidate === null || candidate?.weight === 0) return;
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
