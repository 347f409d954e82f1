import type { StartedRun } from "../api/runs.ts";
import type { RunView } from "../api/views.ts";
import { counts, duration, oneLine, percent } from "./print.ts";

/** A run's state, or for how many others it waits; a control service from before there was an order does not say. */
export function runState({ state, before }: Pick<RunView, "state" | "before">): string {
  return before > 0 ? `waits for ${before === 1 ? "another run" : `${before} other runs`} to end` : state;
}

/** After a run was asked for. */
export function describeStart({ runId, before, isNew }: StartedRun): string {
  const start = before > 0 ? runState({ state: "running", before }) : isNew ? "started" : "was begun when it was first asked for";
  return `run ${runId} ${start}; \`nightshift runs show ${runId}\` follows it`;
}

/** What nobody may miss of a run whose judge was let in below its agreement; null for any other. */
export function forcedLine({ judge }: Pick<RunView, "judge">): string | null {
  if (judge === null || judge.forcedBy === null) return null;
  return `JUDGE FORCED by ${oneLine(judge.forcedBy, 40)}: it agrees with people on ${percent(judge.agreement)} of pairs, ${percent(judge.minAgreement)} are required`;
}

/** Alarms that keep the run's candidate waiting, with what to do. */
export function alarmLines({ id, alarms }: Pick<RunView, "id" | "alarms">): string[] {
  const open = alarms.filter(({ acknowledged }) => acknowledged === null);
  if (open.length === 0) return [];
  return [
    `ALARM: ${suspicionsOf(open.map((alarm) => alarm.id))}; the candidate waits`,
    `  fix: \`nightshift alarms list --run ${id}\` has the figures; \`nightshift alarms ack ${id} ${open[0]?.id ?? ""} --reason …\` lets it go on.`,
  ];
}

function suspicionsOf(alarms: readonly string[]): string {
  const paid = alarms.filter((alarm) => alarm !== "second_judge").map((alarm) => alarm.replaceAll("_", " "));
  return [
    ...(paid.length === 0 ? [] : [`rewards seem to pay for ${paid.join(", ")}`]),
    ...(paid.length === alarms.length ? [] : ["a second judge sees the attempts otherwise"]),
  ].join(", ");
}

type Step = RunView["steps"][number];

/** One line on a step: how long it took, and what came out of it. */
export function describeStep({ step, startedAtMs, finishedAtMs, output }: Step): string {
  const time = finishedAtMs === null ? "running" : duration(finishedAtMs - startedAtMs);
  const facts = Object.entries(output ?? {}).flatMap(([key, value]) => {
    if (value === null) return [];
    return [`${key} ${typeof value === "object" ? objectText(value as Record<string, unknown>) : shortValue(value)}`];
  });
  return `${oneLine(step, 20).padEnd(13)} ${time.padStart(9)}  ${oneLine(facts.join(", "), 200)}`;
}

/** What a run came to, in a line; a failure with its fix. A budget that was spent is a line more. */
export function describeOutcome(run: RunView): string {
  const spent = run.judgeSpending.filter(({ refused }) => refused > 0).map(describeSpending);
  return [outcomeText(run), ...spent].join("\n");
}

function outcomeText({ id, state, outcome, startedAtMs, finishedAtMs }: RunView): string {
  const time = finishedAtMs === null ? "" : ` after ${duration(finishedAtMs - startedAtMs)}`;
  switch (outcome?.kind) {
    case undefined:
      return `run ${id} is ${state}${time}`;
    case "candidate":
      return `run ${id} ${state}${time}: candidate ${outcome.adapterName}`;
    case "nothing_to_learn":
      return `run ${id} ${state}${time}: nothing to learn, ${oneLine(outcome.reason, 200)}`;
    case "no_capacity":
      return `run ${id} ${state}${time}: no capacity, ${oneLine(outcome.reason, 300)}\n  fix: ${outcome.fix}`;
    case "failed":
      return `run ${id} failed${time}: ${oneLine(outcome.message, 300)}\n  fix: ${outcome.fix}`;
    default:
      return outcome satisfies never;
  }
}

/** What a judge has used of its budget, in a line, with what was held back for lack of it. */
export function describeSpending(spending: RunView["judgeSpending"][number]): string {
  const { role, model, inputTokens, outputTokens, reservedTokens, maxTokens, cost, reservedCost, maxCost, refused } = spending;
  const tokens = `${number(inputTokens + outputTokens + reservedTokens)} of ${number(maxTokens)} tokens`;
  const money =
    maxCost === null ? (cost > 0 ? `, ${cost.toFixed(4)} in money` : "") : `, ${(cost + reservedCost).toFixed(4)} of ${maxCost} in money`;
  const held = reservedTokens === 0 ? "" : `, of them ${number(reservedTokens)} held for questions without an answer`;
  const left = refused === 0 ? "" : `; BUDGET SPENT: ${refused} questions were not asked`;
  const who = { reward: "judge", gate: "gate's judge", audit: "audit's judge" }[role];
  return `${who} ${oneLine(model, 60)}: ${tokens}${held}${money}${left}`;
}

function number(value: number): string {
  return value.toLocaleString("en-US");
}

function objectText(value: Record<string, unknown>): string {
  const numbers = Object.entries(value).filter((entry): entry is [string, number] => typeof entry[1] === "number");
  return numbers.length === Object.keys(value).length ? `{${counts(Object.fromEntries(numbers))}}` : JSON.stringify(value);
}

function shortValue(value: unknown): string {
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);
}
