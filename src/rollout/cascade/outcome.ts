import { EVERYTHING, entitiesOfCall } from "../../trajectory/entities.ts";
import { CONFIDENCE } from "../confidence.ts";
import { seededUnit } from "../seed.ts";
import { errorKind } from "./agent-error.ts";
import { isContradicted, type DerivationRecord } from "./derive.ts";
import { sameTool, type PreparedCall } from "./prepare.ts";
import { equalArguments } from "./score.ts";
import type { Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** What a call that no tape answers comes to. Decided by code; whoever renders the answer decides nothing. */
export interface Outcome {
  isError: boolean;
  confidence: number;
  /** Recorded answers of this outcome, the most alike first, at most three: its model. Never empty, and nothing that the scenario's conversation went on to see. */
  examples: readonly PooledEntry[];
  /** A recorded error of a tool that has any, where the outcome is none. */
  errorExample: PooledEntry | null;
  /** Recorded answers of this outcome, for the form of one; newest first. */
  shapes: readonly PooledEntry[];
  /** Fields that the call leaves as they are, as far as tapes show; null: all of them. */
  keeps: ReadonlySet<string> | null;
}

/** What the tapes teach about one read tool's outcomes, newest first. Errors for broken arguments are left out. */
export interface ReadModel {
  succeeded: readonly PooledEntry[];
  /** Errors that the world's state caused. */
  failed: readonly PooledEntry[];
  /** Answers about keys that nobody knew. */
  unknown: readonly PooledEntry[];
}

const MAX_SHOWN = 3;
const MAX_SHAPES = 200;

/** Learns a read tool's outcomes from the pool. */
export function learnReads(pool: TapePool, call: Pick<PreparedCall, "tool" | "schema">): ReadModel {
  const seen = pool.ofTool(call.tool).filter(({ entry }) => sameTool(call, entry));
  const failed = seen.filter(({ entry }) => entry.isError).map((entry) => ({ entry, kind: errorKind(pool, call, entry) }));
  return {
    succeeded: seen.filter(({ entry }) => !entry.isError),
    failed: failed.flatMap(({ entry, kind }) => (kind === null ? [entry] : [])),
    unknown: failed.flatMap(({ entry, kind }) => (kind === "unknown_key" ? [entry] : [])),
  };
}

/**
 * The outcome of a read that no tape answers. A key that tapes know fails as often as the tool did for the world's reasons; one that only the conversation
 * named, as often as it failed at all; drawn with `seed`. Null where the state has moved in a way that only the tool could tell: a listing after any
 * write, an entity after a write that said nothing of it, or that tapes show to change more than it says.
 */
export function readOutcome(
  situation: Situation,
  call: PreparedCall,
  model: ReadModel,
  { derivations, seed }: { derivations: DerivationRecord; seed: readonly (string | number)[] },
): Outcome | null {
  if (!isTold(situation, call, derivations)) return null;
  const entities = entitiesOfCall(call.profile, call.args).filter((entity) => entity !== EVERYTHING);
  const errors = entities.every((entity) => situation.pool.knowsEntity(entity)) ? model.failed : [...model.failed, ...model.unknown];
  const total = model.succeeded.length + errors.length;
  const isError = seededUnit(...seed, "outcome") < (total === 0 ? 0 : errors.length / total);
  const shapes = showable(situation, isError ? errors : model.succeeded);
  const examples = mostAlike(call, shapes);
  if (examples.length === 0) return null;
  const [errorExample = null] = isError ? [] : mostAlike(call, showable(situation, [...model.failed, ...model.unknown]));
  return { isError, confidence: CONFIDENCE.simulated, examples, errorExample, shapes: shapes.slice(0, MAX_SHAPES), keeps: null };
}

/** Without what the scenario's own conversation saw after its first write: that is its future. Before it, it saw the world that the rollout starts in. */
function showable({ start }: Situation, entries: readonly PooledEntry[]): readonly PooledEntry[] {
  return entries.filter(({ tape, entry }) => tape.id !== start.tapeId || (entry.writePrefix === "" && entry.writeKey === null));
}

function mostAlike(call: PreparedCall, entries: readonly PooledEntry[]): readonly PooledEntry[] {
  const scored = entries.slice(0, MAX_SHAPES).map((entry) => ({ entry, score: equalArguments(entry.args, call.args) }));
  return scored
    .sort((a, b) => b.score - a.score)
    .slice(0, MAX_SHOWN)
    .map(({ entry }) => entry);
}

/** Whether what this rollout wrote leaves the read tellable: it touched nothing of it, or said what became of it. */
function isTold({ overlay }: Situation, call: PreparedCall, derivations: DerivationRecord): boolean {
  const entities = entitiesOfCall(call.profile, call.args);
  return overlay.writes.every((write) => {
    if (write.entities.includes(EVERYTHING) || entities.includes(EVERYTHING)) return false;
    const touched = entities.filter((entity) => write.entities.includes(entity));
    return (
      touched.length === 0 || (touched.every((entity) => write.views.has(entity)) && !isContradicted(derivations, call.tool, write.tool))
    );
  });
}
