import type { Message } from "../trace/message.ts";
import type { Rollout, Rung } from "./group.ts";
import { sideBySide, type TurnPair } from "./side-by-side.ts";

/** Why a member has no turn at which the recording goes on from where replay stopped. */
export type NoCut =
  /** It was not replay that ended it. */
  | "not_cut"
  /** It had left the recording before: nobody did anything there that a next action could be held against. */
  | "left_recording"
  /** The agent's requests made several transcripts, or its calls are not those that were answered: which turn it was is not known. */
  | "unclear";

export type CutPoint = { status: "found"; call: number } | { status: "none"; reason: NoCut };

/** Answers that nobody recorded, and that follow from nothing recorded. */
const BEYOND: readonly Rung[] = ["R5", "R7"];

/**
 * Where the honest part of a member ends that replay has cut: the model call, from 0, whose tool calls were the first that nothing recorded answered. What came before must be
 * the recording's own calls, answers and user turns (words of the agent may differ): then the recorded messages before that call are an honest prompt, and what was
 * answered in production is its continuation. Pure.
 */
export function cutPointOf(recorded: readonly Message[], member: Rollout): CutPoint {
  const { end } = member;
  if (end.status !== "masked" || (end.cause !== "replay_miss" && end.cause !== "simulated_share")) return none("not_cut");
  if (member.branches !== undefined || member.simulatedUserTurns !== undefined) return none("unclear");
  const { turns } = sideBySide(recorded, member);
  const cut = turns.findIndex(({ rollout }) => rollout?.calls.some(({ answered }) => answered !== null && BEYOND.includes(answered.rung)));
  if (cut < 0) return none("unclear");
  const isRecorded = turns.slice(0, cut).every(isAsRecorded) && turns[cut]?.recorded?.user === turns[cut]?.rollout?.user;
  return isRecorded ? { status: "found", call: cut } : none("left_recording");
}

function isAsRecorded({ difference, recorded, rollout }: TurnPair): boolean {
  return (difference === "same" || difference === "words") && recorded?.user === rollout?.user;
}

function none(reason: NoCut): CutPoint {
  return { status: "none", reason };
}
