import { createHash } from "node:crypto";
import type { Experiment } from "../promotion/experiment-store.ts";
import type { GateDecision } from "../promotion/gate.ts";
import { candidateWeight, isLive } from "../promotion/promotion.ts";
import type { RouteTarget } from "../serving/routes.ts";
import type { Alarm } from "../training/alarms.ts";
import type { Silence } from "../training/silent-trainer.ts";

/** Something that happened, as an operator of a cluster hears of it. */
export interface Fact {
  /** The same fact always has the same one. */
  id: string;
  reason: string;
  type: "Normal" | "Warning";
  message: string;
  atMs: number;
}

/** A row of `audit` about an experiment, with that experiment. */
export interface ExperimentMove {
  id: number;
  action: string;
  atMs: number;
  experiment: Pick<Experiment, "id" | "agent" | "candidate" | "stable" | "weights" | "gate">;
  body: { state?: string; from?: string; step?: number; conclusion?: { reason: string; detail: string } | null };
}

export interface RunFact {
  id: string;
  agent: string;
  startedAtMs: number;
  finishedAtMs: number | null;
  outcome: { kind: string; adapterName?: string; reason?: string; message?: string; fix?: string } | null;
}

type Told = { reason: string; type: Fact["type"]; say: (move: ExperimentMove) => string };

const why = ({ body: { conclusion } }: ExperimentMove): string =>
  conclusion == null ? "" : `: ${[conclusion.reason, conclusion.detail].filter((text) => text !== "").join(", ")}`;
const share = ({ experiment: { weights }, body: { step = 0 } }: ExperimentMove): string => `${((weights[step] ?? 0) * 100).toFixed(1)} %`;

/** By the audit's action; what is not here is nobody's news. */
const TOLD: Readonly<Record<string, Told>> = {
  experiment_slot_free: { reason: "CanaryWaits", type: "Normal", say: () => "is loaded on every replica before its canary begins" },
  experiment_attested: {
    reason: "CanaryStarted",
    type: "Normal",
    say: (move) => `is proven active on every replica, its canary begins with ${share(move)}`,
  },
  experiment_ramped: { reason: "CanaryStep", type: "Normal", say: (move) => `goes on with ${share(move)} of new conversations` },
  experiment_paused: { reason: "CanaryPaused", type: "Normal", say: () => "is paused" },
  experiment_resumed: { reason: "CanaryResumed", type: "Normal", say: () => "goes on" },
  experiment_awaits_operator: {
    reason: "PromotionWaits",
    type: "Warning",
    say: () =>
      "is proven and waits for an operator, since its judge is not calibrated, agrees too little with people or was forced: nightshift promote",
  },
  experiment_proven: { reason: "Promoted", type: "Normal", say: (move) => `is promoted${why(move)}` },
  experiment_operator_promoted: { reason: "Promoted", type: "Normal", say: () => "is promoted by an operator" },
  experiment_harmed: {
    reason: "RolledBack",
    type: "Warning",
    say: (move) => `is rolled back to ${move.experiment.stable.name}${why(move)}`,
  },
  experiment_attestation_lost: {
    reason: "RolledBack",
    type: "Warning",
    say: (move) => `is rolled back to ${move.experiment.stable.name}${why(move)}`,
  },
  experiment_operator_rolled_back: {
    reason: "RolledBack",
    type: "Warning",
    say: (move) => `is rolled back to ${move.experiment.stable.name} by an operator`,
  },
  experiment_timed_out: {
    reason: "CanaryExpired",
    type: "Warning",
    say: ({ experiment: { stable }, body: { from } }) =>
      `${from === "attesting" ? "was not proven active on every replica in time" : "proved neither better nor worse in time"}, ${stable.name} stays`,
  },
  experiment_displaced: { reason: "Superseded", type: "Normal", say: () => "gave its place in the queue to a newer one" },
  experiment_operator_superseded: { reason: "Superseded", type: "Normal", say: () => "was taken out by an operator" },
  experiment_rebased: {
    reason: "Superseded",
    type: "Warning",
    say: () => "is out: the base model or its chat template is another one now",
  },
};

/** Null for what nobody needs to hear of. Pure. */
export function factOfMove(move: ExperimentMove): Fact | null {
  const { action, atMs, experiment, body } = move;
  const about = `${experiment.agent}: ${experiment.candidate.name}`;
  const id = `audit-${move.id}-${experiment.id}`;
  if (action === "experiment_submitted") {
    const { gate } = experiment;
    if (body.state === "refused")
      return {
        id,
        atMs,
        reason: "GateRefused",
        type: "Warning",
        message: `${about} was refused by the gate${gate === null ? "" : refusal(gate)}`,
      };
    const passed = gate === null ? "goes on: no gate is configured" : `passed the gate: ${score(gate)}`;
    return { id, atMs, reason: "GatePassed", type: "Normal", message: `${about} ${passed}` };
  }
  const told = TOLD[action];
  return told === undefined ? null : { id, atMs, reason: told.reason, type: told.type, message: `${about} ${told.say(move)}` };
}

function refusal(gate: GateDecision): string {
  const { unitsNeeded } = gate;
  const isKnown = unitsNeeded !== null && Number.isFinite(unitsNeeded) && unitsNeeded > 0;
  const needed = isKnown ? `; about ${unitsNeeded} more units would be needed at this rate` : "";
  return `: ${gate.reason}, ${score(gate)}${needed}`;
}

function score({ wins, losses, ties }: GateDecision): string {
  return `${wins} pairs won, ${losses} lost, ${ties} equal`;
}

/** A candidate waits for a person. Pure. */
export function factOfAlarm({ runId, id, agent, raisedAtMs: atMs }: Pick<Alarm, "runId" | "id" | "agent" | "raisedAtMs">): Fact {
  const message = `${agent}: run ${runId} is rewarded for something beside the task (${id}); its candidate waits until somebody has looked: nightshift alarms list`;
  return { id: `alarm-${runId}-${id}`, atMs, reason: "AlarmRaised", type: "Warning", message };
}

/** A pod runs and nothing comes of it: nobody but a person ends that. Pure. */
export function factOfSilence({ id, runId, agent, silentMs, atMs }: Silence): Fact {
  const message = `${agent}: the trainer of run ${runId} has given no heartbeat for ${Math.round(silentMs / 1_000)} s; nothing is started beside it, look at its pod: deleting it starts the next one from the checkpoint`;
  return { id: `audit-${id}-${runId}`, atMs, reason: "TrainerSilent", type: "Warning", message };
}

/** Who leads from here on. Pure. */
export function factOfTerm({ name, epoch, sinceMs: atMs }: { name: string; epoch: number; sinceMs: number }): Fact {
  return {
    id: `term-${epoch}`,
    atMs,
    reason: "LeaderElected",
    type: "Normal",
    message: `${name} leads: nights and promotions go on there`,
  };
}

/** That a run began, and what came of it. Pure. */
export function factsOfRun({ id, agent, startedAtMs, finishedAtMs, outcome }: RunFact): Fact[] {
  const begun: Fact = {
    id: `run-${id}-started`,
    reason: "RunStarted",
    type: "Normal",
    message: `${agent}: run ${id} began`,
    atMs: startedAtMs,
  };
  if (finishedAtMs === null || outcome === null) return [begun];
  const ended = { id: `run-${id}-ended`, atMs: finishedAtMs };
  const about = `${agent}: run ${id}`;
  if (outcome.kind === "candidate")
    return [begun, { ...ended, reason: "RunEnded", type: "Normal", message: `${about} made the candidate ${outcome.adapterName ?? ""}` }];
  if (outcome.kind === "nothing_to_learn")
    return [begun, { ...ended, reason: "RunEnded", type: "Normal", message: `${about} had nothing to learn: ${outcome.reason ?? ""}` }];
  const isShort = outcome.kind === "no_capacity";
  const problem = outcome.message ?? outcome.reason ?? outcome.kind;
  // What is too long for an event loses its end: of a long problem the beginning is worth more than the fix.
  const fix = outcome.fix === undefined || outcome.fix === "" ? "" : `; fix: ${outcome.fix}`;
  return [begun, { ...ended, reason: isShort ? "NoCapacity" : "RunFailed", type: "Warning", message: `${about} ended: ${problem}${fix}` }];
}

/** A core/v1 Event about `regarding`; its name is the fact's, so that telling it twice is one event. Pure. */
export function eventOf(fact: Fact, regarding: { name: string; namespace: string; uid: string | undefined }, instance: string): object {
  const at = new Date(fact.atMs).toISOString().replace(/\.\d+Z$/, "Z");
  const hash = createHash("sha256").update(fact.id).digest("hex").slice(0, 16);
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: `${regarding.name.slice(0, 200)}.${hash}`, namespace: regarding.namespace },
    involvedObject: { apiVersion: "coordination.k8s.io/v1", kind: "Lease", ...regarding },
    reason: fact.reason,
    // The API server takes no more.
    message: fact.message.slice(0, 1_000),
    type: fact.type,
    source: { component: "nightshift" },
    reportingComponent: "nightshift.dev/serve",
    reportingInstance: instance.slice(0, 128),
    ...{ firstTimestamp: at, lastTimestamp: at, count: 1 },
  };
}

/** An agent in one line, for an annotation. Pure. */
export function lineOf(agent: {
  stable: RouteTarget | null;
  experiments: readonly Pick<Experiment, "state" | "step" | "weights" | "candidate">[];
  run: { id: string } | null;
}): string {
  const { stable, experiments, run } = agent;
  const live = experiments.find(({ state }) => isLive(state));
  const last = experiments[0];
  const canary =
    live !== undefined
      ? `${live.state} ${live.candidate.name} at ${(candidateWeight(live) * 100).toFixed(1)} %, step ${live.step + 1} of ${live.weights.length}`
      : last === undefined
        ? "no canary yet"
        : `last canary ${last.candidate.name} ${last.state}`;
  return [`stable ${stable?.name ?? "unknown"}`, canary, run === null ? "no run" : `run ${run.id}`].join("; ");
}
