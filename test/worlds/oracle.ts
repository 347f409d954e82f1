import type { Rung } from "../../src/rollout/group.ts";
import { parseResult } from "../../src/trajectory/record-tape.ts";
import { asServed, inTheWorld, introduced, named, type Names } from "./names.ts";
import { ADDRESS } from "./people.ts";
import type { Recorded } from "./conversation.ts";
import type { World, WorldCall, WorldKind } from "./world.ts";

/**
 * What "wrong" means. While a conversation was open others wrote, so a replay of it is in one of several possible worlds: the one that it began in,
 * with the first `n` of those writes done. An answer is right if some world that agrees with every earlier answer of the same attempt gives it:
 *
 * - R0–R2 come from the conversation's own recording, any moment of it: others' writes may happen before the answer, never be undone after it.
 * - R3, R4, R5 speak of the state that the attempt has reached, which is the earliest possible world: no write of others is granted to them that no
 *   answer from the recording has shown.
 * - `agent_error` must be an error in the world; its text may differ. R7 says nothing and is not wrong.
 *
 * "Gives it" is byte for byte, but for clocks (WorldKind.clocks), for new ids (WorldKind.newIds: any id that names nothing else yet, and from then on
 * this thing), for pseudonyms of people not yet named (then this person's), and at R0–R2 for a text that reached
 * the tape cut off (the true text begins with it): there is no more of it, and elsewhere it would be a fact that nobody was told.
 */
export interface Judgement {
  right: boolean;
  /** What the world answers, in the agent's words. */
  truth: string;
  /** Whether the call fails in the world. */
  failed: boolean;
  /** The worlds that remain possible. */
  possible: readonly Possible[];
}

/** One possible world: how many of the foreign events have happened in it. */
export interface Possible {
  world: World;
  happened: number;
  names: Names;
  /** The same after the next foreign event; worked out once. */
  next?: Possible | null;
}

interface Outcome {
  truth: string;
  before: Possible;
  after: Possible;
}

const OWN: readonly Rung[] = ["R0", "R1", "R2"];
const CUT = /…\[truncated \d+ characters\]$/;

export function worldsAtStart(one: Recorded): readonly Possible[] {
  return [{ world: one.before.clone(), happened: 0, names: one.names }];
}

/** Judges one answer, and says where the attempt stands afterwards: in the worlds that agree, or, where none does, in those it was in before. */
export function judge(
  kind: WorldKind,
  one: Recorded,
  possible: readonly Possible[],
  call: WorldCall,
  answer: { rung: Rung; result: string | null },
): Judgement {
  const from = OWN.includes(answer.rung) ? withFutures(possible, one) : possible;
  const outcomes = from.map((state) => outcomeOf(state, call));
  const agreeing = outcomes.flatMap((outcome) => {
    const names = agreement(kind, call.tool, outcome, answer);
    return names === null ? [] : [{ ...outcome, after: { ...outcome.after, names } }];
  });
  const reached = Math.min(...possible.map(({ happened }) => happened));
  const right = agreeing.some(({ before }) => OWN.includes(answer.rung) || before.happened === reached);
  // Where no world agrees, others' writes were not needed either: the attempt stays where it was.
  const kept = right ? agreeing : outcomes.filter(({ before }) => possible.includes(before));
  const first = kept[0] as Outcome;
  return { right, truth: asServed(first.after.names, first.truth), failed: fails(first.truth), possible: deduplicated(kept) };
}

/** Of the possible worlds those that give the answer of the first; with names for the people in it. The agent is shown this text. */
export function followTruth(
  judgement: Judgement,
  call: WorldCall,
  before: readonly Possible[],
): { text: string; possible: readonly Possible[] } {
  if (judgement.right) {
    const met = judgement.possible.map((state) => ({ state, ...introduced(state.names, judgement.truth) }));
    const possible = met.map(({ state, names }) => (names === state.names ? state : { ...state, names }));
    return { text: met[0]?.text ?? judgement.truth, possible };
  }
  const outcomes = before.map((state) => outcomeOf(state, call));
  const [first] = outcomes as [Outcome];
  const { text, names } = introduced(first.after.names, asServed(first.after.names, first.truth));
  const same = outcomes.filter(({ truth, after }) => truth === first.truth && after.names.key === first.after.names.key);
  return { text, possible: deduplicated(same.map((outcome) => ({ ...outcome, after: { ...outcome.after, names } }))) };
}

function outcomeOf(before: Possible, call: WorldCall): Outcome {
  const world = before.world.clone();
  const truth = world.call(call.tool, inTheWorld(before.names, call.args));
  // A call that changed nothing leaves the world as it was, and with it what was worked out of its future.
  const after = world.fingerprint() === before.world.fingerprint() ? before : { world, happened: before.happened, names: before.names };
  return { truth, before, after };
}

/** The worlds as they are, and after each further foreign event. */
function withFutures(possible: readonly Possible[], { foreign }: Recorded): readonly Possible[] {
  const found = new Map(possible.map((state) => [keyOf(state), state]));
  const waiting = [...possible];
  for (let state = waiting.shift(); state !== undefined; state = waiting.shift()) {
    const next = nextOf(state, foreign);
    if (next === null || found.has(keyOf(next))) continue;
    found.set(keyOf(next), next);
    waiting.push(next);
  }
  return [...found.values()].sort((a, b) => a.happened - b.happened);
}

function nextOf(state: Possible, foreign: Recorded["foreign"]): Possible | null {
  if (state.next !== undefined) return state.next;
  const event = foreign[state.happened];
  if (event === undefined) return (state.next = null);
  const world = state.world.clone();
  event(world);
  return (state.next = { world, happened: state.happened + 1, names: state.names });
}

function deduplicated(outcomes: readonly Outcome[]): readonly Possible[] {
  return [...new Map(outcomes.map(({ after }) => [keyOf(after), after])).values()];
}

function keyOf({ world, happened, names }: Possible): string {
  return `${happened}|${world.fingerprint()}|${names.key}`;
}

/** The names after the answer, or null where this world does not give it. */
function agreement(
  kind: WorldKind,
  tool: string,
  { truth, before, after }: Outcome,
  answer: { rung: Rung; result: string | null },
): Names | null {
  const { names } = after;
  if (answer.result === null) return null;
  const expected = asServed(names, truth);
  if (expected === answer.result) return names;
  if (answer.rung === "agent_error") return fails(truth) ? names : null;
  const cut = answer.result.search(CUT);
  // A pseudonym that was cut in two says nothing.
  if (cut >= 0 && OWN.includes(answer.rung)) return expected.startsWith(answer.result.slice(0, cut).replace(/<[^>]*$/, "")) ? names : null;
  const differences = differencesOf(parseResult(answer.result), parseResult(expected), "");
  return differences === null ? null : reconciled(differences, { kind, tool, names, world: before.world });
}

interface Difference {
  path: string;
  served: unknown;
  truth: unknown;
}

function reconciled(
  differences: readonly Difference[],
  { kind, tool, names, world }: { kind: WorldKind; tool: string; names: Names; world: World },
): Names | null {
  let known = names;
  for (const { path, served, truth } of differences) {
    if (kind.clocks[tool]?.includes(path) === true && typeof served === typeof truth) continue;
    if (typeof served !== "string" || typeof truth !== "string") return null;
    const isPerson = new RegExp(`^${ADDRESS.source}$`).test(truth) && /^<email_\d+>$/.test(served);
    const isNewId = kind.newIds[tool]?.includes(path) === true && !world.taken(served);
    const same = known.toTrue.get(served) === truth;
    if (!same && (!(isPerson || isNewId) || known.toTrue.has(served) || known.toServed.has(truth))) return null;
    if (!same) known = named(known, served, truth);
  }
  return known;
}

/** Leaves that differ; null where the shapes do. */
function differencesOf(served: unknown, truth: unknown, path: string): readonly Difference[] | null {
  if (served === truth) return [];
  const bothObjects = typeof served === "object" && typeof truth === "object" && served !== null && truth !== null;
  if (!bothObjects) return [{ path, served, truth }];
  const [names, others] = [Object.keys(served), Object.keys(truth)];
  if (Array.isArray(served) !== Array.isArray(truth) || names.join("\n") !== others.join("\n")) return null;
  const all = names.map((name) => {
    const at = path === "" ? name : `${path}.${name}`;
    return differencesOf((served as Record<string, unknown>)[name], (truth as Record<string, unknown>)[name], at);
  });
  return all.includes(null) ? null : all.flatMap((found) => found ?? []);
}

function fails(truth: string): boolean {
  const value = parseResult(truth);
  return typeof value === "object" && value !== null && Object.hasOwn(value, "error");
}
