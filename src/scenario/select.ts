import { hash } from "node:crypto";
import type { AgentConfig } from "../config.ts";
import { textOf, type Message } from "../trace/message.ts";
import { pseudonymsOf } from "../trajectory/names.ts";
import { scenarioIdOf, tapeIdOf, toolsetHashOf } from "../trajectory/record-tape.ts";
import type { Tape } from "../trajectory/tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import { clusterItems, similarityOf } from "./cluster.ts";
import { rankOf, type ConversationFeedback, type GroupHistory } from "./rank.ts";
import type { Scenario } from "./scenario.ts";
import { splitOf, subjectOf } from "./split.ts";

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
    /** Selected conversations of nobody known: each counts as a user of its own. */
    unknownSubjects: number;
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
  /** Set in the quickstart and for agents without users: a cluster of unknown subjects trains as if each were a user. Default true. */
  countUnknownSubjects?: boolean;
}

const MAX_ASKED_CHARS = 4_000;
/** Prompts less alike than this, ids and numbers masked, are different prompts: names and dates in them vary. */
const SAME_PROMPT = 0.7;

/** Picks the scenarios of a run. Deterministic under `seed`; the order of the inputs does not matter. */
export function selectScenarios(input: SelectionInput): Selection {
  const leftOut: Partial<Record<LeftOut, number>> = {};
  const leave = (reason: LeftOut): void => {
    leftOut[reason] = (leftOut[reason] ?? 0) + 1;
  };
  const usable = usableOf(input, leave);
  const candidates = candidatesOf(input, usable);
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
    },
  };
}

interface Candidate {
  scenario: Scenario;
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
  return newestFirst.filter((trajectory) => {
    const reason = reasonAgainst(trajectory, { versions, live, contents, youngestMs: nowMs - config.quarantineMs });
    if (reason !== null) leave(reason);
    else contents.add(trajectory.contentHash);
    return reason === null;
  });
}

function reasonAgainst(
  trajectory: Trajectory,
  known: { versions: ReadonlyMap<string, number>; live: Trajectory | undefined; contents: ReadonlySet<string>; youngestMs: number },
): LeftOut | null {
  const { verdict } = trajectory;
  if (trajectory.version < (known.versions.get(trajectory.id) ?? 0)) return "superseded";
  if (verdict.reasons.includes("no_consent")) return "no_consent";
  if (!verdict.trainable || known.live === undefined) return "not_trainable";
  if (firstUser(trajectory.messages) < 0) return "no_user_turn";
  if (trajectory.endedAtMs > known.youngestMs) return "quarantine";
  if (toolsetHashOf(trajectory.tools) !== toolsetHashOf(known.live.tools)) return "toolset_differs";
  if (similarityOf(systemText(trajectory), systemText(known.live)) < SAME_PROMPT) return "prompt_differs";
  return known.contents.has(trajectory.contentHash) ? "duplicate" : null;
}

function candidatesOf(input: SelectionInput, usable: readonly Trajectory[]): readonly Candidate[] {
  const { config, feedback, history = new Map(), nowMs, seed } = input;
  const clusters = clusterItems(usable.map((one) => ({ id: one.id, text: firstUserText(one), toolsetHash: toolsetHashOf(one.tools) })));
  const tapes = new Map(input.tapes.map((tape) => [tape.id, tape]));
  const feedbackOf = Map.groupBy(feedback, ({ conversationId }) => conversationId);
  const tapesOfCluster = Map.groupBy(usable, (one) => `${splitFor(one, config)}|${clusters.get(one.id)}`);
  return usable.map((trajectory) => {
    const cluster = clusters.get(trajectory.id) ?? "";
    const split = splitFor(trajectory, config);
    const own = tapeIdOf(trajectory);
    const sameTask = (tapesOfCluster.get(`${split}|${cluster}`) ?? []).map(tapeIdOf).filter((id) => id !== own);
    const scenario = scenarioOf(trajectory, { cluster, split, tapes: [own, ...sameTask.sort()] });
    const about = feedbackOf.get(trajectory.conversationId) ?? [];
    const entries = tapes.get(own)?.entries ?? [];
    const rank = rankOf({ trajectory, entries, scenarioId: scenario.id, cluster, feedback: about, history, nowMs, seed });
    return { scenario, subjectKnown: trajectory.subject !== null, rank };
  });
}

function splitFor(trajectory: Trajectory, config: AgentConfig["scenario"]): Scenario["split"] {
  return splitOf(subjectOf(trajectory).subject, { salt: trajectory.tenant, heldOutShare: config.heldOutShare });
}

function pickTrain(input: SelectionInput, candidates: readonly Candidate[], leave: (reason: LeftOut) => void): readonly Candidate[] {
  const { config, count, runSize = count } = input;
  const users = usersByCluster(candidates, input.countUnknownSubjects ?? true);
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

function scenarioOf(trajectory: Trajectory, of: { cluster: string; split: Scenario["split"]; tapes: string[] }): Scenario {
  const { messages } = trajectory;
  const first = firstUser(messages);
  const userTurns = messages.slice(first + 1).filter((message) => message.role === "user" && textOf(message) !== "");
  return {
    id: scenarioIdOf(trajectory),
    tenant: trajectory.tenant,
    agent: trajectory.agent,
    trajectoryId: trajectory.id,
    trajectoryVersion: trajectory.version,
    conversationId: trajectory.conversationId,
    subject: subjectOf(trajectory).subject,
    cluster: of.cluster,
    start: {
      messages: messages.slice(0, first + 1),
      userTurns,
      tools: trajectory.tools ?? [],
      clockMs: trajectory.startedAtMs,
      pseudonyms: pseudonymsOf(trajectory),
    },
    userModel: { asked: userTurns.map((turn) => saidBefore(messages, turn)) },
    tapes: of.tapes,
    mode: "loop",
    split: of.split,
    recordedAtMs: trajectory.startedAtMs,
    recordedCalls: messages.filter((message) => message.role === "assistant").length,
  };
}

/** The recorded agent's last text between this user turn and the one before it. */
function saidBefore(messages: readonly Message[], turn: Message): string {
  const before = messages.slice(0, messages.indexOf(turn));
  const since = before.slice(before.findLastIndex(({ role }) => role === "user") + 1);
  const said = since.findLast((message) => message.role === "assistant" && textOf(message) !== "");
  return said === undefined ? "" : textOf(said).slice(-MAX_ASKED_CHARS).toWellFormed();
}

function firstUser(messages: readonly Message[]): number {
  return messages.findIndex((message) => message.role === "user" && textOf(message) !== "");
}

function firstUserText(trajectory: Trajectory): string {
  const message = trajectory.messages[firstUser(trajectory.messages)];
  return message === undefined ? "" : textOf(message);
}

function systemText(trajectory: Trajectory): string {
  return trajectory.messages
    .filter((message) => message.role === "system" || message.role === "developer")
    .map(textOf)
    .join("\n");
}
