import type { Scalar } from "../../trajectory/entities.ts";

/** What was known when a write was made, by name; what was not known has no name here. */
export type Features = ReadonlyMap<string, Scalar>;

/** One recorded attempt at a write. `kind`: in which way it was refused; null for a success. */
export interface Attempted {
  features: Features;
  kind: string | null;
}

/** One way in which a tool refuses, and what tells it. */
export interface Refusal {
  kind: string;
  /** Share of all recorded attempts with the same fixed arguments. */
  share: number;
  /** Arguments that every such refusal had: a call with another value is never refused so. */
  fixed: ReadonlyMap<string, Scalar>;
  /** The most telling first. */
  tests: readonly Test[];
  /** Ways that were seen to yield to this one where both had a reason. */
  before: ReadonlySet<string>;
}

interface Test {
  feature: string;
  /** How likely chance alone would part the attempts so. */
  chance: number;
  says: (value: Scalar) => Said;
}

type Said = "refused" | "granted" | null;

/** What the recorded refusals say of a call: refused for one of these reasons, or a share of attempts whose refusal nothing known rules out. */
export type Judged = { refusedFor: readonly string[] } | { refusedFor: null; undecided: number };

/** Share of a value's attempts that may have ended otherwise: somebody unrecorded may have changed the world in between. */
const TOLERANCE = 0.05;
/** Share of the attempts whose value may tell nothing. */
const MAX_MIXED = 0.2;
/** Attempts of a value before it decides anything. */
const MIN_COUNT = 2;
/** A feature with more values is a measurement or an id; a field together with an argument may have more. */
const MAX_VALUES = 8;
const MAX_PAIR_VALUES = 32;
/** Chance of a parting that is no rule: of features with two values, of any other, each way of dealing out its values counted, and of a fixed argument. */
const MAX_CHANCE_OF_TWO = 0.1;
const MAX_CHANCE = 0.05;
export const MAX_CHANCE_FIXED = 0.005;

/** Stands between a field and an argument in a feature of both. */
export const BESIDE = " beside ";

/** Learns how a tool refuses: each way by itself, because each has a reason of its own. `fixable`: features that are arguments. */
export function learnRefusals(attempts: readonly Attempted[], fixable: readonly string[]): readonly Refusal[] {
  const granted = attempts.filter(({ kind }) => kind === null);
  const kinds = Map.groupBy(
    attempts.filter(({ kind }) => kind !== null),
    ({ kind }) => kind as string,
  );
  const sharing = sharingOf(attempts, fixable);
  const ways = [...kinds].map(([kind, refused]): Refusal => {
    const fixed = fixedOf(refused, granted.length, sharing);
    const alike = alikeIn({ all: attempts, granted }, fixed, sharing);
    // Errors that quote free text are as many kinds as attempts: nothing is looked up for each of these.
    const names = refused.length < MIN_COUNT ? [] : new Set(refused.flatMap(({ features }) => [...features.keys()]));
    const tests = [...names].flatMap((name) => testsOf(name, refused, alike.granted));
    return {
      kind,
      share: refused.length / alike.all.length,
      fixed,
      tests: tests.toSorted((one, other) => one.chance - other.chance || (one.feature < other.feature ? -1 : 1)),
      before: new Set(),
    };
  });
  const telling = ways.filter(({ tests }) => tests.length > 0);
  return ways.map((way) => {
    const others = (kinds.get(way.kind) ?? []).flatMap(({ features }) =>
      telling.filter((other) => other !== way && holds(other, features)),
    );
    return { ...way, before: new Set(others.map(({ kind }) => kind)) };
  });
}

function holds({ fixed, tests }: Refusal, features: Features): boolean {
  return isPossible(fixed, features) && firstWord(tests, features) === "refused";
}

function isPossible(fixed: Refusal["fixed"], features: Features): boolean {
  return ![...fixed].some(([name, value]) => features.has(name) && features.get(name) !== value);
}

/** Whether a call will be refused, by what is known of it. Each way of refusing goes by the most telling thing that is known; of several, those that come first. */
export function judge(refusals: readonly Refusal[], features: Features): Judged {
  const reasons = refusals.filter((refusal) => holds(refusal, features));
  if (reasons.length > 0) {
    const yields = (kind: string): boolean => reasons.some(({ before }) => before.has(kind));
    const first = reasons.filter(
      ({ kind, before }) => !yields(kind) && reasons.every((other) => other.kind === kind || before.has(other.kind)),
    );
    return { refusedFor: (first.length === 1 ? first : reasons).map(({ kind }) => kind) };
  }
  const open = refusals.filter(({ fixed, tests }) => isPossible(fixed, features) && firstWord(tests, features) === null);
  return { refusedFor: null, undecided: open.reduce((sum, { share }) => sum + share, 0) };
}

function firstWord(tests: readonly Test[], features: Features): Said {
  for (const { feature, says } of tests) {
    const value = features.get(feature);
    const said = value === undefined ? null : says(value);
    if (said !== null) return said;
  }
  return null;
}

interface Attempts {
  all: readonly Attempted[];
  granted: readonly Attempted[];
}

/** By argument and value: the attempts that have it. */
type Sharing = ReadonlyMap<string, ReadonlyMap<Scalar | undefined, Attempts>>;

function sharingOf(attempts: readonly Attempted[], fixable: readonly string[]): Sharing {
  return new Map(
    fixable.map((name) => {
      const byValue = Map.groupBy(attempts, ({ features }) => features.get(name));
      return [name, new Map([...byValue].map(([value, all]) => [value, { all, granted: all.filter(({ kind }) => kind === null) }]))];
    }),
  );
}

/** The attempts that have all the fixed arguments, looked for among the fewest. */
function alikeIn(every: Attempts, fixed: Refusal["fixed"], sharing: Sharing): Attempts {
  const having = [...fixed].flatMap(([name, value]) => sharing.get(name)?.get(value) ?? []);
  const [fewest] = having.toSorted((one, other) => one.all.length - other.all.length);
  if (fewest === undefined || fixed.size === 1) return fewest ?? every;
  const isLike = ({ features }: Attempted): boolean => [...fixed].every(([name, value]) => features.get(name) === value);
  return { all: fewest.all.filter(isLike), granted: fewest.granted.filter(isLike) };
}

function fixedOf(refused: readonly Attempted[], granted: number, sharing: Sharing): ReadonlyMap<string, Scalar> {
  const fixed = new Map<string, Scalar>();
  for (const [name, byValue] of sharing) {
    const value = refused[0]?.features.get(name);
    // Numbers are limits, not choices.
    if (value === undefined || typeof value === "number" || !refused.every(({ features }) => features.get(name) === value)) continue;
    const all = refused.length + granted;
    // Had the value nothing to do with it, all refusals would hardly share it.
    const within = refused.length + (byValue.get(value)?.granted.length ?? 0);
    if (chanceOf(refused.length, within, all) <= MAX_CHANCE_FIXED) fixed.set(name, value);
  }
  return fixed;
}

function testsOf(feature: string, refused: readonly Attempted[], granted: readonly Attempted[]): Test[] {
  const no = valuesOf(feature, refused);
  if (no.length < MIN_COUNT) return [];
  const yes = valuesOf(feature, granted);
  if (yes.length < MIN_COUNT) return [];
  return [byValue(feature, no, yes), byLimit(feature, no, yes)].filter((test) => test !== null);
}

/** Each value nearly always ended one way. */
function byValue(feature: string, refused: readonly Scalar[], granted: readonly Scalar[]): Test | null {
  const counts = new Map<Scalar, { refused: number; granted: number }>();
  for (const value of refused) counts.set(value, { refused: (counts.get(value)?.refused ?? 0) + 1, granted: 0 });
  for (const value of granted) {
    const { refused: no, granted: yes } = counts.get(value) ?? { refused: 0, granted: 0 };
    counts.set(value, { refused: no, granted: yes + 1 });
  }
  if (counts.size > (feature.includes(BESIDE) ? MAX_PAIR_VALUES : MAX_VALUES)) return null;
  const words = new Map<Scalar, Said>();
  let [mixed, within, told] = [0, 0, 0];
  for (const [value, { refused: no, granted: yes }] of counts) {
    if (Math.min(no, yes) > TOLERANCE * (no + yes)) mixed += no + yes;
    else if (no + yes >= MIN_COUNT) words.set(value, no > yes ? "refused" : "granted");
    if (words.get(value) === "refused") [within, told] = [within + no + yes, told + no];
  }
  const all = refused.length + granted.length;
  if (within === 0 || mixed > MAX_MIXED * all) return null;
  const chance = chanceOf(told, within, all);
  const isRule = counts.size <= 2 ? chance <= MAX_CHANCE_OF_TWO : chance * 2 ** counts.size <= MAX_CHANCE;
  return isRule ? { feature, chance, says: (value) => words.get(value) ?? null } : null;
}

/** All refusals lie on one side of all successes. */
function byLimit(feature: string, refused: readonly Scalar[], granted: readonly Scalar[]): Test | null {
  const numbers = (values: readonly Scalar[]): number[] => values.filter((value) => typeof value === "number");
  const [no, yes] = [numbers(refused), numbers(granted)];
  // What was left out counts as granted where it was, and never as refused.
  if (no.length < refused.length || no.length < MIN_COUNT || yes.length < MIN_COUNT) return null;
  const [leastNo, mostNo, leastYes, mostYes] = [Math.min(...no), Math.max(...no), Math.min(...yes), Math.max(...yes)];
  const isAbove = leastNo > mostYes;
  if (!isAbove && mostNo >= leastYes) return null;
  const all = refused.length + granted.length;
  const chance = 2 * all * chanceOf(refused.length, refused.length, all);
  if (chance > MAX_CHANCE) return null;
  const isGranted = (value: number): boolean => (isAbove ? value <= mostYes : value >= leastYes);
  const isRefused = (value: number): boolean => (isAbove ? value >= leastNo : value <= mostNo);
  const others = new Set(granted.filter((value) => typeof value !== "number"));
  const says = (value: Scalar): Said => {
    if (typeof value !== "number") return others.has(value) ? "granted" : null;
    if (isGranted(value)) return "granted";
    return isRefused(value) ? "refused" : null;
  };
  return { feature, chance, says };
}

/** Probability that `drawn` of `all`, drawn blindly, all lie among `within` of them. */
export function chanceOf(drawn: number, within: number, all: number): number {
  let chance = 1;
  for (let count = 0; count < drawn; count += 1) chance *= (within - count) / (all - count);
  return chance;
}

function valuesOf(feature: string, attempts: readonly Attempted[]): Scalar[] {
  return attempts.flatMap(({ features }) => {
    const value = features.get(feature);
    return value === undefined ? [] : [value];
  });
}
