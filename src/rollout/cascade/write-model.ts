import { EVERYTHING, entityByPath, type EntityView, type Scalar } from "../../trajectory/entities.ts";
import { CONFIDENCE } from "../confidence.ts";
import { agree, fits } from "./consensus.ts";
import { errorKind } from "./agent-error.ts";
import type { Outcome } from "./outcome.ts";
import { sameTool, type PreparedCall } from "./prepare.ts";
import { renderLike } from "./render.ts";
import { equalArguments } from "./score.ts";
import { seededUnit } from "../seed.ts";
import { knownView, mergedViews, sameWorld, viewSource, type Situation, stillTrue } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** What was known when a write was made: `again` (this tool had already written this entity), and each field of each entity by its template. */
type Features = ReadonlyMap<string, Scalar>;

interface Sample {
  seen: PooledEntry;
  features: Features;
  views: readonly (EntityView | null)[];
}

/** What the tapes teach about one write tool. Errors for the agent's own mistakes are left out: those are decided before. */
export interface WriteModel {
  samples: number;
  /** Newest first, as many of each outcome as are compared when the nearest is looked for. */
  examples: { succeeded: readonly Sample[]; failed: readonly Sample[] };
  byCall: ReadonlyMap<string, readonly Sample[]>;
  errorRate: number;
  /** Features of which each recorded value nearly always had the same outcome, and some value an error. */
  preconditions: ReadonlyMap<string, ReadonlyMap<Scalar, Outcomes>>;
  /** What the tapes say of this tool was measured to be wrong too often: only the recorded error rate decides (R5). */
  undecided?: boolean;
}

interface Outcomes {
  errors: number;
  count: number;
}

export interface WriteAnswer {
  rung: "R4" | "R5";
  result: string;
  /** Tapes that the answer was made of. */
  madeFrom: readonly string[];
  isError: boolean;
  confidence: number;
}

/** A feature with more values than this is a measurement or an id, no precondition. */
const MAX_FEATURE_VALUES = 8;
/** Share of a value's outcomes that may differ from the rest: somebody unrecorded may have changed the world in between. */
const TOLERANCE = 0.05;
/** Recorded outcomes of a value before it decides anything, and successes before "never fails" does. */
const MIN_OUTCOMES = 2;
const MIN_SUCCESSES = 3;
const MAX_EXAMPLES = 50;
/** Recorded answers that one is modelled on. */
const MAX_MODELS = 3;

/** Learns a write tool's outcomes from the pool. */
export function learnWrites(pool: TapePool, call: Pick<PreparedCall, "tool" | "schema">): WriteModel {
  const seen = pool
    .ofTool(call.tool)
    .filter((entry) => sameTool(call, entry.entry) && (!entry.entry.isError || errorKind(pool, call, entry) === null));
  const samples = seen.map((entry) => sampleOf(pool, entry));
  const failed = samples.filter((sample) => sample.seen.entry.isError);
  const succeeded = samples.filter((sample) => !sample.seen.entry.isError);
  return {
    samples: samples.length,
    examples: { succeeded: succeeded.slice(0, MAX_EXAMPLES), failed: failed.slice(0, MAX_EXAMPLES) },
    byCall: Map.groupBy(samples, (sample) => sample.seen.entry.callKey),
    errorRate: samples.length === 0 ? 0 : failed.length / samples.length,
    preconditions: preconditionsOf(samples),
  };
}

/**
 * Answers a write that no tape holds in this state; nothing is executed. Decide, then render: R4 where the tapes decide the outcome (the same write
 * in the same world, a precondition that never failed, a tool that never failed), R5 where only the recorded error rate does, drawn with `seed`. The
 * body is the nearest recorded one with this call's values and new ids. Null where the tapes hold no example of the outcome.
 */
export function answerWrite(
  situation: Situation,
  call: PreparedCall,
  model: WriteModel,
  seed: readonly (string | number)[],
): WriteAnswer | null {
  const { views, features } = seenNow(situation, call);
  const decision = decide(situation, call, model, features, seed);
  if (decision === null) return null;
  const { same, ...decided } = decision;
  const examples = same === undefined ? nearest(situation, call, model, features, decided.isError) : [same];
  const [example] = examples;
  if (example === undefined) return null;
  const { seen } = example;
  const isTaken = (id: string | number): boolean => situation.pool.shows(id) || isMade(situation, id);
  const render = ({ seen: { entry, parsed, args }, views: recorded }: Sample): string =>
    renderLike({
      recorded: { result: entry.result, parsed, args },
      args: call.args,
      views: { recorded: mergedViews(recorded), here: mergedViews(views) },
      volatilePaths: call.profile.volatileResultPaths,
      isTaken,
      seed,
    });
  const result = render(example);
  // That it comes to this is known; what it then says is, where every model says the same of this call.
  const isCertain = decided.rung === "R5" || same !== undefined || agree(call, examples.map(render));
  const answer: Decision = isCertain ? decided : { ...decided, rung: "R5", confidence: CONFIDENCE.simulated };
  const elsewhere = entityByPath(call.profile, call.args).flatMap((entity) =>
    entity === null ? [] : (viewSource(situation, entity) ?? []),
  );
  return { ...answer, result, madeFrom: [...new Set([seen.tape.id, ...elsewhere])] };
}

/**
 * The same decision for whoever renders its answer in another way; null where it is no mere draw (R4 needs no rendering but `answerWrite`'s), or no tape but the
 * scenario's own shows such an outcome: what its conversation went on to write is its future.
 */
export function writeOutcome(
  situation: Situation,
  call: PreparedCall,
  model: WriteModel,
  seed: readonly (string | number)[],
): Outcome | null {
  const { features } = seenNow(situation, call);
  const decision = decide(situation, call, model, features, seed);
  if (decision === null || decision.rung !== "R5") return null;
  const others = ({ failed, succeeded }: WriteModel["examples"], isError: boolean): PooledEntry[] =>
    (isError ? failed : succeeded)
      .filter(({ seen }) => seen.tape.id !== situation.start.tapeId)
      .map((sample) => ({ sample, score: scoreOf(situation, call, model, features, sample) }))
      .sort((a, b) => b.score - a.score)
      .map(({ sample }) => sample.seen);
  const shapes = others(model.examples, decision.isError);
  if (shapes.length === 0) return null;
  const [errorExample = null] = decision.isError ? [] : others(model.examples, true);
  const keeps = decision.isError ? null : keptFields(model, call.profile);
  return { isError: decision.isError, confidence: decision.confidence, examples: shapes.slice(0, 3), errorExample, shapes, keeps };
}

/** Fields that successful writes returned as they had been, each time that both were known. */
function keptFields({ examples }: WriteModel, profile: PreparedCall["profile"]): ReadonlySet<string> {
  const [kept, changed] = [new Set<string>(), new Set<string>()];
  for (const { seen, views } of examples.succeeded) {
    const entities = entityByPath(profile, seen.args);
    for (const [index, before] of views.entries()) {
      const after = seen.views.get(entities[index] ?? "");
      for (const [field, value] of before ?? []) if (after?.has(field) === true) (after.get(field) === value ? kept : changed).add(field);
    }
  }
  return new Set([...kept].filter((field) => !changed.has(field)));
}

function seenNow(situation: Situation, call: PreparedCall): { views: readonly (EntityView | null)[]; features: Features } {
  const views = entityByPath(call.profile, call.args).map((entity) => (entity === null ? null : knownView(situation, entity)));
  const again = situation.overlay.writes.some((write) => write.tool === call.tool && sharesEntity(write.entities, call));
  return { views, features: featuresOf(views, again) };
}

type Decision = Omit<WriteAnswer, "result" | "madeFrom">;
/** `same`: the very same write, recorded in the same world. */
type Decided = Decision & { same?: Sample };

function decide(
  situation: Situation,
  call: PreparedCall,
  model: WriteModel,
  features: Features,
  seed: readonly (string | number)[],
): Decided | null {
  if (model.samples === 0) return null;
  const drawn = (): Decision => ({
    rung: "R5",
    isError: seededUnit(...seed, "outcome") < model.errorRate,
    confidence: CONFIDENCE.simulated,
  });
  if (model.undecided === true) return drawn();
  const same = model.byCall.get(call.callKey)?.find(({ seen }) => sameWorld(situation, seen) || isOwnNow(situation, seen));
  if (same !== undefined) return { rung: "R4", isError: same.seen.entry.isError, confidence: 0.95, same };
  const outcomes = new Set(
    [...model.preconditions].flatMap(([name, outcomeOf]) => {
      const value = features.get(name);
      const outcomes = value === undefined ? undefined : outcomeOf.get(value);
      return outcomes === undefined || outcomes.count < MIN_OUTCOMES ? [] : [mostlyErrors(outcomes)];
    }),
  );
  const [decided] = outcomes;
  if (decided !== undefined && outcomes.size === 1) {
    // A precondition that only a simulated answer fulfils makes a simulated outcome.
    const isTold = entityByPath(call.profile, call.args).some((entity) => entity !== null && situation.overlay.offTape.has(entity));
    return isTold ? { rung: "R5", isError: decided, confidence: CONFIDENCE.simulated } : { rung: "R4", isError: decided, confidence: 0.9 };
  }
  if (model.errorRate === 0 && model.samples >= MIN_SUCCESSES) return { rung: "R4", isError: false, confidence: 0.85 };
  return drawn();
}

/** The own tape's same write to things that are as they were there. Other writes differ, and may matter: that is why it is R4, not R2. */
function isOwnNow(situation: Situation, seen: PooledEntry): boolean {
  return seen.tape.id === situation.start.tapeId && seen.entry.raced === null && stillTrue(situation, seen);
}

function preconditionsOf(samples: readonly Sample[]): WriteModel["preconditions"] {
  const names = new Set(samples.flatMap(({ features }) => [...features.keys()]));
  const rules = new Map<string, ReadonlyMap<Scalar, Outcomes>>();
  for (const name of names) {
    const having = samples.filter(({ features }) => features.has(name));
    const outcomeOf = new Map<Scalar, Outcomes>();
    for (const { seen, features } of having) {
      const value = features.get(name) as Scalar;
      const { errors, count } = outcomeOf.get(value) ?? { errors: 0, count: 0 };
      outcomeOf.set(value, { errors: errors + (seen.entry.isError ? 1 : 0), count: count + 1 });
    }
    const values = [...outcomeOf.values()];
    if (values.length <= MAX_FEATURE_VALUES && values.every(isUniform) && values.some(mostlyErrors)) rules.set(name, outcomeOf);
  }
  return rules;
}

function isUniform({ errors, count }: Outcomes): boolean {
  return Math.min(errors, count - errors) <= TOLERANCE * count;
}

function mostlyErrors({ errors, count }: Outcomes): boolean {
  return errors * 2 > count;
}

/** The recorded writes of this outcome that are most like this call: same preconditions first, then equal arguments, own tape, newest. */
function nearest(situation: Situation, call: PreparedCall, model: WriteModel, features: Features, isError: boolean): readonly Sample[] {
  return (isError ? model.examples.failed : model.examples.succeeded)
    .filter(({ seen }) => fits(seen, call.args))
    .map((sample) => ({ sample, score: scoreOf(situation, call, model, features, sample) }))
    .sort((a, b) => b.score - a.score)
    .slice(0, MAX_MODELS)
    .map(({ sample }) => sample);
}

function isMade({ overlay }: Situation, id: string | number): boolean {
  return overlay.writes.some(({ views }) =>
    [...views.values()].some((view) => [...view.values()].some((value) => String(value) === String(id))),
  );
}

function scoreOf(situation: Situation, call: PreparedCall, model: WriteModel, features: Features, sample: Sample): number {
  const alike = [...model.preconditions.keys()].filter((name) => features.has(name) && features.get(name) === sample.features.get(name));
  const own = sample.seen.tape.id === situation.start.tapeId ? 1 : 0;
  return alike.length * 100 + equalArguments(sample.seen.args, call.args) * 2 + own;
}

function sampleOf(pool: TapePool, seen: PooledEntry): Sample {
  const profile = seen.entry.tool;
  const before = pool.ofTape(seen.tape.id).slice(0, seen.index);
  const entities = entityByPath(pool.profiles.get(profile) ?? { entityPaths: [] }, seen.args);
  const views = entities.map((entity) => (entity === null ? null : viewBefore(before, seen, entity)));
  const again = before.some(
    ({ entry }) => entry.tool === seen.entry.tool && entry.writeKey !== null && touchesAny(entry.entitiesTouched, entities),
  );
  return { seen, features: featuresOf(views, again), views };
}

/** What the tape had shown of the entity by then, its own writes included; nothing that others changed since. */
function viewBefore(before: readonly PooledEntry[], seen: PooledEntry, entity: string): EntityView | null {
  const about = before.filter(({ views, entry, epochs }) => views.has(entity) && !entry.isError && epochs[entity] === seen.epochs[entity]);
  return about.length === 0 ? null : mergedViews(about.map(({ views }) => views.get(entity)));
}

function featuresOf(views: readonly (EntityView | null)[], again: boolean): Features {
  const fields = views.flatMap((view, path) => [...(view ?? [])].map(([name, value]): [string, Scalar] => [`${path}.${name}`, value]));
  return new Map<string, Scalar>([["again", again], ...fields]);
}

function sharesEntity(written: readonly string[], call: PreparedCall): boolean {
  return touchesAny(written, entityByPath(call.profile, call.args));
}

function touchesAny(written: readonly string[], named: readonly (string | null)[]): boolean {
  return written.some((entity) => entity !== EVERYTHING && named.includes(entity));
}
