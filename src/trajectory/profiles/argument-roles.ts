import { canonicalJson, withoutPaths } from "../canonical-arguments.ts";
import { isScalar } from "../entities.ts";
import {
  isStateless,
  mayWrite,
  profileOf,
  type ArgumentRole,
  type ToolFact,
  type ToolProfile,
  type ToolProfiles,
} from "../tool-profile.ts";
import { answerText, worldsOf } from "./same-world.ts";
import type { ArgumentSamples, Samples, Seen, ToolSamples } from "./samples.ts";
import { looksDrawn, tellsNow } from "./values.ts";

/** Calls before an argument may be a filter or free text, and before it may be a clock; a nonce takes twice as many. */
const MIN_CALLS = 10;
const MIN_NONCES = 20;
/** Repeated calls that differ in the argument alone, in one world, with one answer; and how many different calls they must be repeats of. */
const MIN_PAIRS = 5;
const MIN_REPEATED = 3;
/** Conversations that must show what leaves an argument out: one may be odd, however much it repeats. */
const MIN_CONVERSATIONS = 2;
/** A text says something where at least this share of its values has spaces, and this share is said once. */
const MIN_TEXT_SHARE = 0.5;

/** Roles of arguments that are no keys, for one tool: those that replay goes by, and the evidence for those and others. */
export interface LearnedRoles {
  roles: Readonly<Record<string, ArgumentRole>>;
  facts: readonly ToolFact[];
}

/**
 * Roles of all tools' arguments that nobody declared. Filters are only named: they widen nothing. Clocks, nonces and free text do, for they are left
 * out where calls are compared. So a clock or a nonce is believed of what only reads, when repeats in one world show that the answers do not depend on
 * it (`isWithoutEffect`); free text of a stateless tool that answered all texts alike. Of a write they are shown and not gone by.
 */
export function learnRoles(profiles: ToolProfiles, samples: Samples): ReadonlyMap<string, LearnedRoles> {
  return new Map([...samples.tools.values()].map((tool) => [tool.tool, rolesOf(profileOf(profiles, tool.tool), tool, samples)]));
}

interface Candidate {
  path: string;
  role: ArgumentRole;
  for: number;
}

function rolesOf(profile: ToolProfile, tool: ToolSamples, samples: Samples): LearnedRoles {
  const open = [...tool.arguments.values()].filter(({ path }) => profile.argumentRoles[path] === undefined);
  const candidates = open.flatMap((argument) => candidateOf(tool, argument, samples) ?? []);
  const ignored = candidates.filter(({ role }) => role === "clock" || role === "nonce");
  const judged = mayWrite(profile) || ignored.length === 0 ? null : effectOf(profile, tool.seen, ignored);
  const isNoOp = answersAlike(profile, tool, candidates);
  const roles: Record<string, ArgumentRole> = {};
  const facts: ToolFact[] = [];
  for (const { path, role, for: count } of candidates) {
    const isIgnored = role === "clock" || role === "nonce";
    const used = isIgnored ? judged?.isWithout === true : role === "filter" || isNoOp;
    if (used) roles[path] = role;
    const pairs = isIgnored && judged !== null ? judged : { for: count, against: 0 };
    facts.push({
      ...{ about: `argumentRoles.${path}`, value: role, from: "learned", used },
      ...{ for: isIgnored && judged === null ? count : pairs.for, against: pairs.against, note: noteOf(profile, role, used) },
    });
  }
  return { roles, facts };
}

function noteOf(profile: ToolProfile, role: ArgumentRole, used: boolean): string {
  if (role === "filter") return "few values, or no id";
  if (role === "freeText")
    return used ? "all texts were answered alike" : "looks like free text; replay compares it unless the config says so";
  if (used) return "repeats in one world that differ in it alone were answered alike";
  if (mayWrite(profile)) return `looks like a ${role}; what a write was given is compared unless the config says otherwise`;
  return `looks like a ${role}; too few repeats, or they were answered differently`;
}

function candidateOf(tool: ToolSamples, argument: ArgumentSamples, samples: Samples): Candidate | null {
  const { path, given, lists } = argument;
  const count = given.length;
  if (count + lists < MIN_CALLS) return null;
  if (lists > 0) return { path, role: "filter", for: lists };
  if (given.every(({ value, seen }) => tellsNow(value, seen.entry)) && isMonotone(argument)) return { path, role: "clock", for: count };
  const distinct = new Set(given.map(({ value }) => String(value)));
  if (isNonce(tool, argument, distinct, samples)) return { path, role: "nonce", for: count };
  const texts = given.filter(({ value }) => typeof value === "string" && /\s/.test(value)).length;
  if (texts >= MIN_TEXT_SHARE * count && distinct.size >= MIN_TEXT_SHARE * count) return { path, role: "freeText", for: texts };
  const plain = given.every(({ value }) => typeof value !== "string" || value.length <= 64);
  return plain && distinct.size <= Math.max(8, count / 4) ? { path, role: "filter", for: count } : null;
}

/** Time never goes back within a conversation. */
function isMonotone({ given }: ArgumentSamples): boolean {
  const last = new Map<string, string | number>();
  return given.every(({ value, seen }) => {
    const before = last.get(seen.tape.id);
    if (typeof value !== "string" && typeof value !== "number") return false;
    last.set(seen.tape.id, value);
    return before === undefined || (typeof before === typeof value && before <= value);
  });
}

/** Drawn for the call: never used twice (a retry with the same one means something), never told, and never heard of anywhere else. */
function isNonce(tool: ToolSamples, { path, given }: ArgumentSamples, distinct: ReadonlySet<string>, samples: Samples): boolean {
  if (given.length < MIN_NONCES || distinct.size < given.length) return false;
  return given.every(({ value, wasTold }) => {
    const places = samples.placesOf(value);
    return (
      !wasTold && looksDrawn(value) && places?.results.size === 0 && [...places.arguments].every((at) => at === `${tool.tool}\n${path}`)
    );
  });
}

/**
 * Whether the answers are independent of these arguments: among calls that differ in them alone, in one world, no two answers differ; there are enough
 * such pairs, of enough different calls, and the different calls were not all answered alike (else nothing would show that the answers tell anything).
 */
function effectOf(
  profile: ToolProfile,
  seen: readonly Seen[],
  ignored: readonly Candidate[],
): { isWithout: boolean; for: number; against: number } {
  const paths = ignored.map(({ path }) => path);
  const restOf = new Map(seen.map((one) => [one, canonicalJson(withoutPaths(one.args, [...paths, ...declaredIgnored(profile)]))]));
  const groups = new Map<string, { answers: Set<string>; calls: Set<string>; conversations: Set<string>; rest: string }>();
  for (const one of seen) {
    const rest = restOf.get(one) ?? "";
    for (const world of worldsOf(profile, one)) {
      const group = groups.get(`${world}\n${rest}`) ?? { answers: new Set(), calls: new Set(), conversations: new Set(), rest };
      group.answers.add(answerText(one));
      group.calls.add(one.entry.argumentsCanonical);
      group.conversations.add(one.tape.conversationId);
      groups.set(`${world}\n${rest}`, group);
    }
  }
  const repeated = [...groups.values()].filter(({ calls }) => calls.size > 1);
  const contradicting = repeated.filter(({ answers }) => answers.size > 1).length;
  const agreeing = repeated.filter(({ answers }) => answers.size === 1);
  const pairs = agreeing.reduce((sum, { calls }) => sum + calls.size - 1, 0);
  const isTelling =
    new Set(agreeing.flatMap(({ conversations }) => [...conversations])).size >= MIN_CONVERSATIONS &&
    new Set(agreeing.map(({ rest }) => rest)).size >= MIN_REPEATED &&
    new Set(agreeing.flatMap(({ answers }) => [...answers])).size > 1;
  return { isWithout: contradicting === 0 && pairs >= MIN_PAIRS && isTelling, for: pairs, against: contradicting };
}

function declaredIgnored({ argumentRoles }: ToolProfile): string[] {
  return Object.keys(argumentRoles).filter((path) => argumentRoles[path] === "clock" || argumentRoles[path] === "nonce");
}

/** A stateless tool whose arguments are texts and the like, each of them, and which gave one answer to all of many. */
function answersAlike(profile: ToolProfile, { seen, arguments: given }: ToolSamples, candidates: readonly Candidate[]): boolean {
  const texts = candidates.filter(({ role }) => role === "freeText");
  if (!isStateless(profile) || texts.length !== given.size || seen.some(({ args }) => isScalar(args))) return false;
  const succeeded = seen.filter(({ entry }) => !entry.isError);
  const asked = new Set(succeeded.map(({ entry }) => entry.argumentsCanonical));
  const isOfMany = new Set(succeeded.map(({ tape }) => tape.conversationId)).size >= MIN_CONVERSATIONS;
  return isOfMany && asked.size >= MIN_CALLS && new Set(succeeded.map(answerText)).size === 1;
}
