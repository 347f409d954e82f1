import { entityByPath } from "../../trajectory/entities.ts";
import { CONFIDENCE } from "../confidence.ts";
import { agree, fits, givesSame, type Said } from "./consensus.ts";
import { decideWrite, type WriteDecision } from "./decide-write.ts";
import { echoOf } from "./echo.ts";
import { idForm } from "./id-form.ts";
import type { Outcome } from "./outcome.ts";
import type { PreparedCall } from "./prepare.ts";
import type { Features } from "./refusals.ts";
import { drawnIds, renderLike, type NewIds } from "./render.ts";
import { equalArguments } from "./score.ts";
import { mergedViews, viewSource, type Situation } from "./situation.ts";
import type { PooledEntry } from "./tape-pool.ts";
import { seenNow, type Sample, type WriteModel } from "./write-samples.ts";

export interface WriteAnswer {
  rung: "R4" | "R5";
  result: string;
  /** Tapes that the answer was made of. */
  madeFrom: readonly string[];
  isError: boolean;
  confidence: number;
}

/** Recorded answers that must say the same for what one is modelled on the first of them. */
const MAX_MODELS = 12;

/**
 * Answers a write that no tape holds in this state; nothing is executed. Decide, then render: R4 where the tapes decide the outcome (the same write
 * in the same world, what tells its refusals apart, a tool that never failed), R5 where it hardly ever fails, or what it says is not certain; `seed` draws new ids. The
 * body is what the call was given, of a tool that says nothing else, or the nearest recorded one with this call's values and new ids. Null where nothing decides, or the tapes hold no example of the outcome.
 */
export function answerWrite(
  situation: Situation,
  call: PreparedCall,
  model: WriteModel,
  seed: readonly (string | number)[],
): WriteAnswer | null {
  const { views, features } = seenNow(situation, call, model.basis);
  const decision = decideWrite(situation, call, model, features);
  if (decision === null) return null;
  const { rung, isError, confidence, same, reasons = [] } = decision;
  const echo = isError || same !== undefined ? null : echoOf(call, model.forms);
  if (echo !== null) return { rung, isError, confidence, result: echo, madeFrom: [] };
  const examples = same === undefined ? nearest(situation, call, model, features, decision) : [same];
  const [example] = examples;
  if (example === undefined) return null;
  const { seen } = example;
  const { volatileResultPaths: volatilePaths } = call.profile;
  const ids = newIds(situation);
  const render = ({ seen: { entry, parsed, args }, views: recorded }: Sample): string =>
    renderLike({
      recorded: { result: entry.result, parsed, args },
      args: call.args,
      views: { recorded: mergedViews(recorded), here: mergedViews(views) },
      ...{ volatilePaths, ids, seed },
    });
  const said = (one: Sample): Said => ({ conversation: one.seen.tape.conversationId, text: render(one) });
  const result = render(example);
  // That it comes to this is known; what it then says is, where every model says the same of this call.
  const alike = examples.filter((one) => isError || givesSame(one.seen, call)).map(said);
  const areAgreed = (): boolean =>
    agree(call, alike) || (!isError && agree(call, [...alike, ...elsewhere(model, examples, call).map(said)]));
  const isNew = !drawnIds(result, volatilePaths).some((id) => ids.isDoubtful(id));
  const isCertain = rung === "R5" || (isNew && (same !== undefined || (reasons.length < 2 && alike[0]?.text === result && areAgreed())));
  const viewed = entityByPath(call.profile, call.args).flatMap((entity) => (entity === null ? [] : (viewSource(situation, entity) ?? [])));
  const madeFrom = [...new Set([seen.tape.id, ...viewed])];
  return isCertain
    ? { rung, isError, confidence, result, madeFrom }
    : { rung: "R5", isError, confidence: CONFIDENCE.simulated, result, madeFrom };
}

/**
 * The same decision for whoever renders its answer in another way; null where the tapes decide it (R4 needs no rendering but `answerWrite`'s), or no tape but the
 * scenario's own shows such an outcome: what its conversation went on to write is its future.
 */
export function writeOutcome(situation: Situation, call: PreparedCall, model: WriteModel): Outcome | null {
  const { features } = seenNow(situation, call, model.basis);
  const decision = decideWrite(situation, call, model, features);
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

/** The recorded writes of this outcome that are most like this call: what tells outcomes apart first, then equal arguments, own tape, newest. */
function nearest(
  situation: Situation,
  call: PreparedCall,
  model: WriteModel,
  features: Features,
  { isError, reasons }: WriteDecision,
): readonly Sample[] {
  return (isError ? model.examples.failed : model.examples.succeeded)
    .filter((sample) => (reasons === undefined || reasons.includes(sample.kind ?? "")) && fits(sample.seen, call.args))
    .map((sample) => ({ sample, score: scoreOf(situation, call, model, features, sample) }))
    .sort((a, b) => b.score - a.score)
    .slice(0, MAX_MODELS)
    .map(({ sample }) => sample);
}

/** Further successes of this form, on tapes of either split: nothing of them is served, they bear the first one out or not. */
function elsewhere({ forms }: WriteModel, examples: readonly Sample[], call: PreparedCall): readonly Sample[] {
  const known = new Set(examples.map(({ seen }) => seen));
  return forms.examples.filter(({ seen }) => !known.has(seen) && fits(seen, call.args) && givesSame(seen, call)).slice(0, MAX_MODELS);
}

function newIds(situation: Situation): NewIds {
  const { pool } = situation;
  const isTaken = (id: string | number): boolean => pool.shows(id) || isMade(situation, id);
  return { isTaken, isDoubtful: (id) => pool.isCrowded(id), hasForm: idForm(situation) };
}

function isMade({ overlay }: Situation, id: string | number): boolean {
  return overlay.writes.some(({ views }) =>
    [...views.values()].some((view) => [...view.values()].some((value) => String(value) === String(id))),
  );
}

function scoreOf(situation: Situation, call: PreparedCall, model: WriteModel, features: Features, sample: Sample): number {
  const telling = new Set(model.refusals.flatMap(({ tests }) => tests.map(({ feature }) => feature)));
  const alike = [...telling].filter((name) => features.has(name) && features.get(name) === sample.features.get(name));
  const own = sample.seen.tape.id === situation.start.tapeId ? 1 : 0;
  return alike.length * 100 + equalArguments(sample.seen.args, call.args) * 2 + own;
}
