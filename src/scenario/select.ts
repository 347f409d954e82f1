import { hash } from "node:crypto";
import type { AgentConfig } from "../config.ts";
import { tapeIdOf, toolsetHashOf } from "../trajectory/record-tape.ts";
import type { Tape } from "../trajectory/tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import { clusterItems } from "./cluster.ts";
import { firstUser, firstUserText, systemText } from "./first-turn.ts";
import { livePrompt } from "./live-prompt.ts";
import { scenarioOf } from "./make-scenario.ts";
import { rankOf, type ConversationFeedback, type GroupHistory } from "./rank.ts";
import type { Scenario, Signal } from "./scenario.ts";
import { signalsOf, slowAbove } from "./signals.ts";
import { drawWalls, type Place, type Walls } from "./walls.ts";

/** Why a trajectory became no scenario of this run. Every trajectory is counted once: selected, or under the first reason that held. */
export type LeftOut =
  | "not_trainable"
  | "no_consent"
  | "superseded"
  | "no_user_turn"
  | "quarantine"
  | "toolset_differs"
  | "prompt_differs"
  | "duplicate"
  /** A training user's, in a cluster that only evaluates. */
  | "held_out_cluster"
  /** A training user's, in the window that only evaluates tonight: it may train when the window has moved on. */
  | "after_cutoff"
  /** An evaluation user's, from before training ends. */
  | "before_cutoff"
  | "few_users"
  | "cluster_cap"
  | "user_cap"
  | "enough";

export interface Selection {
  train: readonly Scenario[];
  heldOut: readonly Scenario[];
  funnel: {
    captured: number;
    leftOut: Readonly<Partial<Record<LeftOut, number>>>;
    selected: { train: number; heldOut: number };
    /** Selected conversations of nobody known: each stands for a user of its own. */
    unknownSubjects: number;
    /** Picked for training, by why; one may have several reasons. */
    selectedFor: Readonly<Partial<Record<Signal, number>>>;
    /** Where training ends and evaluation begins; null where both sides would have too little for such a wall. */
    cutoffMs: number | null;
  };
}

export interface SelectionInput {
  /** Trajectories of one agent, and their tapes (any order; a trajectory without a tape made no tool calls that replay knows). */
  trajectories: readonly Trajectory[];
  tapes: readonly Tape[];
  feedback: readonly ConversationFeedback[];
  history?: GroupHistory;
  config: AgentConfig["scenario"];
  seed: number;
  nowMs: number;
  /** Training scenarios wanted, and held-out ones at most. */
  count: number;
  /** Training scenarios that the run may roll out in all: a user's share is of these. Default `count`. */
  runSize?: number;
  heldOutCount: number;
  /** Between training and evaluation. Default: drawn from the same trajectories, as if it were the first night. */
  walls?: Walls;
}

/** Picks the scenarios of a run. Deterministic under `seed`; the order of the inputs does not matter. */
export function selectScenarios(input: SelectionInput): Selection {
  const leftOut: Partial<Record<LeftOut, number>> = {};
  const leave = (reason: LeftOut): void => {
    leftOut[reason] = (leftOut[reason] ?? 0) + 1;
  };
  const walls = input.walls ?? drawWalls(input);
  const candidates = candidatesOf(input, usableOf(input, leave), walls).filter(({ place }) => {
    if (place.wall !== null) leave(place.wall);
    return place.wall === null;
  });
  const train = pickTrain(
    input,
    candidates.filter((candidate) => candidate.scenario.split === "train"),
    leave,
  );
  const heldOut = pickHeldOut(
    input,
    candidates.filter((candidate) => candidate.scenario.split === "held_out"),
    leave,
  );
  const selected = [...train, ...heldOut];
  return {
    train: train.map(({ scenario }) => scenario),
    heldOut: heldOut.map(({ scenario }) => scenario),
    funnel: {
      captured: input.trajectories.length,
      leftOut,
      selected: { train: train.length, heldOut: heldOut.length },
      unknownSubjects: selected.filter(({ subjectKnown }) => !subjectKnown).length,
      selectedFor: countSignals(train.map(({ scenario }) => scenario)),
      cutoffMs: walls.cutoffMs,
    },
  };
}

/** How many of the scenarios were picked for each reason. */
export function countSignals(scenarios: readonly Scenario[]): Partial<Record<Signal, number>> {
  const counts: Partial<Record<Signal, number>> = {};
  for (const signal of scenarios.flatMap(({ selectedFor = [] }) => selectedFor)) counts[signal] = (counts[signal] ?? 0) + 1;
  return counts;
}

interface Candidate {
  scenario: Scenario;
  place: Place;
  subjectKnown: boolean;
  rank: number;
}

/** Trajectories that may be replayed at all, each reason for the others counted. Newest first decides what is live, and which duplicate stays. */
function usableOf({ trajectories, config, nowMs }: SelectionInput, leave: (reason: LeftOut) => void): readonly Trajectory[] {
  const newestFirst = [...trajectories].sort((a, b) => b.endedAtMs - a.endedAtMs || b.version - a.version || (a.id < b.id ? -1 : 1));
  const versions = new Map<string, number>();
  for (const { id, version } of trajectories) versions.set(id, Math.max(version, versions.get(id) ?? 0));
  const live = newestFirst.find((trajectory) => trajectory.verdict.trainable);
  const contents = new Set<string>();
  const toolset = live === undefined ? null : toolsetHashOf(live.tools);
  const isLivePrompt = livePrompt(
    newestFirst.filter((one) => one.verdict.trainable && toolsetHashOf(one.tools) === toolset).map(systemText),
  );
  const known = { versions, toolset, contents, isLivePrompt, youngestMs: nowMs - config.quarantineMs };
  return newestFirst.filter((trajectory) => {
    const reason = reasonAgainst(trajectory, known);
    if (reason !== null) leave(reason);
    else contents.add(trajectory.contentHash);
    return reason === null;
  });
}

interface Known {
  versions: ReadonlyMap<string, number>;
  /** Hash of the live tools; null where nothing is trainable. */
  toolset: string | null;
  contents: ReadonlySet<string>;
  isLivePrompt: (prompt: string) => boolean;
  youngestMs: number;
}

function reasonAgainst(trajectory: Trajectory, known: Known): LeftOut | null {
  const { verdict } = trajectory;
  if (trajectory.version < (known.versions.get(trajectory.id) ?? 0)) return "superseded";
  if (verdict.reasons.includes("no_consent")) return "no_consent";
  if (!verdict.trainable) return "not_trainable";
  if (firstUser(trajectory.messages) < 0) return "no_user_turn";
  if (trajectory.endedAtMs > known.youngestMs) return "quarantine";
  if (toolsetHashOf(trajectory.tools) !== known.toolset) return "toolset_differs";
  if (!known.isLivePrompt(systemText(trajectory))) return "prompt_differs";
  return known.contents.has(trajectory.contentHash) ? "duplicate" : null;
}

function candidatesOf(input: SelectionInput, usable: readonly Trajectory[], walls: Walls): readonly Candidate[] {
  const { config, feedback, history = new Map(), nowMs, seed } = input;
  const clusters = clusterItems(usable.map((one) => ({ id: one.id, text: firstUserText(one), toolsetHash: toolsetHashOf(one.tools) })));
  const clusterOf = (one: Trajectory): string => clusters.get(one.id) ?? "";
  const tapes = new Map(input.tapes.map((tape) => [tape.id, tape]));
  const feedbackOf = Map.groupBy(feedback, ({ conversationId }) => conversationId);
  const places = new Map(usable.map((one) => [one.id, walls.placeOf(one)]));
  const slow = new Map([...Map.groupBy(usable, clusterOf)].map(([cluster, all]) => [cluster, slowAbove(all)]));
  const tapesOfCluster = new Map(
    [
      ...Map.groupBy(
        usable.filter((one) => places.get(one.id)?.serves === "split"),
        (one) => `${places.get(one.id)?.split}|${clusterOf(one)}`,
      ),
    ].map(([key, all]) => [key, all.map(tapeIdOf).sort()]),
  );
  return usable.map((trajectory) => {
    const cluster = clusterOf(trajectory);
    const place = places.get(trajectory.id) ?? walls.placeOf(trajectory);
    const own = tapeIdOf(trajectory);
    const sameTask = (tapesOfCluster.get(`${place.split}|${cluster}`) ?? []).filter((id) => id !== own);
    const { endedAtMs } = trajectory;
    const signals = signalsOf({
      ...{ trajectory, entries: tapes.get(own)?.entries ?? [], feedback: feedbackOf.get(trajectory.conversationId) ?? [] },
      ...{ slowAboveMs: slow.get(cluster) ?? null, transferTools: config.transferTools },
    });
    const made = scenarioOf(trajectory, { cluster, split: place.split, tapes: [own, ...sameTask] });
    const { rank, selectedFor } = rankOf({ signals, endedAtMs, scenarioId: made.id, cluster, history, nowMs, seed });
    const scenario = place.split === "train" ? { ...made, selectedFor: [...selectedFor] } : made;
    return { scenario, place, subjectKnown: trajectory.subject !== null, rank };
  });
}

function pickTrain(input: SelectionInput, candidates: readonly Candidate[], leave: (reason: LeftOut) => void): readonly Candidate[] {
  const { config, count, runSize = count } = input;
  const users = usersByCluster(candidates, config.countUnknownSubjects);
  const perUserCap = Math.max(1, Math.floor(config.maxShareOfRunPerUser * runSize));
  const perCluster = new Map<string, number>();
  const perUser = new Map<string, number>();
  let taken = 0;
  return inRankOrder(candidates).filter(({ scenario }) => {
    const inCluster = perCluster.get(scenario.cluster) ?? 0;
    const ofUser = perUser.get(scenario.subject) ?? 0;
    let reason: LeftOut | null = null;
    if ((users.get(scenario.cluster)?.size ?? 0) < config.minUsersPerCluster) reason = "few_users";
    else if (inCluster >= config.maxPerCluster) reason = "cluster_cap";
    else if (ofUser >= perUserCap) reason = "user_cap";
    else if (taken >= count) reason = "enough";
    if (reason !== null) leave(reason);
    else {
      taken += 1;
      perCluster.set(scenario.cluster, inCluster + 1);
      perUser.set(scenario.subject, ofUser + 1);
    }
    return reason === null;
  });
}

/** Held-out scenarios are a sample, not a choice: ranking them by difficulty would bias the gate. */
function pickHeldOut(
  { heldOutCount, seed }: SelectionInput,
  candidates: readonly Candidate[],
  leave: (reason: LeftOut) => void,
): readonly Candidate[] {
  const place = ({ scenario }: Candidate): string => hash("sha256", `held_out|${seed}|${scenario.id}`);
  const shuffled = [...candidates].sort((a, b) => (place(a) < place(b) ? -1 : 1));
  for (let left = heldOutCount; left < shuffled.length; left += 1) leave("enough");
  return shuffled.slice(0, heldOutCount);
}

function usersByCluster(candidates: readonly Candidate[], countUnknown: boolean): ReadonlyMap<string, ReadonlySet<string>> {
  const users = new Map<string, Set<string>>();
  for (const { scenario, subjectKnown } of candidates) {
    if (!subjectKnown && !countUnknown) continue;
    users.set(scenario.cluster, (users.get(scenario.cluster) ?? new Set()).add(scenario.subject));
  }
  return users;
}

function inRankOrder(candidates: readonly Candidate[]): readonly Candidate[] {
  return [...candidates].sort((a, b) => b.rank - a.rank || (a.scenario.id < b.scenario.id ? -1 : 1));
}
