import { EVERYTHING, entitiesTouched, viewsOf } from "../../trajectory/entities.ts";
import { parseResult, showsError } from "../../trajectory/record-tape.ts";
import { isStateless, mayWrite } from "../../trajectory/tool-profile.ts";
import { versionOf } from "../../trajectory/write-state.ts";
import { inventedKey, malformed, mistakeAnswer, type Mistake } from "./agent-error.ts";
import { checkDerivations, deriveRead, givenIn, type DerivationRecord } from "./derive.ts";
import { checkEnds } from "./ends.ts";
import type { Rung } from "../group.ts";
import { learnReads, readOutcome, type Outcome, type ReadModel } from "./outcome.ts";
import { stateOf, withEpochs, withOccurrence, withOffTape, withWrite, type Overlay } from "./overlay.ts";
import { prepareCall, sameTool, type PreparedCall } from "./prepare.ts";
import { agreesWithOwn, inThisEra, sameVersions, sameWorld, stillTrue, type ReplayStart, type Situation } from "./situation.ts";
import { checkScopes, isApart, isUndisturbed, type ScopeRecord } from "./scope-record.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";
import { checkProjections, projectRead, type ProjectionRecord } from "./project.ts";
import { beliefIn, checkRepeats, isCoupled, isUnmoved, type RepeatRecord } from "./repeats.ts";
import { answerOf, type ToolFunctions } from "./tool-functions.ts";
import { createToolSchemas } from "./tool-schemas.ts";
import { UNMEASURED, type Trust } from "./trust.ts";
import { answerWrite, writeOutcome } from "./write-model.ts";
import { learnedOnce, schemaOf, writeModels, type WriteModels } from "./write-models.ts";
import type { WriteModel } from "./write-samples.ts";

/** One tool answer; `result` is null at R7, where nothing honest can be said. */
export interface Answer {
  rung: Rung;
  result: string | null;
  isError: boolean;
  confidence: number;
  servedFrom: { tape: string; entry: number } | null;
  /** Tapes whose text is in an answer that no tape holds as it is. */
  madeFrom: readonly string[];
  /** When the answer was recorded; null for R4 and above. */
  recordedAtMs: number | null;
  /** Epochs that an answer of the own tape showed (epochs.ts); null for others. */
  epochs: Readonly<Record<string, number>> | null;
}

type Given = Pick<Answer, "result" | "isError" | "epochs"> & Partial<Pick<Answer, "rung">>;

/** Answers tool calls from tapes. Made once per run: it keeps what it learned of each tool. */
export interface Cascade {
  pool: TapePool;
  /** How far answers are believed: those that are asked for beyond the tapes, too. */
  trust: Trust;
  /** The call in canonical form. */
  prepare(start: ReplayStart, tool: string, rawArguments: unknown): PreparedCall;
  /**
   * The answer to one call. R1 and R2 depend also on how often the call was repeated; everything else is a function of tapes, state and call, with
   * `seed` for what is drawn. `turn` is the hash of all calls of the turn (`turnHashOf`): raced answers are served only to the same block.
   */
  answer(situation: Situation, call: PreparedCall, options: { seed: readonly (string | number)[]; turn: string }): Answer;
  /**
   * What a call comes to for which `answer` had nothing recorded or derived (R5, R7), for whoever can render such an answer: decided by tapes and `seed`. Null
   * where nothing can be decided, and for every tool that nobody declared a read or a write.
   */
  outcome(situation: Situation, call: PreparedCall, options: { seed: readonly (string | number)[] }): Outcome | null;
  /** The overlay after an answer: successful writes change the state, answers from the own tape count as used, reads at R5 and R6 are what is known from then on. */
  advance(overlay: Overlay, call: PreparedCall, answer: Given): Overlay;
}

/** The cascade over one pool. What is counted of tools is counted on `tapeIds`, of either split; `functions` answer pure tools that have an implementation, `trust` says how confident its answers are, and which tools a rung does not answer. */
export function createCascade(
  pool: TapePool,
  tapeIds: readonly string[],
  { functions = new Map(), trust = UNMEASURED }: { functions?: ToolFunctions | undefined; trust?: Trust } = {},
): Cascade {
  const schemas = createToolSchemas();
  const derivations = checkDerivations(pool, tapeIds);
  const projections = checkProjections(pool, tapeIds);
  const scopes = checkScopes(pool, tapeIds);
  const repeats = checkRepeats(pool, tapeIds);
  const modelOf = writeModels(pool, checkEnds(pool, tapeIds), schemas);
  const readModelOf = learnedOnce((call): ReadModel => learnReads(pool, call));
  return {
    pool,
    trust,
    prepare(start, tool, rawArguments) {
      return prepareCall({ profiles: pool.profiles, names: start.names }, schemaOf(schemas, start, tool), tool, rawArguments);
    },
    answer(situation, call, { seed, turn }) {
      const answer = climb(situation, call, turn, { derivations, projections, scopes, repeats, functions, modelOf, trust, seed });
      if (answer.result === null) return answer;
      const isOwn = answer.servedFrom?.tape === situation.start.tapeId;
      const confidence = isOwn ? answer.confidence : trust.confidenceOf(call.tool, answer.rung, answer.confidence);
      return { ...answer, confidence, result: call.names.toConversation(answer.result) };
    },
    outcome(situation, call, options) {
      const seed = drawnFrom(options.seed, situation, call);
      if (isStateless(call.profile)) return null;
      if (!mayWrite(call.profile)) return readOutcome(situation, call, readModelOf(call), { derivations, seed });
      return isDeclaredWrite(call) ? writeOutcome(situation, call, decidedModel(situation, call, { modelOf, trust })) : null;
    },
    advance: (overlay, call, answer) => advance(pool, overlay, call, answer),
  };
}

/** Conversations with writes of a tool, none refused by the world's state, before one may be served among other writes than its own. */
const MIN_UNREFUSED = 3;

interface Learned {
  derivations: DerivationRecord;
  projections: ProjectionRecord;
  scopes: ScopeRecord;
  repeats: RepeatRecord;
  functions: ToolFunctions;
  modelOf: WriteModels;
  trust: Trust;
  seed: readonly (string | number)[];
}

/** The first rung that has an honest answer, with people named as on tapes. */
function climb(situation: Situation, call: PreparedCall, turn: string, learned: Learned): Answer {
  const recorded = fromOwnTape(situation, call, turn, learned);
  if (recorded !== null) return recorded;
  const mistake = malformed(call);
  if (mistake !== null) return answeredMistake(situation, call, mistake);
  const computed = fromFunction(call, learned.functions);
  if (computed !== null) return computed;
  const pooled = isStateless(call.profile) ? fromAnyTape(situation.pool, call) : fromOtherTapes(situation, call, learned);
  if (pooled !== null) return pooled;
  const invented = inventedKey(situation, call);
  if (invented !== null) return answeredMistake(situation, call, invented);
  return madeUp(situation, call, learned);
}

const miss: Answer = {
  ...{ rung: "R7", result: null, isError: false, confidence: 0 },
  ...{ servedFrom: null, madeFrom: [], recordedAtMs: null, epochs: null },
};

/**
 * R1: same tape, call and ordered writes, the n-th time the n-th answer, then the last again. R2: same tape and call, equal entity versions, where tapes show that
 * the other writes do not matter to it: to a read by `isApart`, to a write where the world never refused one.
 */
function fromOwnTape(situation: Situation, call: PreparedCall, turn: string, { scopes, repeats, modelOf }: Learned): Answer | null {
  const { pool, start, overlay } = situation;
  const candidates = pool
    .ofTapeCall(start.tapeId, call.callKey)
    .filter((seen) => (seen.entry.raced === null || seen.entry.raced === turn) && sameVersions(situation, seen));
  if (isStateless(call.profile)) return servedOwn(nth(situation, candidates, call.callKey), "R0");
  const exact = candidates.filter(({ entry }) => entry.writePrefix === overlay.prefix);
  const answer = servedOwn(nth(situation, exact, prefixKey(call, overlay)), "R1");
  if (answer !== null || candidates.length === 0) return answer;
  const model = mayWrite(call.profile) ? modelOf(start, call) : null;
  const apart = candidates.filter((seen) =>
    model === null
      ? !isCoupled(call.tool, repeats) && isApart(situation, seen, scopes)
      : isUnrefused(model) && !givesAnother(situation, call, seen),
  );
  const [first] = apart;
  return first === undefined
    ? null
    : servedOwn(nth(situation, apart, versionsKey(call, Object.keys(first.entry.entityVersion), overlay)), "R2");
}

function isUnrefused({ errorRate, unseenRate, conversations }: WriteModel): boolean {
  return errorRate + unseenRate === 0 && conversations >= MIN_UNREFUSED;
}

/** Whether the recorded answer gives out an id that another write of this tool may have been given: the rollout made more of them, or fewer, than the tape had. */
function givesAnother({ pool, overlay }: Situation, { tool, profile }: PreparedCall, seen: PooledEntry): boolean {
  if (profile.volatileResultPaths.length === 0) return false;
  const made = pool.ofTape(seen.tape.id).filter(({ entry, index }) => index < seen.index && entry.tool === tool && entry.writeKey !== null);
  return made.length !== overlay.writes.filter((write) => write.tool === tool).length;
}

/** Under which how often a call was asked is counted, in a state, and with the versions of what it touches. */
function prefixKey({ callKey }: PreparedCall, { prefix }: Overlay): string {
  return `${callKey}|state|${prefix}`;
}

function versionsKey({ callKey }: PreparedCall, entities: readonly string[], { writes }: Overlay): string {
  return `${callKey}|versions|${entities.map((entity) => versionOf(writes, entity)).join(",")}`;
}

/** The answer to the n-th asking, or the first later one that is not from before what the rollout has seen; then the last again. */
function nth(situation: Situation, candidates: readonly PooledEntry[], key: string): PooledEntry | undefined {
  const asked = situation.overlay.occurrences.get(key) ?? 0;
  return candidates.slice(Math.min(asked, candidates.length - 1)).find((seen) => stillTrue(situation, seen));
}

function servedOwn(seen: PooledEntry | undefined, rung: Rung): Answer | null {
  return seen === undefined ? null : { ...served(seen, rung, 1), epochs: seen.epochs };
}

/** R0: a pure tool whose implementation is to be had. */
function fromFunction(call: PreparedCall, functions: ToolFunctions): Answer | null {
  const implement = call.profile.cls === "pure" ? functions.get(call.tool) : undefined;
  const answer = implement === undefined ? null : answerOf(implement, call.args);
  return answer === null ? null : { ...miss, rung: "R0", ...answer, confidence: 1 };
}

/** R0: a tool without state answers the same everywhere; one whose arguments are all free text and whose answer never varied answers that. */
function fromAnyTape(pool: TapePool, call: PreparedCall): Answer | null {
  const [newest] = pool.ofCall(call.callKey).filter(({ entry }) => sameTool(call, entry));
  if (newest !== undefined) return served(newest, "R0", 1);
  const roles = Object.values(call.profile.argumentRoles);
  const meaningless = roles.length > 0 && roles.every((role) => role === "freeText" || role === "clock" || role === "nonce");
  if (!meaningless) return null;
  const [example, ...others] = pool.ofTool(call.tool).filter(({ entry }) => !entry.isError && sameTool(call, entry));
  if (example === undefined || others.some(({ entry }) => entry.result !== example.entry.result)) return null;
  return served(example, "R0", 1);
}

/** R3: another tape that saw the same world, newest first; with less confidence until such reads were seen to last. Never for writes: their answers carry ids of their own. */
function fromOtherTapes(situation: Situation, call: PreparedCall, { trust, repeats, scopes }: Learned): Answer | null {
  if (mayWrite(call.profile) || !trust.serves(call.tool, "R3")) return null;
  const agrees = agreesWithOwn(situation, call);
  const isTrue = (other: PooledEntry): boolean =>
    sameWorld(situation, other) && isUnmoved(situation, other, repeats) && isUndisturbed(situation, other, scopes) && agrees(other);
  const seen = inThisEra(situation, call).find((other) => sameTool(call, other.entry) && isTrue(other));
  return seen === undefined ? null : served(seen, "R3", beliefIn(situation, seen, repeats));
}

function madeUp(situation: Situation, call: PreparedCall, learned: Learned): Answer {
  if (isStateless(call.profile)) return miss;
  if (!mayWrite(call.profile)) {
    const derived = deriveRead(situation, call, learned) ?? projectRead(situation, call, learned);
    return derived === null ? miss : { ...miss, rung: "R4", ...derived };
  }
  if (!isDeclaredWrite(call)) return miss;
  const written = answerWrite(situation, call, decidedModel(situation, call, learned), drawnFrom(learned.seed, situation, call));
  return written === null ? miss : { ...miss, ...written };
}

/** What the tapes say of a write, as far as that was not measured to be wrong. */
function decidedModel({ start }: Situation, call: PreparedCall, { modelOf, trust }: Pick<Learned, "modelOf" | "trust">): WriteModel {
  const model = modelOf(start, call);
  return trust.serves(call.tool, "R4") ? model : { ...model, undecided: true };
}

/** What nobody declared a write may be a read, and then an answer made up would be a fact made up. */
function isDeclaredWrite({ profile }: PreparedCall): boolean {
  return profile.cls === "write" && profile.evidence === "config";
}

/** Everything that a draw depends on: siblings that make the same call in the same state draw the same. */
function drawnFrom(seed: readonly (string | number)[], { start, overlay }: Situation, call: PreparedCall): readonly (string | number)[] {
  return [...seed, start.scenarioId, call.callKey, stateOf(overlay)];
}

function answeredMistake(situation: Situation, call: PreparedCall, mistake: Mistake): Answer {
  return {
    ...miss,
    rung: "agent_error",
    ...mistakeAnswer(situation, call, mistake),
    isError: true,
    confidence: mistake.kind === "unknown_key" ? mistake.belief : 0.97,
  };
}

function served(seen: PooledEntry, rung: Rung, confidence: number): Answer {
  const { entry, tape, index } = seen;
  const servedFrom = { tape: tape.id, entry: index };
  return { ...miss, rung, result: entry.result, isError: entry.isError, confidence, servedFrom, recordedAtMs: entry.startedAtMs };
}

function advance(pool: TapePool, overlay: Overlay, call: PreparedCall, answer: Given): Overlay {
  if (answer.result === null) return overlay;
  const parsed = parseResult(call.names.toTape(answer.result));
  const touched = entitiesTouched(call.profile, call.args, parsed, pool.templates);
  const counted = [call.callKey, prefixKey(call, overlay), versionsKey(call, touched, overlay)];
  const used = withOccurrence(withEpochs(overlay, answer.epochs ?? {}), counted);
  const failed = answer.isError || showsError(call.profile, parsed);
  if (!mayWrite(call.profile) && !failed && (answer.rung === "R5" || answer.rung === "R6"))
    return withOffTape(used, viewsOf(parsed, pool.templates, pool.owners));
  if (!mayWrite(call.profile) || failed) return used;
  const entities = touched.length === 0 ? [EVERYTHING] : touched;
  const views = viewsOf(parsed, pool.templates, pool.owners);
  return withWrite(used, { tool: call.tool, writeKey: call.writeKey, entities, views, given: givenIn(call.args), answer: parsed });
}
