import { entityByPath } from "../../trajectory/entities.ts";
import { CONFIDENCE } from "../confidence.ts";
import { decidingArguments, wasFound } from "./features.ts";
import type { PreparedCall } from "./prepare.ts";
import { judge, type Features } from "./refusals.ts";
import { sameWorld, stillTrue, type Situation } from "./situation.ts";
import type { PooledEntry } from "./tape-pool.ts";
import type { Sample, WriteModel } from "./write-samples.ts";

/** What a write that no tape holds in this state comes to. */
export interface WriteDecision {
  /** R4: the tapes tell. R5: it hardly ever ends otherwise, or goes by what a simulated answer said. */
  rung: "R4" | "R5";
  isError: boolean;
  confidence: number;
  /** The very same write, recorded in the same world. */
  same?: Sample;
  /** Why it is refused, where that is known: for one of these reasons. */
  reasons?: readonly string[];
}

/** Refusals that nothing rules out, of all attempts, before a success would be a mere hope. */
const MAX_UNDECIDED = 0.02;
/** Conversations with successes before "never fails" decides, and with failures before "always fails" does. */
const MIN_CONVERSATIONS = 3;

/**
 * Decides a write. Each way in which tapes show it refused must hold, or be ruled out, by what is known of the call and its entities; null where neither can be said and
 * the tool does refuse: a success made up there teaches that preconditions do not matter.
 */
export function decideWrite(situation: Situation, call: PreparedCall, model: WriteModel, features: Features): WriteDecision | null {
  if (model.samples + model.forms.conversations === 0) return null;
  if (model.undecided === true) return hardlyFails(model.errorRate + model.unseenRate);
  const same = model.byCall.get(call.callKey)?.find(({ seen }) => sameWorld(situation, seen) || isOwnNow(situation, seen));
  if (same !== undefined) return { rung: "R4", isError: same.seen.entry.isError, confidence: 0.95, same };
  const judged = judge(model.refusals, features);
  // What only a simulated answer told makes a simulated outcome.
  const isTold = entityByPath(call.profile, call.args).some((entity) => entity !== null && situation.overlay.offTape.has(entity));
  const known = isTold ? ({ rung: "R5", confidence: CONFIDENCE.simulated } as const) : ({ rung: "R4", confidence: 0.9 } as const);
  if (judged.refusedFor !== null) return { ...known, isError: true, reasons: judged.refusedFor };
  if (isUnheardOf(model, features)) return null;
  const undecided = judged.undecided + model.unseenRate;
  const recorded = call.profile.errors === 0 ? model.forms.conversations : model.conversations;
  const believed = Math.max(CONFIDENCE.simulated, 1 - unheardOfRefusals(model.rareRefusals, recorded));
  if (isGranted(call, model, features)) return { ...known, isError: false };
  if (undecided === 0 && model.refusals.length > 0) return { ...known, isError: false, confidence: Math.min(known.confidence, believed) };
  if (undecided === 0 && recorded >= MIN_CONVERSATIONS) {
    // Of a tool that never refused nobody knows when it would: what no success was like, is not known to be one.
    return isUnlike(features, model.forms.shared) ? drawnLike(false) : { rung: "R4", isError: false, confidence: Math.min(0.85, believed) };
  }
  return hardlyFails(undecided) ?? (isHopeless(call, model) ? drawnLike(true) : null);
}

/**
 * How likely an attempt is refused in a way that no tape shows yet: as often as conversations brought a way that no other one did (Good and Turing's estimate), with
 * half a conversation more (Jeffreys' prior).
 */
function unheardOfRefusals(rare: number, conversations: number): number {
  return (rare + 0.5) / (conversations + 1);
}

/** Whether something is known of the call, or of what it names, that was otherwise whenever it succeeded. */
function isUnlike(features: Features, shared: Features): boolean {
  return [...features].some(([name, value]) => shared.has(name) && shared.get(name) !== value);
}

/** About something that was found, without an argument that every refusal of the tool had. */
function isGranted({ profile, args }: PreparedCall, { forms }: WriteModel, features: Features): boolean {
  const given = decidingArguments(profile, [args]);
  return wasFound(features) === true && [...forms.blamed].some((name) => !given.includes(name));
}

/** A tool that has only ever failed, here and wherever it was recorded. */
function isHopeless({ profile }: PreparedCall, { examples, conversations }: WriteModel): boolean {
  return examples.succeeded.length === 0 && conversations >= MIN_CONVERSATIONS && profile.errors === profile.calls;
}

/** About something that is known to be missing, where no recorded success was. */
function isUnheardOf({ examples }: WriteModel, features: Features): boolean {
  const missing = [...features].filter(([name, value]) => name.endsWith(" found") && value === false);
  return missing.some(([name]) => !examples.succeeded.some((sample) => sample.features.get(name) === false));
}

function hardlyFails(share: number): WriteDecision | null {
  return share <= MAX_UNDECIDED ? drawnLike(false) : null;
}

function drawnLike(isError: boolean): WriteDecision {
  return { rung: "R5", isError, confidence: CONFIDENCE.simulated };
}

/** The own tape's same write to things that are as they were there. Other writes differ, and may matter: that is why it is R4, not R2. */
function isOwnNow(situation: Situation, seen: PooledEntry): boolean {
  return seen.tape.id === situation.start.tapeId && seen.entry.raced === null && stillTrue(situation, seen);
}
