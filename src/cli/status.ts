import type { Command } from "commander";
import type { AgentView, ControlView, ExperimentView } from "../api/views.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { judgeLine } from "./judge-text.ts";
import { counts, fields, paint, percent, when } from "./print.ts";
import { runState } from "./run-text.ts";

const EXAMPLES = `
Examples:
  nightshift status
  nightshift status --json | jq '.agents[].stable.name'`;

/** `nightshift status`: every agent at a glance. */
export function statusCommand(program: Command, context: CliContext): void {
  clientOptions(program.command("status"))
    .description("every agent at a glance: stable adapter, run, canary")
    .addHelpText("after", EXAMPLES)
    .action(async (options: ClientOptions) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<{ control: ControlView; agents: AgentView[] }>("/v1/status"),
        ({ control, agents }) =>
          [
            describeControl(control, context),
            ...(agents.length === 0 ? ["no agent is configured"] : agents.map((agent) => describe(agent, context))),
          ].join("\n\n"),
      );
    });
}

function describeControl({ answeredBy, role, leader, retention }: ControlView, context: CliContext): string {
  const leads = leader === null ? paint("red", "nobody leads: nights and promotions stand still", context) : leader.name;
  const kept = retention == null ? null : `${when(retention.atMs)}, removed ${counts(retention.removed) || "nothing"}`;
  return fields({ leader: leads, ...(role === "leader" ? {} : { "answered by": answeredBy }), retention: kept }, context);
}

function describe(view: AgentView, context: CliContext): string {
  const { agent, funnel, stable, run, experiment } = view;
  const entries = {
    agent: paint("bold", agent, context),
    attention: warningsOf(view).join(", ") || null,
    stable: stable.name,
    judge: judgeLine(view),
    captured: `${funnel.captured}, complete ${funnel.complete}, trainable ${funnel.trainable}`,
    run:
      run === null
        ? "none yet"
        : `${run.id} ${runState(run)}${run.state === "running" && !(run.before > 0) ? `, ${run.steps.at(-1)?.step ?? "starting"}` : ""}`,
    ...(experiment === null || isGatePlaying(view) ? {} : experimentFields(experiment)),
    ...(isGatePlaying(view) && run !== null ? { gate: `${run.gatePairs.finished} of ${run.gatePairs.begun} pairs played` } : {}),
  };
  return fields(entries, context);
}

/** The run has ended, and its candidate has no experiment before its gate has decided. */
function isGatePlaying({ run, experiment }: AgentView): boolean {
  return run !== null && run.state === "finished" && run.gatePairs.begun > 0 && experiment?.id !== run.id;
}

/** What no reader of the numbers may miss. */
function warningsOf({ run, slots, judge, pairJudge, judgeTrust, gateEnabled, sabotage, promotesOnItsOwn }: AgentView): string[] {
  return [
    ...(sabotage === null ? [] : [`SABOTAGE ${sabotage}`]),
    ...(gateEnabled ? [] : ["GATE OFF"]),
    ...(judge === "scripted" || pairJudge === "scripted" ? ["SCRIPTED JUDGE"] : []),
    ...(judge === null ? ["no judge is configured: nights are refused"] : []),
    ...(run?.alarms.some(({ acknowledged }) => acknowledged === null) === true
      ? ["REWARD ALARM: the candidate waits for an operator"]
      : []),
    ...(slots == null ? [] : [`ADAPTERS DO NOT FIT: ${slots.wanted} wanted on ${slots.url}, which holds ${slots.slots}`]),
    ...(judgeTrust.status === "below_agreement" ? ["JUDGE BELOW ITS MINIMAL AGREEMENT"] : []),
    ...(promotesOnItsOwn ? [] : ["promotion waits for an operator: the judge is not calibrated"]),
  ];
}

function experimentFields(experiment: ExperimentView): Record<string, unknown> {
  const { id, state, candidate, gate, weight, numbers, conclusion, waitsFor } = experiment;
  return {
    experiment: `${id} ${state}`,
    candidate: candidate.name,
    gate: gate === null ? "off" : `${gate.decision} (${gate.reason}): ${gate.wins} wins, ${gate.losses} losses, ${gate.ties} ties`,
    "candidate moved": gate?.kl?.toStable == null ? null : `KL ${nats(gate.kl.toStable)} to stable, ${nats(gate.kl.toBase)} to base`,
    canary:
      numbers === null
        ? null
        : `weight ${weight}, ${numbers.units} units; success ${percent(numbers.successStable)} stable, ${percent(numbers.successCandidate)} candidate`,
    evidence:
      numbers === null ? null : `K+ ${wealth(numbers.kPromote)}, K- ${wealth(numbers.kHarm)}, threshold ${numbers.threshold.toFixed(0)}`,
    "waits for": waitsFor === null ? null : `${waitsFor.reason} ${waitsFor.detail}`.trim(),
    decision: conclusion === null ? null : `${conclusion.action}: ${conclusion.reason} ${conclusion.detail}`.trim(),
  };
}

function nats(value: number | null): string {
  return value === null ? "unknown" : `${value.toFixed(4)} nats/token`;
}

/** JSON has no infinity: beyond the largest double it arrives as null. */
function wealth(value: number | null): string {
  return value === null ? "> 1e308" : value.toPrecision(3);
}
